"""The first tables, as they were then: tables.py goes on, this does not."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite counts its own keys only for this exact type.
_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "task",
        sa.Column("id", _KEY, primary_key=True),
        *_text("kind", "institution", "queue", "lane", "name", "payload", "state"),
        *_number("attempts", "created_at", "due_at", "leased_until"),
        *_text("problem"),
        sa.UniqueConstraint("kind", "queue", "name"),
        sqlite_autoincrement=True,
    )
    op.create_index("task_by_queue", "task", ["kind", "queue", "state", "id"])
    op.create_index("task_by_lane", "task", ["kind", "queue", "lane", "id"])
    op.create_index("task_by_lease", "task", ["leased_until"])
    op.create_index("task_by_kind", "task", ["kind", "state"])
    op.create_table(
        "queue",
        sa.Column("kind", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, primary_key=True),
        *_number("failures", "due_at"),
        *_text("problem"),
    )
    op.create_table(
        "followed",
        sa.Column("follower", _TEXT, primary_key=True),
        sa.Column("writer", _TEXT, primary_key=True),
        *_text("segment"),
        *_number("position"),
    )


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, _TEXT, nullable=False, server_default="") for name in names]


def _number(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in names]
