"""Deletion: tombstones, numbers to go on from, bytes to be given back, legal holds."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _of_institution() -> sa.Column[int]:
    return sa.Column("institution_id", _KEY, *_reference("institution"), primary_key=True, autoincrement=False)


def _reference(table: str) -> tuple[sa.ForeignKey, ...]:
    """In PostgreSQL none, by which each insert would lock rows that all writers share."""
    return (sa.ForeignKey(f"{table}.id"),) if op.get_bind().dialect.name == "sqlite" else ()


def _names(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, _TEXT, primary_key=True) for name in names]


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, _TEXT, nullable=False, server_default="") for name in names]


def _number(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in names]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "tombstone",
        _of_institution(),
        *_names("study_uid", "series_uid", "instance_uid"),
        *_number("commit_number"),
        sqlite_with_rowid=False,
    )
    op.create_table("gone", _of_institution(), *_names("uid"), *_number("number"), sqlite_with_rowid=False)
    op.create_table(
        "reclaim",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("object_id", _KEY, *_reference("object"), nullable=False),
        *_number("offset", "length"),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        *_number("gone_at"),
    )
    op.create_table(
        "hold",
        _of_institution(),
        *_names("study_uid"),
        *_number("held", "commit_number", "at"),
        *_text("caller", "reason"),
        sqlite_with_rowid=False,
    )
