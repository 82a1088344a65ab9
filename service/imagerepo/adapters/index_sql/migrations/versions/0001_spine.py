"""The first tables."""

from alembic import op

from imagerepo.adapters.index_sql.tables import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    bind = op.get_bind()
    metadata.create_all(bind)
    if bind.dialect.name == "sqlite":
        # Trigrams serve wildcards inside a value; PostgreSQL has pg_trgm for that.
        op.execute(
            "CREATE VIRTUAL TABLE study_text USING fts5(patient_name, patient_id, study_description, "
            "accession_number, referring_physician_name, content='', tokenize='trigram')"
        )
