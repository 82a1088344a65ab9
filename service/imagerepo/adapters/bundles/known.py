"""What a commit has to know of what is stored, asked for in one go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from blake3 import blake3
from psycopg.rows import TupleRow

from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.segments.decide import History, Known
from imagerepo.adapters.segments.lines import Link
from imagerepo.model.events import ChangeRequest, Request, StoreRequest

Name: TypeAlias = tuple[int, str]
"""An institution's key and a UID."""

PATIENCE: Final = "2s"
"""How long for what is held for moments: the rows of sums, the lock of a writer whose transaction is in doubt."""


@dataclass(frozen=True, slots=True)
class KnownStudy:
    """A study's row."""

    id: int
    modalities: str  # joined by backslashes
    differs: bool
    patient: tuple[str, ...]  # as rows.patient_of has it


@dataclass(frozen=True, slots=True)
class State:
    """What there is, as one transaction sees it."""

    commit: int  # the number that it got
    locked: frozenset[int]  # of the locks that it asked for, those that it holds
    studies: dict[Name, KnownStudy]
    series: dict[tuple[Name, str], int]
    instances: dict[Name, int]
    histories: dict[Name, History]
    links: dict[str, Link]  # where the writer's chains stand, by institution


class Institutions:
    """Keys of institutions. Rows are made outside of any transaction, so that no two wait for one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[str, int] = {}

    def key(self, name: str) -> int:
        """The key of an institution, which it gets if it has none. Raises UnavailableError."""
        found = self._keys.get(name)
        if found is None:
            with self._database.reading() as connection:
                row = connection.run(sql.FIND_INSTITUTION, (name,)).fetchone()
                if row is None:
                    connection.run(sql.ADD_INSTITUTION, (name,))
                    row = connection.run(sql.FIND_INSTITUTION, (name,)).fetchone()
            assert row is not None
            found = self._keys[name] = row[0]
        return found


def lock_of_study(institution: str, study_uid: str) -> int:
    """Whoever stores to a study or changes it holds this lock of its transaction."""
    return _lock(f"{institution}\0{study_uid}\0study")


def lock_of_writer(writer: str) -> int:
    """A writer holds this lock in each of its transactions: who gets it knows that the one before is over."""
    return _lock(f"{writer}\0writer")


def _lock(name: str) -> int:
    return int.from_bytes(blake3(name.encode()).digest(8), "little", signed=True)


def lock_for(request: Request) -> int | None:
    """The lock of the study that a request is about."""
    institution = request.caller.institution
    if isinstance(request, StoreRequest):
        return lock_of_study(institution, request.attributes.study_uid)
    return lock_of_study(institution, request.study_uid) if isinstance(request, ChangeRequest) else None


def histories(connection: Connection, names: Sequence[Name]) -> dict[Name, History]:
    """What there is of some instances, and was."""
    found = connection.run(sql.READ_VERSIONS, (sql.document(_numbered(names)),))
    return _histories(found.fetchall(), names)[0]


def _numbered(names: Sequence[Name]) -> list[dict[str, str | int]]:
    return [{"n": n, "institution_id": key, "uid": uid} for n, (key, uid) in enumerate(names)]


def _histories(rows: Sequence[TupleRow], names: Sequence[Name]) -> tuple[dict[Name, History], dict[Name, int]]:
    """Histories, and keys of those that are there."""
    known: dict[Name, list[Known]] = {}
    last: dict[Name, int] = {}
    instances: dict[Name, int] = {}
    for row in rows:
        n, gone, instance, number, *said = row
        name = names[int(n)]
        if instance is not None:
            instances[name] = instance
            known.setdefault(name, []).append(Known(number, *said))
        last[name] = gone if number is None else number
    return {name: History(known.get(name, []), number) for name, number in last.items()}, instances


@dataclass(frozen=True, slots=True)
class Question:
    """What a transaction begins with."""

    writer: str
    institutions: Sequence[str]
    locks: Sequence[int]
    waits: str  # how long for locks, as PostgreSQL writes durations; '': not at all for those of studies
    series: Sequence[tuple[Name, str]]  # of a study, by UID
    instances: Sequence[Name]


def ask(connection: Connection, question: Question) -> State:
    """Lock, take a number, then read: one round trip.

    The number is taken under the locks, so that in a study numbers follow each other as commits become visible.
    """
    names = list(question.instances)
    series = list(dict.fromkeys(question.series))
    with connection.pipeline():
        connection.run(sql.LOCK_WRITER, (question.waits or PATIENCE, lock_of_writer(question.writer)))
        locked = connection.run(sql.LOCK if question.waits else sql.TRY_LOCK, (sorted(question.locks),))
        links = connection.run(sql.READ_LINKS, (question.writer, list(question.institutions)))
        found = connection.run(sql.READ_VERSIONS, (sql.document(_numbered(names)),))
        of_series = connection.run(sql.READ_SERIES, (sql.document(_of_studies(series)),))
    keys, number = locked.fetchone() or ((), 0)
    known, instances = _histories(found.fetchall(), names)
    state = State(
        commit=number,
        locked=frozenset(keys),
        studies={},
        series={},
        instances=instances,
        histories=known,
        links={institution: Link(sequence, digest) for institution, sequence, digest in links},
    )
    for n, key, study, modalities, differs, *patient in of_series:
        state.studies[series[n][0]] = KnownStudy(study, modalities, bool(differs), tuple(patient))
        if key is not None:
            state.series[series[n]] = key
    return state


def _of_studies(series: Sequence[tuple[Name, str]]) -> list[dict[str, str | int]]:
    return [
        {"n": n, "institution_id": key, "study_uid": study, "uid": uid} for n, ((key, study), uid) in enumerate(series)
    ]
