"""The index's tables. Text is as in model.instance.Attributes; `…_key` is what is searched: case folded.

study > series > instance > version > copy > range; a range lies in an object. What was deleted is in tombstone, gone
and reclaim.

Two engines differ in what they need. PostgreSQL has text compared by code points, as SQLite does by itself, rows' keys
at the end of indexes, where SQLite puts them by itself, and no foreign keys, by which an insert would lock rows above.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# SQLite counts its own keys only for this exact type.
_Key = BigInteger().with_variant(Integer(), "sqlite")
_Text = Text().with_variant(Text(collation="C"), "postgresql")


def _key() -> Column[int]:
    return Column("id", _Key, primary_key=True)


def _to(table: str, name: str | None = None) -> Column[int]:
    return Column(name or f"{table}_id", _Key, ForeignKey(f"{table}.id"), nullable=False)


def _text(*names: str) -> list[Column[str]]:
    return [Column(name, _Text, nullable=False, server_default="") for name in names]


def _number(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False, server_default="0") for name in names]


def _index(name: str, *columns: str) -> tuple[Index, Index]:
    """Rows with the same values follow in order of their keys."""
    return (
        Index(name, *columns).ddl_if(dialect="sqlite"),
        Index(name, *columns, "id").ddl_if(dialect="postgresql"),
    )


def _optional(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger) for name in names]


institution = Table("institution", metadata, _key(), Column("name", _Text, nullable=False, unique=True))

study = Table(
    "study",
    metadata,
    _key(),
    _to("institution"),
    *_text("uid", "patient_id", "issuer_of_patient_id", "patient_name", "patient_name_key", "patient_birth_date"),
    *_text("patient_sex", "study_date", "study_time", "study_id", "study_description", "study_description_key"),
    *_text("accession_number", "referring_physician_name", "referring_physician_name_key", "timezone_offset"),
    *_text("modalities"),  # joined by backslashes, in order
    *_number("series_count", "instance_count"),
    *_number("patient_differs"),  # 1: instances disagree about the patient
    *_number("source_commit"),  # the earliest commit, whose attributes these are
    UniqueConstraint("institution_id", "uid"),
    *_index("study_by_patient_id", "institution_id", "patient_id"),
    *_index("study_by_patient_name", "institution_id", "patient_name_key"),
    *_index("study_by_date", "institution_id", "study_date"),
    *_index("study_by_accession", "institution_id", "accession_number"),
    *_index("study_by_study_id", "institution_id", "study_id"),
    *_index("study_by_birth_date", "institution_id", "patient_birth_date"),
    *_index("study_by_referring", "institution_id", "referring_physician_name_key"),
    *_index("study_by_issuer", "institution_id", "issuer_of_patient_id"),
    *_index("study_by_sex", "institution_id", "patient_sex"),
    *_index("study_by_time", "institution_id", "study_time"),
    *_index("study_by_description", "institution_id", "study_description_key"),
    *_index("study_by_institution", "institution_id"),  # in order of arrival, since rows follow in order of their keys
)

series = Table(
    "series",
    metadata,
    _key(),
    _to("institution"),
    _to("study"),
    *_text("uid", "modality", "series_number", "series_description", "series_description_key"),
    *_text("body_part", "performed_step_date", "performed_step_time"),
    *_number("instance_count", "source_commit"),
    UniqueConstraint("study_id", "uid"),
    *_index("series_by_study", "study_id"),  # likewise
    *_index("series_by_uid", "institution_id", "uid"),
    # In the order of their studies: one value's series lead to its studies in order of arrival.
    *_index("series_by_modality", "institution_id", "modality", "study_id"),
    *_index("series_by_body_part", "institution_id", "body_part", "study_id"),
    *_index("series_by_description", "institution_id", "series_description_key", "study_id"),
    *_index("series_by_step_date", "institution_id", "performed_step_date", "study_id"),
)

instance = Table(
    "instance",
    metadata,
    _key(),
    _to("institution"),
    _to("study"),
    _to("series"),
    *_text("uid", "sop_class_uid", "instance_number"),
    *_optional("rows", "columns", "bits_allocated", "number_of_frames"),
    *_number("patient_key"),  # what it says of the patient, hashed
    *_number("current"),  # number of the current version
    UniqueConstraint("institution_id", "uid"),
    *_index("instance_by_series", "study_id", "series_id"),  # serves a study in order of its series too
)


def _part_of(*names: str) -> list[Column[int]]:
    """The key of a table whose rows are found through those above them: one tree, no key of its own to count."""
    return [Column(name, _Key, primary_key=True, autoincrement=False) for name in names]


version = Table(
    "version",
    metadata,
    *_part_of("instance_id", "number"),
    *_text("transfer_syntax"),
    Column("digest", LargeBinary, nullable=False),
    *_number("crc32", "size", "received_at", "commit_number"),  # received_at: microseconds since 1970, UTC
    *_number("data_set_offset", "header_length", "trailer_offset"),
    *_optional("pixel_offset", "pixel_length", "frame_length"),
    Column("frames", LargeBinary),
    sqlite_with_rowid=False,
)

copy = Table(
    "copy",
    metadata,
    *_part_of("instance_id", "number", "copy"),  # copy: from 0
    *_text("tier"),
    *_optional("verified_at", "expires_at"),
    sqlite_with_rowid=False,
)

object_ = Table("object", metadata, _key(), *_text("store", "key"), UniqueConstraint("store", "key"))

range_ = Table(
    "range",
    metadata,
    *_part_of("instance_id", "number", "copy", "ordinal"),  # ordinal: from 0
    _to("object"),
    *_number("offset", "length"),
    sqlite_with_rowid=False,
)

# Holdings, kept in the transaction that changes them, so that no scrape has to count rows.
holding = Table(
    "holding",
    metadata,
    Column("institution_id", _Key, ForeignKey("institution.id"), primary_key=True),
    *_number("study_count", "series_count", "instance_count", "hot_bytes", "cold_bytes"),
)

# What of each segment is in these tables, in the same transaction.
segment = Table("segment", metadata, Column("name", _Text, primary_key=True), *_number("applied", "last_commit"))

# Where each chain of the journal stands.
chain = Table(
    "chain",
    metadata,
    Column("institution", _Text, primary_key=True),
    Column("writer", _Text, primary_key=True),
    *_number("sequence"),
    *_text("digest"),
)

# What was deleted, by the names that the tombstone has; '' where it names all below.
tombstone = Table(
    "tombstone",
    metadata,
    Column("institution_id", _Key, ForeignKey("institution.id"), primary_key=True, autoincrement=False),
    Column("study_uid", _Text, primary_key=True),
    Column("series_uid", _Text, primary_key=True),
    Column("instance_uid", _Text, primary_key=True),
    *_number("commit_number"),  # the last one's
    sqlite_with_rowid=False,
)

# Instances that were deleted: the last version number that was given, for versions to go on from.
gone = Table(
    "gone",
    metadata,
    Column("institution_id", _Key, ForeignKey("institution.id"), primary_key=True, autoincrement=False),
    Column("uid", _Text, primary_key=True),
    *_number("number"),
    sqlite_with_rowid=False,
)

# Bytes of deleted versions, until they are given back to the disk.
reclaim = Table(
    "reclaim",
    metadata,
    _key(),
    _to("object"),
    *_number("offset", "length"),
    Column("digest", LargeBinary, nullable=False),
    *_number("gone_at"),  # microseconds since 1970, UTC
)

# Legal holds. The row stays after the hold is lifted: which of two entries is the later one its number tells.
hold = Table(
    "hold",
    metadata,
    Column("institution_id", _Key, ForeignKey("institution.id"), primary_key=True, autoincrement=False),
    Column("study_uid", _Text, primary_key=True),
    *_number("held"),  # 1: nothing of the study may be deleted
    *_number("commit_number", "at"),  # at: microseconds since 1970, UTC
    *_text("caller", "reason"),
    sqlite_with_rowid=False,
)

for _table in metadata.tables.values():
    for _constraint in _table.foreign_key_constraints:
        _constraint.ddl_if(dialect="sqlite")
