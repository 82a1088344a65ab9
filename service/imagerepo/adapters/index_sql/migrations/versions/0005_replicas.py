"""What replicas that share a database need: their journal, numbers for commits, sums that no two wait for.

PostgreSQL alone: a data folder has its segments for that.
"""

from typing import Final

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Where rows are changed in place over and over, their pages keep room for it.
_CHANGING: Final = {"study": 80, "series": 80, "holding": 50, "chain": 50}


def upgrade() -> None:
    """Make them."""
    if op.get_bind().dialect.name == "sqlite":
        return
    _journal()
    _sums()
    _objects()
    for table, fill in _CHANGING.items():
        op.execute(f"ALTER TABLE {table} SET (fillfactor = {fill})")


def _journal() -> None:
    op.execute("CREATE SEQUENCE commit_number")
    # Lines of one commit and institution, as they are chained; xid: orders commits by when they became visible.
    op.execute(
        'CREATE TABLE journal (commit_number bigint NOT NULL, institution text COLLATE "C" NOT NULL, '
        'writer text COLLATE "C" NOT NULL, first bigint NOT NULL, entries bigint NOT NULL, stored bigint NOT NULL, '
        "xid xid8 NOT NULL DEFAULT pg_current_xact_id(), lines bytea NOT NULL, "
        "PRIMARY KEY (commit_number, institution))"
    )
    op.execute("CREATE UNIQUE INDEX journal_by_chain ON journal (institution, writer, first)")
    op.execute("CREATE INDEX journal_by_visibility ON journal (xid, institution) WHERE stored > 0")


def _sums() -> None:
    op.execute("ALTER TABLE holding ADD COLUMN slot bigint NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE holding DROP CONSTRAINT holding_pkey, ADD PRIMARY KEY (institution_id, slot)")


def _objects() -> None:
    # live: versions whose bytes it has; gone_at: since when that is none, in microseconds since 1970, UTC.
    op.execute(
        "ALTER TABLE object ADD COLUMN size bigint NOT NULL DEFAULT 0, ADD COLUMN live bigint NOT NULL DEFAULT 0, "
        "ADD COLUMN gone_at bigint"
    )
    op.execute("CREATE INDEX object_gone ON object (gone_at) WHERE gone_at IS NOT NULL")
    op.execute("CREATE INDEX reclaim_by_object ON reclaim (object_id)")
    op.execute("CREATE SEQUENCE generation")
