"""What the rows of a study and a series say: the attributes of one of their instances."""

import sqlite3

from imagerepo.adapters.index_sql import statements as sql
from imagerepo.adapters.index_sql.rows import fold, fold_name
from imagerepo.model.instance import Attributes


def study_values(one: Attributes, commit: int) -> tuple[str | int, ...]:
    """Values of statements.STUDY_FIELDS; `commit` is the one that first stored the instance."""
    return (
        one.patient_id,
        one.issuer_of_patient_id,
        one.patient_name,
        fold_name(one.patient_name),
        one.patient_birth_date,
        one.patient_sex,
        one.study_date,
        one.study_time,
        one.study_id,
        one.study_description,
        fold(one.study_description),
        one.accession_number,
        one.referring_physician_name,
        fold_name(one.referring_physician_name),
        one.timezone_offset,
        one.modality,
        commit,
    )


def series_values(one: Attributes, commit: int) -> tuple[str | int, ...]:
    """Values of statements.SERIES_FIELDS."""
    return (
        one.modality,
        one.series_number,
        one.series_description,
        fold(one.series_description),
        one.body_part,
        one.performed_step_date,
        one.performed_step_time,
        commit,
    )


def index_text(connection: sqlite3.Connection, study: int, attributes: Attributes) -> None:
    """Have a study found by wildcards."""
    connection.execute(
        sql.ADD_TEXT,
        (
            study,
            fold_name(attributes.patient_name),
            fold(attributes.patient_id),
            fold(attributes.study_description),
            fold(attributes.accession_number),
            fold_name(attributes.referring_physician_name),
        ),
    )


def forget_text(connection: sqlite3.Connection, study: int) -> None:
    """Have it found no more; its row must still say what it said."""
    name, patient_id, description, accession, referring = connection.execute(sql.TEXT_OF_STUDY, (study,)).fetchone()
    connection.execute(sql.DROP_TEXT, (study, name, fold(patient_id), description, fold(accession), referring))


def sums_of(connection: sqlite3.Connection, study: int) -> tuple[str, bool]:
    """A study's modalities, joined, and whether its instances disagree about the patient."""
    (differs,) = connection.execute(
        "SELECT min(patient_key) <> max(patient_key) FROM instance WHERE study_id = ?", (study,)
    ).fetchone()
    rows = connection.execute("SELECT DISTINCT modality FROM series WHERE study_id = ?", (study,))
    return "\\".join(sorted({one for (one,) in rows} - {""})), bool(differs)
