"""Indexes for what could only be found by looking at all of an institution."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_OF_STUDIES = {
    "study_by_issuer": "issuer_of_patient_id",
    "study_by_sex": "patient_sex",
    "study_by_time": "study_time",
    "study_by_description": "study_description_key",
}
_OF_SERIES = {
    "series_by_modality": "modality",
    "series_by_body_part": "body_part",
    "series_by_description": "series_description_key",
    "series_by_step_date": "performed_step_date",
}


def upgrade() -> None:
    """Make them."""
    key = () if op.get_bind().dialect.name == "sqlite" else ("id",)  # SQLite puts it at the end by itself
    op.drop_index("series_by_modality", "series")  # lacks the study
    for name, column in _OF_STUDIES.items():
        op.create_index(name, "study", ["institution_id", column, *key])
    for name, column in _OF_SERIES.items():
        op.create_index(name, "series", ["institution_id", column, "study_id", *key])
