"""Trigrams of series descriptions; triggers keep them with the rows of series, whoever writes those."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ADD = (
    "INSERT INTO series_text (rowid, series_description) SELECT new.id, new.series_description_key "
    "WHERE new.series_description_key <> ''"
)
_DROP = (
    "INSERT INTO series_text (series_text, rowid, series_description) "
    "SELECT 'delete', old.id, old.series_description_key WHERE old.series_description_key <> ''"
)


def upgrade() -> None:
    """Make them, of what there is too; PostgreSQL has pg_trgm for that."""
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("CREATE VIRTUAL TABLE series_text USING fts5(series_description, content='', tokenize='trigram')")
    op.execute(
        "INSERT INTO series_text (rowid, series_description) SELECT id, series_description_key FROM series "
        "WHERE series_description_key <> ''"
    )
    op.execute(f"CREATE TRIGGER series_text_added AFTER INSERT ON series BEGIN {_ADD}; END")
    op.execute(f"CREATE TRIGGER series_text_dropped AFTER DELETE ON series BEGIN {_DROP}; END")
    op.execute(
        "CREATE TRIGGER series_text_changed AFTER UPDATE OF id, series_description_key ON series "
        f"BEGIN {_DROP}; {_ADD}; END"
    )
