"""Who leased a task, and in PostgreSQL an index of leases, as they were then: tables.py goes on, this does not."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for it."""
    if op.get_bind().dialect.name == "postgresql":
        op.create_index("task_leased", "task", ["kind", "queue", "lane"], postgresql_where=sa.text("leased_until > 0"))
        # Rows come and go: what is dead among them would have to be looked through until it is cleared away.
        op.execute(
            "ALTER TABLE task SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.05)"
        )
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("task", sa.Column("owner", text, nullable=False, server_default=""))
