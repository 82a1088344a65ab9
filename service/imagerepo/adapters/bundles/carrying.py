"""What a data folder is left with, into the database: the transaction that carries some of its commits over.

Journal lines stay as they are, in chains of their own: their writer is named after the folder and who wrote there. So
the chains say how far a folder was carried, and whoever is not sure of a COMMIT, or was killed, sees by them where to
go on. A commit gets a number of ours for each of its institutions, in the order of the folder's: what it has stored
for one of them is counted from the first place on, as a rebuild counts.

A version keeps its number. One that was deleted in the folder since it was stored is not carried, its number is kept
from being given again. A deletion that is carried after what it deletes removes that, and nothing that came here by
another way. A hold that is carried over is set; a release lifts what the same folder has set, and no other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from imagerepo.adapters.bundles import correcting, known, removing
from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.decisions import Decisions
from imagerepo.adapters.bundles.describing import Descriptions, Read, UndescribedError
from imagerepo.adapters.bundles.item import Item
from imagerepo.adapters.bundles.journaling import Writer
from imagerepo.adapters.bundles.known import Institutions, Name, Question, State
from imagerepo.adapters.bundles.lots import Carried, Chain, Lot
from imagerepo.adapters.bundles.removing import Doomed
from imagerepo.adapters.bundles.rows import Rows, of_objects
from imagerepo.adapters.index_sql import apply
from imagerepo.adapters.index_sql.holds import HoldEntry, refuse_held
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.postgres import holds
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.segments.decide import Decision, History, as_known, decide
from imagerepo.adapters.segments.lines import START, DeleteLine, Link, StoreLine
from imagerepo.errors import OvertakenError
from imagerepo.model.events import StoreRequest

CARRIED: Final = "data:"
"""What the writers of chains begin with that were carried over from a data folder."""

_WAIT: Final = "4s"  # for studies that replicas have just now
_HEADS: Final = "SELECT institution, writer, sequence, digest FROM chain WHERE starts_with(writer, %s)"
_NUMBERS: Final = "SELECT nextval('commit_number') FROM generate_series(1, %s)"
# Whether a study is held, and who has said so.
_HOLD: Final = (
    "SELECT h.held = 1, coalesce(j.writer, '') FROM institution n JOIN hold h ON h.institution_id = n.id "
    "LEFT JOIN journal j ON j.commit_number = h.commit_number AND j.institution = n.name "
    "WHERE n.name = %s AND h.study_uid = %s"
)
# Which instances of a study a deletion names, and whether all versions of each came from the folder.
_DOOMED: Final = (
    "SELECT s.uid, i.uid, bool_and(coalesce(starts_with(j.writer, %s), false)) FROM series s "
    "JOIN instance i ON i.study_id = s.study_id AND i.series_id = s.id JOIN version v ON v.instance_id = i.id "
    "LEFT JOIN journal j ON j.commit_number = v.commit_number AND j.institution = %s "
    "WHERE s.study_id = %s AND (%s::text IS NULL OR s.uid = %s) AND (%s::text IS NULL OR i.uid = %s) "
    "GROUP BY s.uid, i.uid ORDER BY s.uid, i.uid"
)
_ADD_GONE: Final = (
    "INSERT INTO gone (institution_id, uid, number) SELECT u.institution_id, u.uid, max(u.number) FROM "
    "json_to_recordset(%s::json) AS u(institution_id bigint, uid text, number bigint) "
    # Where there are versions, numbers go on behind those.
    "LEFT JOIN instance i ON i.institution_id = u.institution_id AND i.uid = u.uid "
    "WHERE i.current IS NULL OR i.current > u.number GROUP BY u.institution_id, u.uid "
    "ON CONFLICT (institution_id, uid) DO UPDATE SET number = greatest(gone.number, excluded.number)"
)
_ADD_JOURNAL: Final = (
    "INSERT INTO journal (commit_number, institution, writer, first, entries, stored, lines) "
    "SELECT c, i, w, f, e, 0, l FROM "
    "unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bytea[]) AS u(c, i, w, f, e, l)"
)
_ADD_CHAINS: Final = (
    "INSERT INTO chain (institution, writer, sequence, digest) "
    "SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[]) ORDER BY 1, 2 "
    "ON CONFLICT (institution, writer) DO UPDATE SET sequence = excluded.sequence, digest = excluded.digest"
)


def origin_of(writer: str) -> str:
    """The data folder that a writer's lines were carried over from; empty: none."""
    return writer.partition("/")[0] if writer.startswith(CARRIED) else ""


@dataclass(frozen=True, slots=True)
class HeldBy:
    """What is known of a study's hold."""

    held: bool
    origin: str  # as `origin_of` has it


def counts(entry: HoldEntry, origin: str, before: HeldBy | None) -> bool:
    """Whether a hold or a release from `origin` changes what there was: a release that is carried over not always."""
    return not origin or before is None or before.origin == origin or (entry.held and not before.held)


