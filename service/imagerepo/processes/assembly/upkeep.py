"""What workers do for a cluster: a table of who does the tasks of which kind, and which tasks are always there."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from imagerepo.adapters.bundles.compaction import Compactor
from imagerepo.adapters.bundles.generation import Generation
from imagerepo.adapters.bundles.reindexing import StoredDescriptions
from imagerepo.adapters.bundles.scrubbing import StoredCopies
from imagerepo.adapters.bundles.sweeping import ObjectSweeper
from imagerepo.adapters.objects_s3.objects import S3Objects
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres import schema
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.adapters.postgres.tasks import PostgresTasks
from imagerepo.errors import SettingsError
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.upkeep import compaction, reindex, scrub, sweep
from imagerepo.flows.upkeep.compaction import Compacting
from imagerepo.flows.upkeep.steps import Steps
from imagerepo.flows.upkeep.upkeep import Upkeep
from imagerepo.flows.work import Attempts, Handler, Workforce
from imagerepo.model.scope import Scope
from imagerepo.model.task import NewTask, TaskKind
from imagerepo.ports.objects import Objects
from imagerepo.ports.tasks import Tasks
from imagerepo.processes.assembly.cluster import Deletions, check_all, name_of_start, watched
from imagerepo.processes.assembly.parts import Tended
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Cluster


@dataclass(frozen=True, slots=True)
class Means:
    """What upkeep works with."""

    settings: Settings
    shared: Cluster
    database: Database
    store: S3Store
    objects: S3Objects
    tasks: Tasks
    attempts: Attempts


Standing: TypeAlias = Callable[[Settings], Sequence[NewTask]]
"""Tasks that are added whenever they are not there; each time by other settings, if these have changed."""

_COMPACTED_AT_ONCE: Final = 2  # series of an institution, by one worker
_MOST: Final = {TaskKind.COMPACT: 3}
"""Threads of a kind: as many series as are compacted at the same time, and who looks. More would wait with leases."""


def _compacting(means: Means) -> Handler:
    wanted = means.shared.compaction
    compactor = Compactor(means.database, means.store, wanted.object_size, timedelta(seconds=wanted.keep))
    compacting = Compacting(compactor, means.tasks, wanted.quiet_after)
    return Steps(TaskKind.COMPACT, compacting.step, means.tasks, means.attempts, _COMPACTED_AT_ONCE)


def _compactions(settings: Settings) -> Sequence[NewTask]:
    del settings
    return compaction.standing()


def _sweeping(means: Means) -> Handler:
    step = sweep.Sweep(ObjectSweeper(means.database, means.store), means.shared.upkeep)
    return Steps(TaskKind.SWEEP, step, means.tasks, means.attempts)


def _scrubbing(means: Means) -> Handler:
    # Bytes that were fetched ahead are kept for a while: what is compared comes from the store each time.
    def opened() -> Objects:
        return S3Objects(means.store, means.objects.generation)

    step = scrub.Scrub(StoredCopies(means.database), opened, means.tasks, means.shared.upkeep)
    return Steps(TaskKind.SCRUB, step, means.tasks, means.attempts)


def _reindexing(means: Means) -> Handler:
    index = PostgresIndex(means.database)
    step = reindex.Reindex(index, Retrieve(index, means.objects), StoredDescriptions(means.database))
    return Steps(TaskKind.REINDEX, step, means.tasks, means.attempts)


HANDLERS: Final[tuple[Callable[[Means], Handler], ...]] = (_compacting, _sweeping, _scrubbing, _reindexing)
"""Who does what workers do."""

STANDING: Final[tuple[Standing, ...]] = (_compactions, sweep.standing, scrub.standing)
"""What is to be done over and over: its steps end with `Again`, never with None."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A worker's part of a cluster."""

    upkeep: Upkeep
    tended: tuple[Tended, ...]  # every second, each from a thread of its own
    check: Callable[[], None]  # raises UnavailableError where nothing can be done; for /readyz
    close: Callable[[], None]  # nothing may be under way


def opened(settings: Settings) -> Opened:
    """Open what a worker works with, and see that it can be used.

    Raises:
        SettingsError: there is no cluster, the schema is not this program's, credentials are not accepted.
        UnavailableError: the database or the store does not answer.
    """
    shared = _shared(settings)
    with ExitStack() as opening:
        database = _database(shared)
        opening.callback(database.close)
        store = S3Store(shared.store)
        opening.callback(store.close)
        schema.check(database)
        store.check(one.id for one in settings.tenants)
        tasks, generation = PostgresTasks(database, name_of_start()), Generation(database)
        attempts = Attempts(tasks, settings.retry)
        means = Means(settings, shared, database, store, S3Objects(store, generation.now), tasks, attempts)
        workforce = Workforce(tasks, tuple(make(means) for make in HANDLERS), _MOST)
        watches = watched(PostgresIndex(database), store)
        return Opened(
            Upkeep(settings, tasks, workforce, _standing),
            (Deletions(generation), *watches),
            lambda: check_all(watches),
            opening.pop_all().close,
        )


def read_again(settings: Settings, scope: Scope) -> None:
    """Add a task of kind REINDEX. Raises SettingsError, NotFoundError, UnavailableError."""
    with closing(_database(_shared(settings))) as database:
        schema.check(database)
        PostgresIndex(database).versions(scope, 0, 1)
        reindex.add(PostgresTasks(database, "command"), scope)


def _shared(settings: Settings) -> Cluster:
    if settings.cluster is None:
        raise SettingsError(
            "cluster: there is none in these settings; without one `imagerepo serve` does itself what is to be done"
        )
    return settings.cluster


def _database(shared: Cluster) -> Database:
    return Database(shared.database.url, shared.database.password_file, shared.database.connections)


def _standing(settings: Settings) -> Sequence[NewTask]:
    return [task for these in STANDING for task in these(settings)]
