"""What became of transactions whose connection was lost: each leaves a token (postgres/settled.py).

PostgreSQL alone: SQLite has no connection that could be lost.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    if op.get_bind().dialect.name == "sqlite":
        return
    # stands: the transaction wrote it itself; otherwise who asked after it did, and it will never be.
    op.execute("CREATE TABLE settlement (token uuid PRIMARY KEY, stands boolean NOT NULL)")