@dataclass(slots=True)
class Outcome:
    """What a transaction has carried."""

    stored: list[StoreLine] = field(default_factory=list[StoreLine])
    already: list[StoreLine] = field(default_factory=list[StoreLine])  # the same bytes came by another way
    refused: list[tuple[StoreLine, str]] = field(default_factory=list[tuple[StoreLine, str]])


class Carrying:
    """Carries what one data folder has. For one thread."""

    def __init__(self, database: Database, read: Read, folder: str) -> None:
        """`folder`: its name; nobody else carries it at the same time."""
        self._database = database
        self._institutions = Institutions(database)
        self._read = read
        self._prefix = f"{CARRIED}{folder}/"
        self._writer = Writer(self._prefix)
        self._prepared = Outcome()

    def heads(self) -> dict[Chain, Link]:
        """How far chains were carried. Raises UnavailableError."""
        with self._database.reading() as connection:
            return self._heads(connection)

    def carry(self, lot: Lot) -> Outcome:
        """Carry a lot whose bytes are stored; one that was carried already is not carried again.

        Raises:
            HeldError: a deletion that is to be carried is about a study that is held here.
            OvertakenError: somebody else carries the same folder.
            UnavailableError: it may be tried again, whatever became of it.
        """
        descriptions = Descriptions(self._read)
        names = {institution for institution, _ in lot.end}
        keys = {name: self._institutions.key(name) for name in names}
        while True:
            try:
                with self._database.transaction() as connection:
                    if self._is_next(connection, lot):
                        self._prepared = self._carried(connection, lot, keys, descriptions)
            except UndescribedError as error:
                descriptions.read(error.sources)
            else:
                return self._prepared

    def _is_next(self, connection: Connection, lot: Lot) -> bool:
        """Whether a lot is to be carried; not where it was after all, by a transaction that was in doubt."""
        connection.run(sql.LOCK_WRITER, (_WAIT, known.lock_of_writer(self._prefix)))
        heads = self._heads(connection)
        if all(heads.get(chain) == link for chain, link in lot.end.items()):
            return False
        if any(heads.get(chain, START) != link for chain, link in lot.begin.items()):
            raise OvertakenError("another import of the same data folder has gone on meanwhile; run it again")
        return True

    def _carried(self, connection: Connection, lot: Lot, keys: dict[str, int], descriptions: Descriptions) -> Outcome:
        question = _question(self._prefix, lot, keys)
        now = microseconds(datetime.now(UTC))
        connection.run(sql.LOCK, (sorted(question.locks),))
        numbers = _numbers(connection, lot)
        self._journal(connection, lot, numbers)
        for of, one in zip(numbers, lot.commits, strict=True):
            for change in one.changes:
                if isinstance(change, DeleteLine):
                    self._delete(connection, change, keys[change.institution], now, descriptions)
                else:
                    self._hold(connection, replace(change, commit=of[change.institution]))
        # What was stored in the folder before it was deleted there, in this lot, is not among its versions.
        state = known.ask(connection, question)
        done, outcome = Decisions(state.commit), Outcome()
        for of, one in zip(numbers, lot.commits, strict=True):
            _decide(one, of, state, keys, done, outcome)
        self._write(connection, done, Rows(state, keys, self._writer.slot, now), now)
        gone = [line for one in lot.commits for line in one.gone]
        if gone:
            connection.run(_ADD_GONE, (sql.document(_gone(gone, keys)),))
        return outcome

    def _write(self, connection: Connection, done: Decisions, rows: Rows, now: int) -> None:
        objects, object_keys, unneeded = of_objects(done, now)
        for item, stored in done.stored:
            assert item.object_ is not None
            rows.add(stored, object_keys[item.object_])
        rows.write(connection, objects)
        if unneeded:
            connection.run(sql.ADD_RECLAIM, (sql.document(unneeded),))
        if rows.corrections:
            correcting.correct(connection, list(rows.corrections.values()))

    def _delete(
        self, connection: Connection, line: DeleteLine, key: int, now: int, descriptions: Descriptions
    ) -> None:
        """Remove what a deletion names, as far as it came from the folder."""
        row = connection.run(sql.STUDY_KEY, (key, line.study_uid)).fetchone()
        if row is None:
            return
        (study,) = row
        named = Doomed(key, study, line.series_uid, line.instance_uid)
        found = connection.run(_DOOMED, (self._prefix, line.institution, *named.parameters)).fetchall()
        ours = [(series, instance) for series, instance, is_ours in found if is_ours]
        if not ours:
            return
        refuse_held(line.study_uid, holds.find(connection, line.institution, line.study_uid))
        parts = [named] if len(ours) == len(found) else [Doomed(key, study, *one) for one in ours]
        for one in parts:
            removing.remove(connection, one, now, self._writer.slot, descriptions)
        connection.run(sql.NEXT_GENERATION)

    def _hold(self, connection: Connection, entry: HoldEntry) -> None:
        """Set or lift a hold, unless the cluster itself, or another folder, has the last word."""
        row = connection.run(_HOLD, (entry.institution, entry.study_uid)).fetchone()
        before = None if row is None else HeldBy(row[0], origin_of(row[1]))
        if counts(entry, origin_of(self._prefix), before):
            holds.enter(connection, entry)

    def _heads(self, connection: Connection) -> dict[Chain, Link]:
        found = connection.run(_HEADS, (self._prefix,))
        return {
            (institution, writer.removeprefix(self._prefix)): Link(sequence, digest)
            for institution, writer, sequence, digest in found
        }

    def _journal(self, connection: Connection, lot: Lot, numbers: Sequence[Mapping[str, int]]) -> None:
        said = [
            (
                by[institution],
                institution,
                f"{self._prefix}{of.chain[1]}",
                of.first,
                len(of.lines),
                b"\n".join(of.lines),
            )
            for by, one in zip(numbers, lot.commits, strict=True)
            for institution, of in sorted(one.lines.items())
        ]
        connection.run(_ADD_JOURNAL, tuple(list(column) for column in zip(*said, strict=True)))
        chains = [
            (institution, f"{self._prefix}{writer}", link.sequence, link.digest)
            for (institution, writer), link in lot.end.items()
        ]
        connection.run(_ADD_CHAINS, tuple(list(column) for column in zip(*chains, strict=True)))


