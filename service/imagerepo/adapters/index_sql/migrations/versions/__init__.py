"""Alembic's migrations, for both engines."""
