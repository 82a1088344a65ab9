"""The shape of a cluster: a replica, which shares PostgreSQL and S3 with others and keeps nothing of its own for long.

Its data folder is scratch: what a start finds there of an earlier one is removed, but for the DICOM JSON.
"""

import secrets
import shutil
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from imagerepo.adapters.bundles import spool
from imagerepo.adapters.bundles.change_feed import BundleChangeFeed
from imagerepo.adapters.bundles.commits import BundleCommits
from imagerepo.adapters.bundles.feed import BundleFeed
from imagerepo.adapters.bundles.generation import Generation
from imagerepo.adapters.bundles.reclaim import Reclaimer
from imagerepo.adapters.index_sql import metadata_cache
from imagerepo.adapters.index_sql.metadata_cache import Room, SqlMetadataCache
from imagerepo.adapters.objects_s3.objects import S3Objects
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres import schema, settled
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.holds import PostgresHolds
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.adapters.postgres.tasks import PostgresTasks
from imagerepo.adapters.postgres.worklist import PostgresWorklist
from imagerepo.adapters.segments.intervals import SharedIntervals
from imagerepo.errors import SettingsError, UnavailableError
from imagerepo.flows import forwarding, webhooks
from imagerepo.flows.rules import Rules
from imagerepo.ports.journal import Journal
from imagerepo.ports.tasks import Tasks
from imagerepo.processes.assembly import cluster_journal
from imagerepo.processes.assembly.parts import Parts, Reads
from imagerepo.processes.assembly.shape import Attendance
from imagerepo.processes.assembly.watch import Watch
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Cluster as Shared

_RUN: Final = "run"
_SEGMENTS: Final = "segments"  # where an embedded repository has its bytes
_LONGEST_HOST: Final = 63  # characters
_FORGETTING: Final = 60.0  # seconds between looks for tokens of old transactions


@dataclass(frozen=True, slots=True)
class Scratch:
    """A replica's folder."""

    data: Path

    @property
    def intervals(self) -> Path:
        """Audit intervals that the processes share."""
        return self.data / _RUN / "intervals"

    @property
    def metrics(self) -> Path:
        """prometheus-client's multiprocess folder."""
        return self.data / _RUN / "metrics"


@dataclass(frozen=True, slots=True)
class _Reclaiming:
    """Bytes of what was deleted, given back; any replica does it for all."""

    reclaimer: Reclaimer
    delay: timedelta

    def tend(self) -> None:
        """Give back all that is due. Raises UnavailableError."""
        while self.reclaimer.work(self.delay):
            pass


@dataclass(slots=True)
class _Settlements:
    """Tokens of transactions that nobody asks after any more, forgotten; any replica does it for all."""

    database: Database
    due: float = 0.0  # monotonic seconds

    def tend(self) -> None:
        """Forget what is due. Raises UnavailableError."""
        if time.monotonic() < self.due:
            return
        while settled.forget(self.database):
            pass
        self.due = time.monotonic() + _FORGETTING


@dataclass(frozen=True, slots=True)
class Deletions:
    """What other replicas delete, noticed by this process."""

    generation: Generation

    def tend(self) -> None:
        """Look. Raises UnavailableError."""
        self.generation.look()


class Cluster:
    """One start of one replica (shape.Shape)."""

    attendance = (Attendance.TASKS,)

    def __init__(self, settings: Settings, shared: Shared, scratch: Scratch, start: str) -> None:
        self._settings = settings
        self._shared = shared
        self._scratch = scratch
        self._start = start

    @property
    def start(self) -> str:
        """Names this start among those of all replicas."""
        return self._start

    @property
    def metrics(self) -> Path:
        """prometheus-client's multiprocess folder."""
        return self._scratch.metrics

    def parts(self, writer: str) -> Parts:
        """Open what one of the replica's writers works with."""
        data, reserve = self._scratch.data, self._settings.storage.reserve
        opened = ExitStack()
        database = _database(self._shared)
        opened.callback(database.close)
        store = S3Store(self._shared.store)
        opened.callback(store.close)
        commits = BundleCommits(database, store, spool.Scratch(data, reserve), f"{self._start}/{writer}")
        opened.callback(commits.close)
        index, generation = PostgresIndex(database), Generation(database)
        watches = watched(index, store)
        return Parts(
            reads=Reads(
                index, S3Objects(store, generation.now), SqlMetadataCache(data, Room.on_disk_of(data, reserve))
            ),
            commits=commits,
            holds=PostgresHolds(database),
            intervals=SharedIntervals(self._scratch.intervals),
            tasks=PostgresTasks(database, self._start),
            worklist=PostgresWorklist(database),
            feed=lambda: BundleFeed(database),
            changes=BundleChangeFeed(database),
            check=lambda: check_all(watches),
            tended=(commits, Deletions(generation), *watches),
            chores=(
                _Reclaiming(Reclaimer(database, store), timedelta(seconds=self._settings.deletion.reclaim_delay)),
                _Settlements(database),
                *cluster_journal.chores(self._settings, self._shared, database, store, self._start),
            ),
            close=opened.close,
        )

    def recover(self, writer: str) -> None:
        """Nothing: what a dead writer has had acknowledged is in the database, what it had not is nowhere."""

    def upkeep(self) -> None:
        """Nothing: the process that does tasks looks after what all replicas share."""