def _numbers(connection: Connection, lot: Lot) -> list[dict[str, int]]:
    """A number for each institution of each commit, in order."""
    wanted = sum(len(one.lines) for one in lot.commits)
    drawn = iter(connection.run(_NUMBERS, (wanted,)).fetchall())
    return [{institution: next(drawn)[0] for institution in sorted(one.lines)} for one in lot.commits]


def _question(writer: str, lot: Lot, keys: Mapping[str, int]) -> Question:
    series: dict[tuple[Name, str], None] = {}
    instances: dict[Name, None] = {}
    locks: set[int] = set()
    for one in lot.commits:
        for line, _ in one.versions:
            series[(keys[line.institution], line.study_uid), line.series_uid] = None
            instances[keys[line.institution], line.instance_uid] = None
            locks.add(known.lock_of_study(line.institution, line.study_uid))
        locks |= {known.lock_of_study(line.institution, line.study_uid) for line in one.changes}
    return Question(writer, sorted({name for name, _ in lot.end}), sorted(locks), _WAIT, list(series), list(instances))


def _decide(
    one: Carried, numbers: Mapping[str, int], state: State, keys: Mapping[str, int], done: Decisions, outcome: Outcome
) -> None:
    """What becomes of the versions of one commit, which has these numbers here, by institution."""
    places = Counter[str]()
    for line, item in one.versions:
        assert isinstance(item.request, StoreRequest)
        assert item.object_ is not None
        history = state.histories.setdefault((keys[line.institution], line.instance_uid), History([], 0))
        needed = done.objects.setdefault(item.object_, [])
        reason = _refusal(line, item.request, history)
        if reason == "":
            needed.append(item)
            place = numbers[line.institution], places[line.institution]
            done.stored.append((item, _row(line, item, place)))
            places[line.institution] += 1
            history.known.append(as_known(item.request, line.version))
            outcome.stored.append(line)
            continue
        done.unneeded.append(item)
        if reason is None:
            outcome.already.append(line)
        else:
            outcome.refused.append((line, reason))


def _refusal(line: StoreLine, request: StoreRequest, history: History) -> str | None:
    """Why a version cannot be stored under its number; empty: it can; None: it is there already."""
    decided = decide(request, history)
    if decided.decision is Decision.DUPLICATE:
        return None
    if decided.decision is Decision.REFUSE:
        return str(decided.error)
    last = history.known[-1].number if history.known else history.last
    if line.version <= last:
        return (
            f"version {line.version} of instance {line.instance_uid} has other bytes here, or was deleted here: "
            f"versions up to {last} came by another way"
        )
    return ""


def _row(line: StoreLine, item: Item, place: tuple[int, int]) -> apply.Stored:
    request, where = item.request, item.where
    assert isinstance(request, StoreRequest)
    assert where is not None
    return apply.Stored(
        institution=line.institution,
        attributes=request.attributes,
        layout=request.layout,
        transfer_syntax=line.transfer_syntax,
        number=line.version,
        digest=line.digest,
        crc32=line.crc32,
        size=line.size,
        received_at=line.received_at,
        commit=place[0],
        place=place[1],
        ranges=(where,),
    )


def _gone(gone: Sequence[StoreLine], keys: Mapping[str, int]) -> list[dict[str, int | str]]:
    return [{"institution_id": keys[one.institution], "uid": one.instance_uid, "number": one.version} for one in gone]
