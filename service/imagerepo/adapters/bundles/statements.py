"""The statements of commits. Many rows travel as one document: one statement, one plan, one round trip."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from imagerepo.adapters.index_sql.statements import INSTANCE_FIELDS, SERIES_FIELDS, STUDY_FIELDS, VERSION_FIELDS

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_NUMBERS: Final = frozenset({
    "id", "institution_id", "study_id", "series_id", "object_id", "number", "rows", "columns", "bits_allocated",
    "number_of_frames", "patient_key", "current", "crc32", "size", "received_at", "commit_number", "data_set_offset",
    "header_length", "trailer_offset", "pixel_offset", "pixel_length", "frame_length", "offset", "source_commit",
    "series_count", "instance_count", "patient_differs", "n", "live", "gone_at", "study_count", "hot_bytes", "slot",
    "sequence", "length", "late_after",
})  # fmt: skip
_OF_STUDY: Final = _NUMBERS - {"study_id"}  # there it is Study ID (0020,0010)
_BYTES: Final = frozenset({"digest", "frames"})


def document(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a parameter. PostgreSQL's text has neither zero characters nor halves of surrogate pairs."""
    made = _to_json(list(rows))
    if "\\u0000" in made or (not made.isascii() and _is_halved(made)):
        made = _to_json([{name: _whole(value) for name, value in row.items()} for row in json.loads(made)])
    return made