def make_ready(settings: Settings, shared: Shared, data: Path) -> Cluster:
    """See that all that is shared can be used, and make the scratch folder; its lock is held.

    Raises:
        SettingsError: the schema is not this program's, credentials are not accepted, the folder is somebody's data.
        UnavailableError: the database or the store does not answer.
    """
    if (data / _SEGMENTS).exists():
        raise SettingsError(
            f"data: {data} has an embedded repository in it, which cluster settings would leave aside; "
            "give this replica an empty folder"
        )
    _see_what_is_shared(settings, shared)
    scratch = Scratch(data)
    shutil.rmtree(data / _RUN, ignore_errors=True)
    scratch.metrics.mkdir(parents=True)
    SharedIntervals.create(scratch.intervals)
    metadata_cache.remove_if_damaged(data)
    return Cluster(settings, shared, scratch, name_of_start())


def name_of_start() -> str:
    """A name that no other start of a process tree has."""
    return f"{socket.gethostname()[:_LONGEST_HOST]}/{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def found(settings: Settings, shared: Shared, data: Path, start: str) -> Cluster:
    """What the parent made ready at that start."""
    return Cluster(settings, shared, Scratch(data), start)


def tasks_of(shared: Shared) -> Tasks:
    """The tasks of all replicas, for a command. Raises SettingsError, UnavailableError."""
    database = _database(shared)
    schema.check(database)
    return PostgresTasks(database, "command")


def journal(settings: Settings, shared: Shared) -> Journal:
    """The journal of all replicas, for a command. Raises SettingsError, UnavailableError."""
    database = _database(shared)
    schema.check(database)
    return cluster_journal.journal(settings, database, S3Store(shared.store))


def acknowledge(settings: Settings, shared: Shared, reason: str) -> Sequence[str]:
    """Say that the journal lacks what ledger and signed roots have. Raises SettingsError, UnavailableError."""
    with closing(_database(shared)) as database, closing(S3Store(shared.store)) as store:
        schema.check(database)
        return cluster_journal.acknowledge(settings, shared, database, store, reason, name_of_start())


def _see_what_is_shared(settings: Settings, shared: Shared) -> None:
    with closing(_database(shared)) as database, closing(S3Store(shared.store)) as store:
        schema.check(database)
        store.check(one.id for one in settings.tenants)
        cluster_journal.check(settings, database, store)
        tasks = PostgresTasks(database, "start")
        forwarding.begin(tasks, BundleFeed(database), Rules(settings.forwarding.rules))
        webhooks.begin(tasks, BundleChangeFeed(database), webhooks.Hooks(settings.tenants))


def _database(shared: Shared) -> Database:
    wanted = shared.database
    return Database(wanted.url, wanted.password_file, wanted.connections)


def watched(index: PostgresIndex, store: S3Store) -> tuple[Watch, ...]:
    """Looks at what nothing can be done without."""
    return Watch("database", index.check), Watch("store", lambda: _ask(store))


def check_all(watches: tuple[Watch, ...]) -> None:
    """Raise UnavailableError where one of them found that it does not answer."""
    for watch in watches:
        watch.check()


def _ask(store: S3Store) -> None:
    complaint = store.complaint()
    if complaint:
        raise UnavailableError(complaint)
