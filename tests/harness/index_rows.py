"""Rows of the index in PostgreSQL without commits: those of a SQLite index, or many made up."""

from pathlib import Path

from imagerepo.adapters.index_sql import tables
from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.postgres.database import Database

_TABLES = ("institution", "study", "series", "instance", "version", "copy", "object", "range", "holding")

INSTANCES_A_SERIES = 50
INSTANCES_A_STUDY = 100
_FAMILIES = "(ARRAY['smith', 'garcia', 'mueller', 'rossi', 'novak', 'silva', 'tanaka', 'kim', 'ivanov', 'dubois'])"
_STUDY = f"""
INSERT INTO study (id, institution_id, uid, patient_id, patient_name, patient_name_key, patient_birth_date,
    patient_sex, study_date, study_time, study_id, study_description, study_description_key, accession_number,
    modalities, series_count, instance_count)
SELECT n * {INSTANCES_A_STUDY} + 1, %(institution)s, '1.2.' || n, 'PID' || n / 2, upper(name), name,
    '19' || to_char(n %% 100, 'FM00') || '0101', substr('MF', n %% 2 + 1, 1),
    to_char(date '2005-01-01' + n %% 7000, 'YYYYMMDD'), to_char(n %% 24, 'FM00') || '1500', 'S' || n,
    'CT HEAD', 'ct head', 'ACC' || n, (ARRAY['CT', 'MR', 'CR', 'US', 'MG'])[n %% 5 + 1], 2,
    {INSTANCES_A_STUDY}
FROM (SELECT n::int, {_FAMILIES}[n %% 10 + 1] || to_char(n, 'FM0000000') || '^' || {_FAMILIES}[n / 10 %% 10 + 1] name
    FROM generate_series(%(first)s::int, %(last)s::int - 1) n) s"""
_SERIES = f"""
INSERT INTO series (id, institution_id, study_id, uid, modality, series_number, series_description,
    series_description_key, body_part, performed_step_date, instance_count)
SELECT t.id + m * {INSTANCES_A_SERIES}, t.institution_id, t.id, t.uid || '.' || m, t.modalities, m + 1,
    'AX ' || t.patient_id, 'ax ' || lower(t.patient_id), 'HEAD', t.study_date, {INSTANCES_A_SERIES}
FROM study t CROSS JOIN generate_series(0, 1) m WHERE t.id BETWEEN %(from)s AND %(to)s"""
_INSTANCE = f"""
INSERT INTO instance (id, institution_id, study_id, series_id, uid, sop_class_uid, instance_number, current)
SELECT s.id + k, s.institution_id, s.study_id, s.id, s.uid || '.' || k, '1.2.840.10008.5.1.4.1.1.2', k + 1, 1
FROM series s CROSS JOIN generate_series(0, {INSTANCES_A_SERIES - 1}) k WHERE s.id BETWEEN %(from)s AND %(to)s"""
_VERSION = """
INSERT INTO version (instance_id, number, transfer_syntax, digest, size, received_at)
SELECT id, 1, '1.2.840.10008.1.2.1', '\\x00', 20000, 1700000000000000 FROM instance
WHERE id BETWEEN %(from)s AND %(to)s"""
_COPY = """
INSERT INTO copy (instance_id, number, copy, tier)
SELECT id, 1, 0, 'hot' FROM instance WHERE id BETWEEN %(from)s AND %(to)s"""
_RANGE = """
INSERT INTO "range" (instance_id, number, copy, ordinal, object_id, "offset", length)
SELECT id, 1, 0, 0, series_id, (id - series_id) * 20000, 20000 FROM instance
WHERE id BETWEEN %(from)s AND %(to)s"""
_OBJECT = """
INSERT INTO object (id, store, key) SELECT id, 'store', uid FROM series WHERE id BETWEEN %(from)s AND %(to)s"""


def copy_rows(data: Path, database: Database) -> None:
    """Have what a data folder's index has, and nothing else."""
    source = connect(data / INDEX)
    with database.transaction() as connection:
        for name in _TABLES:
            columns = ", ".join(f'"{one.name}"' for one in tables.metadata.tables[name].columns)
            connection.run(f'DELETE FROM "{name}"')
            with connection.cursor().copy(f'COPY "{name}" ({columns}) FROM STDIN'.encode()) as rows:
                for row in source.execute(f'SELECT {columns} FROM "{name}"'):
                    rows.write_row(row)
    source.close()


def make_rows(database: Database, institution: int, name: str, studies: range) -> None:
    """Make those studies of an institution, of two series of 50 instances each; a patient has two of them."""
    keys = {"from": studies.start * INSTANCES_A_STUDY + 1, "to": studies.stop * INSTANCES_A_STUDY}
    given = {"institution": institution, "first": studies.start, "last": studies.stop, **keys}
    with database.transaction() as connection:
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.execute(
            "INSERT INTO institution (id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING", (institution, name)
        )
        for statement in (_STUDY, _SERIES, _INSTANCE, _VERSION, _COPY, _OBJECT, _RANGE):
            connection.execute(statement.encode(), given)
