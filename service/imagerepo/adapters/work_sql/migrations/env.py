"""Alembic's entry: runs on the connection that migrating.py hands over."""

from alembic import context

from imagerepo.adapters.work_sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
