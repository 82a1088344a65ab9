"""The joins below a study and a series, and the order of arrival, by level."""

from typing import Final

from imagerepo.model.query import Level

# CROSS JOIN fixes the order of the loops.
_INSTANCES_OF_SERIES: Final = (
    " CROSS JOIN instance i INDEXED BY instance_by_series ON i.study_id = s.study_id AND i.series_id = s.id "
    "CROSS JOIN version v ON v.instance_id = i.id AND v.number = i.current"
)
_SERIES_OF_STUDY: Final = " CROSS JOIN series s INDEXED BY series_by_study ON s.study_id = t.id"
BELOW_STUDY: Final = {
    Level.PATIENT: "",
    Level.STUDY: "",
    Level.SERIES: _SERIES_OF_STUDY,
    Level.INSTANCE: _SERIES_OF_STUDY + _INSTANCES_OF_SERIES,
}
BELOW_SERIES: Final = {Level.SERIES: "", Level.INSTANCE: _INSTANCES_OF_SERIES}
BY_INSTANCE_UID: Final = (
    "instance i JOIN series s ON s.id = i.series_id JOIN study t ON t.id = s.study_id "
    "JOIN version v ON v.instance_id = i.id AND v.number = i.current"
)
BY_SERIES_UID: Final = "series s INDEXED BY series_by_uid CROSS JOIN study t ON t.id = s.study_id"
ARRIVAL: Final = {
    Level.PATIENT: ("t.id",),
    Level.STUDY: ("t.id",),
    Level.SERIES: ("t.id", "s.id"),
    Level.INSTANCE: ("t.id", "s.id", "i.id"),
}
"""Columns by which rows are ordered, the last first."""
