"""The tables of work.sqlite. Moments are microseconds since 1970, UTC."""

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, UniqueConstraint, text

metadata = MetaData()

# SQLite counts its own keys only for this exact type.
_Key = BigInteger().with_variant(Integer(), "sqlite")
_Text = Text().with_variant(Text(collation="C"), "postgresql")  # compared by code points, as SQLite does by itself


def _text(*names: str) -> list[Column[str]]:
    return [Column(name, _Text, nullable=False, server_default="") for name in names]


def _number(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False, server_default="0") for name in names]


task = Table(
    "task",
    metadata,
    Column("id", _Key, primary_key=True),
    *_text("kind", "institution", "queue", "lane", "name", "payload", "state"),
    *_number("attempts", "created_at", "due_at", "leased_until"),
    *_text("problem"),
    *_text("owner"),  # who leased it; '' where there is one owner alone, as on a data folder
    UniqueConstraint("kind", "queue", "name"),
    Index("task_by_queue", "kind", "queue", "state", "id"),
    Index("task_by_lane", "kind", "queue", "lane", "id"),
    Index("task_by_lease", "leased_until"),
    Index("task_by_kind", "kind", "state"),
    Index("task_leased", "kind", "queue", "lane", postgresql_where=text("leased_until > 0")).ddl_if(
        dialect="postgresql"
    ),
    sqlite_autoincrement=True,  # a key is never given again: order of keys is order of adding
)

# What keeps a whole queue from being worked on: a destination that does not answer.
queue = Table(
    "queue",
    metadata,
    Column("kind", _Text, primary_key=True),
    Column("name", _Text, primary_key=True),
    *_number("failures", "due_at"),
    *_text("problem"),
)

# How far whoever follows the commits has come, by writer of segments.
followed = Table(
    "followed",
    metadata,
    Column("follower", _Text, primary_key=True),
    Column("writer", _Text, primary_key=True),
    *_text("segment"),
    *_number("position"),
)

# Of the worklist. `content` is DICOM JSON.
scheduled_step = Table(
    "scheduled_step",
    metadata,
    Column("institution", _Text, primary_key=True),
    Column("id", _Text, primary_key=True),
    *_text("state", "study_uid", "step_id", "patient_id", "day", "time", "content"),
    Column("is_open", Integer, nullable=False),  # whether it is still to be answered: neither completed nor given up
    Column("changed_at", BigInteger, nullable=False),
    Index("scheduled_step_by_day", "institution", "is_open", "day", "time", "id"),
    Index("scheduled_step_by_patient", "institution", "is_open", "patient_id"),
    Index("scheduled_step_by_study", "institution", "study_uid"),
)

performed_step = Table(
    "performed_step",
    metadata,
    Column("institution", _Text, primary_key=True),
    Column("uid", _Text, primary_key=True),
    *_text("status", "content"),
    Column("begun_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

performed_of_study = Table(
    "performed_of_study",
    metadata,
    Column("institution", _Text, primary_key=True),
    Column("study_uid", _Text, primary_key=True),
    Column("uid", _Text, primary_key=True),
)
