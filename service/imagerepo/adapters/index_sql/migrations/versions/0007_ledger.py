"""How far the journal is in S3, and how far that is signed. PostgreSQL alone: segments are their own journal."""

from typing import Final

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TEXT: Final = 'text COLLATE "C"'


def upgrade() -> None:
    """Make it."""
    if op.get_bind().dialect.name == "sqlite":
        return
    # First of all: it commits what came before it, without the revision.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS journal_by_institution")
        # An institution's commits in the order in which they became visible.
        op.execute("CREATE INDEX CONCURRENTLY journal_by_institution ON journal (institution, xid, commit_number)")
    # The last object of each institution's ledger; xid and commit_number: the row of the journal that is its last;
    # holder: who writes, until when others leave it to him.
    op.execute(
        f"CREATE TABLE ledger (institution {_TEXT} PRIMARY KEY, epoch bigint NOT NULL, number bigint NOT NULL, "
        f"digest {_TEXT} NOT NULL, xid xid8 NOT NULL, commit_number bigint NOT NULL, "
        f"holder {_TEXT} NOT NULL DEFAULT '', held_until timestamptz NOT NULL DEFAULT '-infinity')"
    )
    # Where each chain stands in the ledger; signed: up to which entry signed roots have come.
    op.execute(
        f"CREATE TABLE ledger_chain (institution {_TEXT} NOT NULL, writer {_TEXT} NOT NULL, "
        f"sequence bigint NOT NULL, digest {_TEXT} NOT NULL, signed bigint NOT NULL DEFAULT 0, "
        "PRIMARY KEY (institution, writer)) WITH (fillfactor = 50)"
    )
    op.execute("CREATE INDEX ledger_chain_unsigned ON ledger_chain (institution, writer) WHERE signed < sequence")
    # The last of the signed roots: one row.
    op.execute(
        "CREATE TABLE signed_root (id bigint PRIMARY KEY CHECK (id = 1), number bigint NOT NULL, "
        f"digest {_TEXT} NOT NULL, locked_until timestamptz, holder {_TEXT} NOT NULL, held_until timestamptz NOT NULL)"
    )
