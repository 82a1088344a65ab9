"""The rows of one study, made of its journal lines and its objects in one transaction.

The transaction has nothing to wait for, of however many instances the study is: all that it writes is made before.
Rows are those that commits write (rows.py), in the order of the commits; nothing is there before. What no line knows
is noted, and taken up when all studies are there (recovering.py).
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from imagerepo.adapters.bundles import contents, correcting, locating
from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.journaling import Writer
from imagerepo.adapters.bundles.known import Institutions, State
from imagerepo.adapters.bundles.locating import Held, Located
from imagerepo.adapters.bundles.past import Entry, Lived, Past
from imagerepo.adapters.bundles.rebuild_headers import Described, Headers, undescribed
from imagerepo.adapters.bundles.rebuild_staging import copy
from imagerepo.adapters.bundles.rows import PLACES, Rows
from imagerepo.adapters.index_sql import apply
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres import holds
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.settled import in_transaction
from imagerepo.adapters.segments import lines, proof
from imagerepo.errors import DamagedError
from imagerepo.model.instance import Range
from imagerepo.model.rebuilt import Rebuilt

log = logging.getLogger(__name__)

_ENTRIES: Final = (
    "SELECT j.commit_number, j.writer, c.place, j.lines FROM rebuild_commit c "
    "JOIN journal j ON j.commit_number = c.commit_number AND j.institution = c.institution "
    "WHERE c.institution = %s AND c.study = %s AND c.commit_number > %s "
    "ORDER BY c.institution, c.study, c.commit_number LIMIT %s"
)
_PAGE: Final = 64  # commits, whose lines may be of many other studies too
_LISTED: Final = (
    "SELECT key, size FROM rebuild_listed WHERE institution = %s AND study = %s ORDER BY institution, study, key"
)
_DONE: Final = "DELETE FROM rebuild_study WHERE institution = %s AND study = %s"
_ADD_OBJECTS: Final = (
    "INSERT INTO object (id, store, key, size, live, gone_at) SELECT u.id, u.store, u.key, u.size, u.live, u.gone_at "
    f"FROM {sql.relation('id, store, key, size, live, gone_at')}"
)
_ADD_GONE: Final = (
    "INSERT INTO gone (institution_id, uid, number) SELECT u.institution_id, u.uid, u.number "
    f"FROM {sql.relation('institution_id, uid, number')} "
    "ON CONFLICT (institution_id, uid) DO UPDATE SET number = greatest(gone.number, excluded.number)"
)
# What made a study or a series may have been deleted since: it has its key all the same.
_MOVE_STUDY: Final = (
    "UPDATE study SET id = %s WHERE id = %s",
    "UPDATE series SET study_id = %s WHERE study_id = %s",
    "UPDATE arriving SET study_id = %s WHERE study_id = %s",
    "UPDATE instance SET study_id = %s WHERE study_id = %s",
)
_MOVE_SERIES: Final = (
    "UPDATE series SET id = %s WHERE id = %s",
    "UPDATE arriving SET series_id = %s WHERE series_id = %s",
)
_MOVE_INSTANCES: Final = "UPDATE instance SET series_id = %s WHERE study_id = %s AND series_id = %s"
_NEXT_KEYS: Final = "SELECT nextval('commit_number') FROM generate_series(1, %s)"


@dataclass(frozen=True, slots=True)
class Place:
    """What studies are rebuilt with."""

    database: Database
    store: S3Store
    institutions: Institutions
    headers: Headers
    writer: Writer


@dataclass(frozen=True, slots=True)
class _Study:
    """All that is known of it."""

    institution: str
    key: int  # of the institution
    bucket: str
    past: Past
    located: Located
    stored: Sequence[apply.Stored]  # its versions, in order


@dataclass(frozen=True, slots=True)
class _Made:
    """Its rows."""

    rows: Rows
    statements: Sequence[tuple[str, tuple[str, ...]]]  # that write them, and those of its objects


def rebuild(place: Place, institution: str, study_uid: str, rebuilt: Rebuilt) -> None:
    """Write the rows of a study. Raises UnavailableError; then nothing of it is there."""
    bucket = place.store.bucket(institution)
    past = Past(study_uid)
    for entry in _entries(place.database, institution, study_uid):
        past.add(entry)
    with place.database.reading() as connection:
        sizes: dict[str, int] = dict(connection.run(_LISTED, (institution, study_uid)).fetchall())
    named = past.named(bucket)
    held = [one for key, size in sizes.items() if key not in named for one in _held(place, bucket, key, size, rebuilt)]
    located = _proved(place.store, lambda wrong: locating.locate(past, bucket, sizes, held, wrong), rebuilt)
    _mourn(past, located, institution, rebuilt)
    stored = list(_stored(place, past, located, rebuilt))
    study = _Study(institution, place.institutions.key(institution), bucket, past, located, stored)
    made = _made(place, study)
    in_transaction(place.database, lambda connection: _write(connection, study, made))
    rebuilt.studies += 1
    rebuilt.instances += len(stored)


def _entries(database: Database, institution: str, study_uid: str) -> Iterator[Entry]:
    """Of the journal, in order, some at a time."""
    after = -1
    while True:
        with database.reading() as connection:
            rows = connection.run(_ENTRIES, (institution, study_uid, after, _PAGE)).fetchall()
        for after, writer, at, said in rows:
            yield Entry(after, writer, at, tuple(bytes(said).split(b"\n")))
        if len(rows) < _PAGE:
            return


def _proved(store: S3Store, locate: Callable[[AbstractSet[Range]], Located], rebuilt: Rebuilt) -> Located:
    """Where versions are; of several copies of one, that which is right is read before others are given up."""
    wrong: set[Range] = set()
    right: set[Range] = set()
    while True:
        located = locate(wrong)
        found = len(wrong)
        for one in located.doubtful:
            where = located.ranges[one.key]
            if where in right:
                continue
            reason = proof.wrong_bytes(replace(one.line, ranges=(where,)), store.read)
            if reason is None:
                right.add(where)
                continue
            wrong.add(where)
            rebuilt.damaged += 1
            log.error("rebuild.bytes_damaged", extra={"key": where.key, "reason": reason})
        if len(wrong) == found:
            return located


def _held(place: Place, bucket: str, key: str, size: int, rebuilt: Rebuilt) -> Iterator[Held]:
    """An object that no line names, as it says itself what it is."""
    try:
        said = contents.of(place.store.fetch, bucket, key, size)
        held = [one for fields in said.lines for one in lines.stores(fields, 0)]
    except (DamagedError, KeyError, ValueError) as error:
        rebuilt.damaged += 1
        log.error("rebuild.object_damaged", extra={"key": key, "reason": str(error)})  # noqa: TRY400 - the reason says all
    else:
        yield Held(key, size, said.head.writer, held)


def _mourn(past: Past, located: Located, institution: str, rebuilt: Rebuilt) -> None:
    """Versions whose bytes nobody has get no rows: who sends them again is not told that they are there."""
    for one in located.lost:
        past.lose(one)
        if not one.origin:  # else it was deleted in the folder that it comes from
            rebuilt.lost += 1
            said = {"institution": institution, "instance": one.line.instance_uid, "version": one.line.version}
            log.error("rebuild.bytes_missing", extra=said)


def _stored(place: Place, past: Past, located: Located, rebuilt: Rebuilt) -> Iterator[apply.Stored]:
    """Versions as the index needs them; what they say is read from their bytes."""
    versions = past.versions
    in_order = sorted(versions, key=lambda one: (located.ranges[one.key].key, located.ranges[one.key].offset))
    read = place.headers.of([(one.line, located.ranges[one.key]) for one in in_order])
    described = {one.key: found for one, found in zip(in_order, read, strict=True)}
    for one in versions:
        found = described[one.key]
        rebuilt.damaged += found is None
        yield _row(one, located.ranges[one.key], found or undescribed(one.line))


def _row(one: Lived, where: Range, described: Described) -> apply.Stored:
    line = one.line
    attributes, layout = described
    return apply.Stored(
        institution=line.institution,
        attributes=attributes,
        layout=layout,
        transfer_syntax=line.transfer_syntax,
        number=line.version,
        digest=line.digest,
        crc32=line.crc32,
        size=line.size,
        received_at=line.received_at,
        commit=line.commit,
        place=one.place,
        ranges=(where,),
    )


def _made(place: Place, study: _Study) -> _Made:
    now = microseconds(datetime.now(UTC))
    objects = _objects(place.database, study, now)
    keys = {row["key"]: row["id"] for row in objects}
    rows = Rows(_nothing(), {study.institution: study.key}, place.writer.slot, now)
    for one in study.stored:
        rows.add(one, keys[one.ranges[0].key])
    if study.stored or not objects:
        return _Made(rows, list(rows.statements(objects)))
    return _Made(rows, [(_ADD_OBJECTS, (sql.document(objects),))])


def _write(connection: Connection, study: _Study, made: _Made) -> None:
    for statement, documents in made.statements:
        connection.run(statement, documents)
    if made.rows.corrections:
        correcting.correct(connection, list(made.rows.corrections.values()))
    _move(connection, study)
    if study.past.gone:
        gone = [{"institution_id": study.key, "uid": uid, "number": last} for uid, last in study.past.gone.items()]
        connection.run(_ADD_GONE, (sql.document(gone),))
    if study.past.hold is not None:
        holds.enter(connection, study.past.hold)
    recovered = study.located.recovered
    new = [(one.name, one.key, study.institution, one.size, numbers) for one, numbers in recovered]
    copy(connection, "rebuild_new", "name, key, institution, size, instances", new)
    connection.run(_DONE, (study.institution, study.past.study_uid))


def _nothing() -> State:
    """What there is of the study in the database."""
    return State(0, frozenset(), {}, {}, {}, {}, {})


def _objects(database: Database, study: _Study, now: int) -> list[dict[str, Any]]:
    """Rows of the objects that versions lie in, and of those that may go."""
    live = Counter(where.key for where in study.located.ranges.values())
    held = [*study.located.objects.values(), *study.located.unneeded]
    with database.reading() as connection:
        ids = [number << PLACES for (number,) in connection.run(_NEXT_KEYS, (len(held),))]
    return [
        {
            "id": id_,
            "store": study.bucket,
            "key": one.key,
            "size": one.size,
            "live": live[one.key],
            "gone_at": None if live[one.key] else now,
        }
        for id_, one in zip(ids, held, strict=True)
    ]


def _move(connection: Connection, study: _Study) -> None:
    """Give study and series the keys of what made them."""
    if not study.stored:
        return
    made = study.stored[0].key
    if made != study.past.study:
        for statement in _MOVE_STUDY:
            connection.run(statement, (study.past.study, made))
    firsts: dict[str, int] = {}
    for one in study.stored:
        firsts.setdefault(one.attributes.series_uid, one.key)
    for uid, first in firsts.items():
        key = study.past.series.get(uid, first)
        if key != first:
            for statement in _MOVE_SERIES:
                connection.run(statement, (key, first))
            connection.run(_MOVE_INSTANCES, (key, study.past.study, first))
