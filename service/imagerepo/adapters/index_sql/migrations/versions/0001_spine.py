"""The first tables, as they were then: tables.py goes on, this does not."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite counts its own keys only for this exact type.
_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make them."""
    _institutions()
    _entities()
    _versions()
    _sums()
    if op.get_bind().dialect.name == "sqlite":
        # Trigrams serve wildcards inside a value; PostgreSQL has pg_trgm for that.
        op.execute(
            "CREATE VIRTUAL TABLE study_text USING fts5(patient_name, patient_id, study_description, "
            "accession_number, referring_physician_name, content='', tokenize='trigram')"
        )


def _key() -> sa.Column[int]:
    return sa.Column("id", _KEY, primary_key=True)


def _to(table: str) -> sa.Column[int]:
    return sa.Column(f"{table}_id", _KEY, *_reference(table), nullable=False)


def _reference(table: str) -> tuple[sa.ForeignKey, ...]:
    """In PostgreSQL none, by which each insert would lock rows that all writers share."""
    return (sa.ForeignKey(f"{table}.id"),) if op.get_bind().dialect.name == "sqlite" else ()


def _index(name: str, table: str, columns: list[str]) -> None:
    """Rows with the same values follow in order of their keys, which SQLite puts at the end by itself."""
    op.create_index(name, table, columns if op.get_bind().dialect.name == "sqlite" else [*columns, "id"])


def _part_of(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, _KEY, primary_key=True, autoincrement=False) for name in names]


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, _TEXT, nullable=False, server_default="") for name in names]


def _number(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in names]


def _optional(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger) for name in names]


def _institutions() -> None:
    op.create_table("institution", _key(), sa.Column("name", _TEXT, nullable=False, unique=True))


def _entities() -> None:
    op.create_table(
        "study",
        _key(),
        _to("institution"),
        *_text("uid", "patient_id", "issuer_of_patient_id", "patient_name", "patient_name_key", "patient_birth_date"),
        *_text("patient_sex", "study_date", "study_time", "study_id", "study_description", "study_description_key"),
        *_text("accession_number", "referring_physician_name", "referring_physician_name_key", "timezone_offset"),
        *_text("modalities"),
        *_number("series_count", "instance_count", "patient_differs", "source_commit"),
        sa.UniqueConstraint("institution_id", "uid"),
    )
    for name, column in {
        "study_by_patient_id": "patient_id",
        "study_by_patient_name": "patient_name_key",
        "study_by_date": "study_date",
        "study_by_accession": "accession_number",
        "study_by_study_id": "study_id",
        "study_by_birth_date": "patient_birth_date",
        "study_by_referring": "referring_physician_name_key",
    }.items():
        _index(name, "study", ["institution_id", column])
    _index("study_by_institution", "study", ["institution_id"])
    op.create_table(
        "series",
        _key(),
        _to("institution"),
        _to("study"),
        *_text("uid", "modality", "series_number", "series_description", "series_description_key"),
        *_text("body_part", "performed_step_date", "performed_step_time"),
        *_number("instance_count", "source_commit"),
        sa.UniqueConstraint("study_id", "uid"),
    )
    _index("series_by_study", "series", ["study_id"])
    _index("series_by_uid", "series", ["institution_id", "uid"])
    _index("series_by_modality", "series", ["institution_id", "modality"])
    op.create_table(
        "instance",
        _key(),
        _to("institution"),
        _to("study"),
        _to("series"),
        *_text("uid", "sop_class_uid", "instance_number"),
        *_optional("rows", "columns", "bits_allocated", "number_of_frames"),
        *_number("patient_key", "current"),
        sa.UniqueConstraint("institution_id", "uid"),
    )
    _index("instance_by_series", "instance", ["study_id", "series_id"])


def _versions() -> None:
    op.create_table(
        "version",
        *_part_of("instance_id", "number"),
        *_text("transfer_syntax"),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        *_number("crc32", "size", "received_at", "commit_number"),
        *_number("data_set_offset", "header_length", "trailer_offset"),
        *_optional("pixel_offset", "pixel_length", "frame_length"),
        sa.Column("frames", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "copy",
        *_part_of("instance_id", "number", "copy"),
        *_text("tier"),
        *_optional("verified_at", "expires_at"),
        sqlite_with_rowid=False,
    )
    op.create_table("object", _key(), *_text("store", "key"), sa.UniqueConstraint("store", "key"))
    op.create_table(
        "range",
        *_part_of("instance_id", "number", "copy", "ordinal"),
        _to("object"),
        *_number("offset", "length"),
        sqlite_with_rowid=False,
    )


def _sums() -> None:
    op.create_table(
        "holding",
        sa.Column("institution_id", _KEY, *_reference("institution"), primary_key=True, autoincrement=False),
        *_number("study_count", "series_count", "instance_count", "hot_bytes", "cold_bytes"),
    )
    op.create_table("segment", sa.Column("name", _TEXT, primary_key=True), *_number("applied", "last_commit"))
    op.create_table(
        "chain",
        sa.Column("institution", _TEXT, primary_key=True),
        sa.Column("writer", _TEXT, primary_key=True),
        *_number("sequence"),
        *_text("digest"),
    )