def _is_halved(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _whole(value: object) -> object:
    if not isinstance(value, str):
        return value
    return value.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _names(fields: str) -> list[str]:
    return [field.strip().strip('"') for field in fields.split(",")]


def relation(fields: str, numbers: frozenset[str] = _NUMBERS) -> str:
    """A document as a relation `u` that has these columns."""
    columns = [f'"{name}" {"bigint" if name in numbers else "text"}' for name in _names(fields)]
    return f"json_to_recordset(%s::json) AS u({', '.join(columns)})"


def _values(fields: str, alias: str = "u") -> str:
    return ", ".join(
        f"decode({alias}.\"{name}\", 'hex')" if name in _BYTES else f'{alias}."{name}"' for name in _names(fields)
    )


def _quoted(fields: str) -> str:
    return ", ".join(f'"{name}"' for name in _names(fields))


def _insert(table: str, fields: str, numbers: frozenset[str] = _NUMBERS) -> str:
    return f'INSERT INTO "{table}" ({_quoted(fields)}) SELECT {_values(fields)} FROM {relation(fields, numbers)}'


def _update(table: str, fields: str, numbers: frozenset[str] = _NUMBERS) -> str:
    changes = ", ".join(f'"{name}" = u."{name}"' for name in _names(fields))
    return f'UPDATE "{table}" t SET {changes} FROM {relation("id, " + fields, numbers)} WHERE t.id = u.id'


STUDY: Final = _names(STUDY_FIELDS)
SERIES: Final = _names(SERIES_FIELDS)
_STUDY_SUMS = "series_count, instance_count, patient_differs"

# In one statement, since each costs a client more than what it asks for costs the server.
LOCK_WRITER: Final = "SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(%s)"
_LOCKED = (
    "SELECT l.keys, nextval('commit_number') FROM "
    "(SELECT coalesce(array_agg(k), '{{}}') AS keys FROM unnest(%s::bigint[]) AS k WHERE {lock}) AS l"
)
LOCK: Final = _LOCKED.format(lock="pg_advisory_xact_lock(k) IS NOT NULL")
TRY_LOCK: Final = _LOCKED.format(lock="pg_try_advisory_xact_lock(k)")

ADD_INSTITUTION: Final = "INSERT INTO institution (name) VALUES (%s) ON CONFLICT DO NOTHING"
FIND_INSTITUTION: Final = "SELECT id FROM institution WHERE name = %s"

READ_SERIES: Final = (
    "SELECT u.n, s.id, t.id, t.modalities, t.patient_differs, t.patient_id, t.issuer_of_patient_id, "
    "t.patient_name_key, t.patient_birth_date, t.patient_sex "
    f"FROM {relation('n, institution_id, study_uid, uid')} "
    "JOIN study t ON t.institution_id = u.institution_id AND t.uid = u.study_uid "
    "LEFT JOIN series s ON s.study_id = t.id AND s.uid = u.uid"
)
READ_VERSIONS: Final = (
    "SELECT u.n, g.number, i.id, v.number, v.digest, v.transfer_syntax, t.uid, s.uid "
    f"FROM {relation('n, institution_id, uid')} "
    "LEFT JOIN gone g ON g.institution_id = u.institution_id AND g.uid = u.uid "
    "LEFT JOIN instance i ON i.institution_id = u.institution_id AND i.uid = u.uid "
    "LEFT JOIN study t ON t.id = i.study_id LEFT JOIN series s ON s.id = i.series_id "
    "LEFT JOIN version v ON v.instance_id = i.id WHERE v.number IS NOT NULL OR g.number IS NOT NULL "
    "ORDER BY u.n, v.number"
)
READ_LINKS: Final = "SELECT institution, sequence, digest FROM chain WHERE writer = %s AND institution = ANY(%s)"

ADD_STUDIES: Final = _insert("study", f"id, institution_id, uid, {STUDY_FIELDS}, {_STUDY_SUMS}", _OF_STUDY)
_COUNT_STUDIES = (
    "UPDATE study t SET series_count = t.series_count + u.series_count, "
    "instance_count = t.instance_count + u.instance_count, modalities = u.modalities, "
    f"patient_differs = u.patient_differs FROM {relation(f'id, modalities, {_STUDY_SUMS}')} WHERE t.id = u.id"
)
CHANGE_STUDIES: Final = _update("study", STUDY_FIELDS, _OF_STUDY)
MARK_STUDIES: Final = _update("study", "modalities, patient_differs")
ADD_SERIES: Final = _insert("series", f"id, institution_id, study_id, uid, {SERIES_FIELDS}, instance_count")
COUNT_SERIES: Final = (
    "UPDATE series t SET instance_count = t.instance_count + u.instance_count "
    f"FROM {relation('id, instance_count')} WHERE t.id = u.id"
)
CHANGE_SERIES: Final = _update("series", SERIES_FIELDS)
_INSTANCE = f"id, institution_id, study_id, series_id, uid, {INSTANCE_FIELDS}"
_VERSION = f"{VERSION_FIELDS}, object_id, offset"
_BOTH = f"id, institution_id, study_id, series_id, uid, {INSTANCE_FIELDS}, {VERSION_FIELDS.partition(', ')[2]}"
# By the clock of all replicas. Whoever writes such a row has the lock of its study: nobody waits for anybody.
_ARRIVING = (
    "INSERT INTO arriving (series_id, institution_id, study_id, at) SELECT DISTINCT {names}, "
    "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint FROM {whence} "
    "ON CONFLICT (series_id) DO UPDATE SET at = excluded.at"
)
# Whoever was paused for long comes when the sweep has removed the object and forgotten its key (sweeping.py): a
# division by zero refuses him. By the clock of all replicas; where nothing is said of it, the object was looked at
# just now.
_OBJECTS = (
    "INSERT INTO object (id, store, key, size, live, gone_at) SELECT u.id, u.store, u.key, u.size, "
    "u.live / CASE WHEN u.late_after < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint THEN 0 ELSE 1 END, "
    f"u.gone_at FROM {relation('id, store, key, size, live, gone_at, late_after')}"
)
ADD_VERSIONS: Final = (
    f"WITH o AS ({_OBJECTS}), "
    f"u AS MATERIALIZED (SELECT * FROM {relation(f'{_BOTH}, object_id, offset, n')}), "
    f"i AS (INSERT INTO instance ({_quoted(_INSTANCE)}) SELECT {_values(_INSTANCE)} FROM u WHERE u.n = 1), "
    f"v AS (INSERT INTO version ({_quoted(VERSION_FIELDS)}) "
    f"SELECT {_values(VERSION_FIELDS.replace('instance_id', 'id', 1))} FROM u), "
    "c AS (INSERT INTO copy (instance_id, number, copy, tier) SELECT u.id, u.number, 0, 'hot' FROM u), "
    f"a AS ({_ARRIVING.format(names='u.series_id, u.institution_id, u.study_id', whence='u')}) "
    'INSERT INTO "range" (instance_id, number, copy, ordinal, object_id, "offset", length) '
    'SELECT u.id, u.number, 0, 0, u.object_id, u."offset", u.size FROM u'
)
CHANGE_INSTANCES: Final = _update("instance", INSTANCE_FIELDS)
# One without versions is a key that was swept.
FIND_OBJECT: Final = "SELECT 1 FROM object WHERE store = %s AND key = %s AND live > 0"
ADD_RECLAIM: Final = _insert("reclaim", "object_id, offset, length, digest, gone_at")
ADD_HOLDINGS: Final = (
    "INSERT INTO holding AS h (institution_id, slot, study_count, series_count, instance_count, hot_bytes) "
    f"SELECT {_values('institution_id, slot, study_count, series_count, instance_count, hot_bytes')} "
    f"FROM {relation('institution_id, slot, study_count, series_count, instance_count, hot_bytes')} "
    "ON CONFLICT (institution_id, slot) DO UPDATE SET study_count = h.study_count + excluded.study_count, "
    "series_count = h.series_count + excluded.series_count, "
    "instance_count = h.instance_count + excluded.instance_count, hot_bytes = h.hot_bytes + excluded.hot_bytes"
)
COUNT: Final = f"WITH t AS ({_COUNT_STUDIES}), s AS ({COUNT_SERIES}) {ADD_HOLDINGS}"
ADD_JOURNAL: Final = (
    "WITH j AS (INSERT INTO journal (commit_number, institution, writer, first, entries, stored, lines) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s)) "
    "INSERT INTO chain (institution, writer, sequence, digest) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (institution, writer) DO UPDATE SET sequence = excluded.sequence, digest = excluded.digest"
)
# After a crash PostgreSQL gives numbers again that were lost with their transactions: the writer tells whose it is.
FIND_COMMIT: Final = "SELECT 1 FROM journal WHERE commit_number = %s AND writer = %s LIMIT 1"

# What describes a study or a series: the instance of theirs that was stored first. Keys follow in order of commit.
FIRST_OF_STUDIES: Final = (
    "SELECT study_id, min(id), (min(patient_key) <> max(patient_key))::int FROM instance "
    "WHERE study_id = ANY(%s) GROUP BY study_id"
)
FIRST_OF_SERIES: Final = (
    f"SELECT i.series_id, min(i.id) FROM {relation('study_id, id')} "
    "JOIN instance i ON i.study_id = u.study_id AND i.series_id = u.id GROUP BY i.series_id"
)
MODALITIES: Final = "SELECT DISTINCT study_id, modality FROM series WHERE study_id = ANY(%s) AND modality <> ''"

# The instances that a deletion names: study's key, then series and instance twice.
_DOOMED: Final = (
    "SELECT i.id, i.institution_id, i.study_id, i.series_id, i.uid FROM series s "
    "JOIN instance i ON i.study_id = s.study_id AND i.series_id = s.id WHERE s.study_id = %s "
    "AND (%s::text IS NULL OR s.uid = %s) AND (%s::text IS NULL OR i.uid = %s)"
)
COUNT_DOOMED: Final = f"SELECT count(*) FROM ({_DOOMED}) AS d"
_TORN = "doomed d WHERE EXISTS (SELECT 1 FROM freed f WHERE f.live > 0)"
# What a statement has made itself has no index: nothing of it is joined with more than a few rows.
DELETE: Final = (
    f"WITH doomed AS MATERIALIZED ({_DOOMED}), "
    'ranges AS (DELETE FROM "range" r USING doomed d WHERE r.instance_id = d.id '
    'RETURNING r.object_id, r."offset", r.length), '
    "copies AS (DELETE FROM copy c USING doomed d WHERE c.instance_id = d.id), "
    "versions AS (DELETE FROM version v USING doomed d WHERE v.instance_id = d.id "
    "RETURNING d.institution_id, d.series_id, d.uid, d.id, v.number, v.size), "
    "instances AS (DELETE FROM instance i USING doomed d WHERE i.id = d.id), "
    # Version numbers go on where they were.
    "kept AS (INSERT INTO gone (institution_id, uid, number) "
    "SELECT institution_id, uid, max(number) FROM versions GROUP BY institution_id, uid "
    "ON CONFLICT (institution_id, uid) DO UPDATE SET number = greatest(gone.number, excluded.number)), "
    "freed AS (UPDATE object o SET live = o.live - f.n, gone_at = CASE WHEN o.live = f.n THEN %s::bigint END "
    "FROM (SELECT object_id, count(*) AS n FROM ranges GROUP BY object_id) f WHERE o.id = f.object_id "
    "RETURNING o.id, o.live), "
    # An object is left in part only where less than a series is deleted, which it is of.
    'parts AS (INSERT INTO reclaim (object_id, "offset", length, digest, gone_at) '
    "SELECT r.object_id, r.\"offset\", r.length, '', %s::bigint FROM freed f JOIN ranges r ON r.object_id = f.id "
    "WHERE f.live > 0), "
    # What is left of it is copied, so that the rest goes.
    f"torn AS ({_ARRIVING.format(names='d.series_id, d.institution_id, d.study_id', whence=_TORN)}) "
    "SELECT series_id, count(DISTINCT id), min(id), sum(size)::bigint FROM versions GROUP BY series_id"
)
DROP_EMPTY_SERIES: Final = "DELETE FROM series WHERE study_id = %s AND instance_count = 0"
COUNT_STUDY: Final = (
    "UPDATE study SET instance_count = instance_count - %s, series_count = series_count - %s WHERE id = %s "
    "RETURNING instance_count"
)
DROP_STUDY: Final = "DELETE FROM study WHERE id = %s"
STUDY_KEY: Final = "SELECT id FROM study WHERE institution_id = %s AND uid = %s"
SOURCES: Final = (
    "SELECT i.id, v.number, v.transfer_syntax, v.data_set_offset, v.header_length, o.store, o.key, "
    f'r."offset", r.length, t.uid, s.uid, i.uid, i.sop_class_uid FROM {relation("id")} JOIN instance i ON i.id = u.id '
    "JOIN study t ON t.id = i.study_id JOIN series s ON s.id = i.series_id "
    "JOIN version v ON v.instance_id = i.id AND v.number = i.current "
    'JOIN "range" r ON r.instance_id = i.id AND r.number = v.number AND r.copy = 0 AND r.ordinal = 0 '
    "JOIN object o ON o.id = r.object_id"
)
NEXT_GENERATION: Final = "SELECT nextval('generation')"
