"""What keeps objects in order."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# As bundles/sweeping.py has it.
_IDENTITY = (
    "(SELECT concat_ws('/', c.system_identifier, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), d.oid, "
    "pg_relation_filenode('object'), (SELECT coalesce(sum(epoch - 1), 0) FROM ledger)) "
    "FROM pg_control_system() c, pg_database d WHERE d.datname = current_database())"
)


def upgrade() -> None:
    """Make it."""
    if op.get_bind().dialect.name == "sqlite":
        return
    _arriving()
    _incarnation()
    # Whether all that it had lies elsewhere by now: those who looked that up before find it there.
    op.execute("ALTER TABLE object ADD COLUMN copied boolean NOT NULL DEFAULT false")


def _arriving() -> None:
    # Series to which something happened that compaction has not looked at yet; at: when, in microseconds since 1970.
    # What was stored before is not in it: workers look at all series once (flows/upkeep/compaction.py).
    # No index by time: the row of a series that grows is changed in place, and those that wait are few.
    op.execute(
        "CREATE TABLE arriving (series_id bigint PRIMARY KEY, institution_id bigint NOT NULL, "
        "study_id bigint NOT NULL, at bigint NOT NULL) WITH (fillfactor = 50)"
    )


def _incarnation() -> None:
    # Which database this is, and since when, in microseconds since 1970, UTC: of what was stored before that, rows
    # may be missing. One row.
    op.execute('CREATE TABLE incarnation (identity text COLLATE "C" NOT NULL, since bigint NOT NULL)')
    op.execute(
        f"INSERT INTO incarnation SELECT {_IDENTITY}, floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    )
