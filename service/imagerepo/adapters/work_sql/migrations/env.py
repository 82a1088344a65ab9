"""Alembic's entry: runs on the connection that whoever upgrades hands over."""

from alembic import context

from imagerepo.adapters.work_sql.tables import metadata

_given = context.config.attributes

context.configure(
    connection=_given["connection"],
    target_metadata=metadata,
    version_table=_given.get("version_table", "alembic_version"),
    transaction_per_migration=_given.get("transaction_per_migration", False),
)
with context.begin_transaction():
    context.run_migrations()
