"""What a study and its series say after a correction or a deletion: what their first instance says.

Keys follow in order of commit, so that the first one is the one with the least key. Rare, hence step by step.
"""

from collections.abc import Sequence
from typing import Any

from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.rows import PLACES, Correction, described_series, described_study
from imagerepo.adapters.postgres.connecting import Connection


def correct(connection: Connection, corrections: Sequence[Correction]) -> dict[int, bool]:
    """Have new versions describe what their instances describe; by study, whether it disagrees about the patient."""
    of_studies = first_of_studies(connection, {one.study for one in corrections})
    of_series = first_of_series(connection, {(one.study, one.series) for one in corrections})
    studies = [
        {"id": one.study, **described_study(one.attributes, one.instance >> PLACES)}
        for one in corrections
        if of_studies[one.study] == one.instance
    ]
    series = [
        {"id": one.series, **described_series(one.attributes, one.instance >> PLACES)}
        for one in corrections
        if of_series[one.series] == one.instance
    ]
    describe(connection, studies, series)
    return mark(connection, {one.study for one in corrections})


def first_of_studies(connection: Connection, studies: set[int]) -> dict[int, int]:
    """The first instance of each, as far as they have any."""
    return {study: first for study, first, _ in connection.run(sql.FIRST_OF_STUDIES, (sorted(studies),))}


def first_of_series(connection: Connection, series: set[tuple[int, int]]) -> dict[int, int]:
    """Likewise of series: study's key, series' key."""
    asked = sql.document({"study_id": study, "id": one} for study, one in sorted(series))
    return dict(connection.run(sql.FIRST_OF_SERIES, (asked,)).fetchall())


def describe(connection: Connection, studies: Sequence[dict[str, Any]], series: Sequence[dict[str, Any]]) -> None:
    """Write what rows say from now on."""
    if studies:
        connection.run(sql.CHANGE_STUDIES, (sql.document(studies),))
    if series:
        connection.run(sql.CHANGE_SERIES, (sql.document(series),))


def mark(connection: Connection, studies: set[int]) -> dict[int, bool]:
    """Write what follows from all instances of studies; whether each disagrees about the patient."""
    found = connection.run(sql.FIRST_OF_STUDIES, (sorted(studies),))
    differs = {study: bool(disagrees) for study, _, disagrees in found}
    modalities: dict[int, list[str]] = {study: [] for study in differs}
    for study, modality in connection.run(sql.MODALITIES, (sorted(studies),)):
        modalities[study].append(modality)
    connection.run(
        sql.MARK_STUDIES,
        (
            sql.document(
                {"id": study, "modalities": "\\".join(sorted(modalities[study])), "patient_differs": int(disagrees)}
                for study, disagrees in differs.items()
            ),
        ),
    )
    return differs
