"""Scheduled and performed procedure steps, as they were then: tables.py goes on, this does not."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make their tables."""
    op.create_table(
        "scheduled_step",
        sa.Column("institution", _TEXT, primary_key=True),
        sa.Column("id", _TEXT, primary_key=True),
        *_text("state", "study_uid", "step_id", "patient_id", "day", "time", "content"),
        sa.Column("is_open", sa.Integer, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_index("scheduled_step_by_day", "scheduled_step", ["institution", "is_open", "day", "time", "id"])
    op.create_index("scheduled_step_by_patient", "scheduled_step", ["institution", "is_open", "patient_id"])
    op.create_index("scheduled_step_by_study", "scheduled_step", ["institution", "study_uid"])
    op.create_table(
        "performed_step",
        sa.Column("institution", _TEXT, primary_key=True),
        sa.Column("uid", _TEXT, primary_key=True),
        *_text("status", "content"),
        sa.Column("begun_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "performed_of_study",
        sa.Column("institution", _TEXT, primary_key=True),
        sa.Column("study_uid", _TEXT, primary_key=True),
        sa.Column("uid", _TEXT, primary_key=True),
    )


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, _TEXT, nullable=False, server_default="") for name in names]
