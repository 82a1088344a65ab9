"""An embedded repository that is moved to a cluster: its folder on one side, database and store on the other."""

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from imagerepo.adapters.bundles.carrying import Carrying
from imagerepo.adapters.bundles.moving import Means, Moving
from imagerepo.adapters.bundles.spool import Scratch
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres import schema
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.segments.leaving import Leaving
from imagerepo.errors import SettingsError
from imagerepo.model.moving import Moved
from imagerepo.processes.assembly import embedded
from imagerepo.processes.assembly.embedded import FolderLock
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Cluster

_SEGMENTS = "segments"


@dataclass(frozen=True, slots=True)
class Effort:
    """How it is moved."""

    jobs: int  # objects on their way at the same time
    patience: float  # seconds to wait for a cluster that stores nothing


@dataclass(frozen=True, slots=True)
class Opened:
    """Ready to be moved."""

    size: int  # bytes of all versions in the folder
    tasks: int  # that were not done there
    run: Callable[[], None]  # moves; see adapters.bundles.moving.Moving.run


@contextmanager
def opened(
    settings: Settings, folder: Path, effort: Effort, tell: Callable[[Moved], None], stopping: Event
) -> Generator[Opened]:
    """Look before anything is moved.

    Raises:
        SettingsError: a server runs on the folder, it is none, or its institutions are not those of the cluster.
        DamagedError: its journal is not whole.
        UnavailableError: database or store do not answer.
    """
    if settings.cluster is None:
        raise SettingsError("cluster: --from-data moves to a cluster; name the file with its settings: --config FILE")
    shared = settings.cluster
    folder, scratch = folder.absolute(), Scratch(settings.data.absolute(), settings.storage.reserve)
    if not (folder / _SEGMENTS).is_dir():
        raise SettingsError(f"--from-data: {folder} is no data folder")
    if (scratch.path / _SEGMENTS).exists():
        raise SettingsError(f"data: {scratch.path} has an embedded repository in it; name an empty folder for scratch")
    with _locked(folder), Leaving(folder) as leaving, closing(_database(shared)) as database:
        schema.check(database)
        _check_institutions(settings, leaving.institutions())
        with closing(S3Store(shared.store)) as store:
            store.check(one.id for one in settings.tenants)
            carrying = Carrying(database, store.read, leaving.name())
            threshold = settings.storage.file_threshold
            means = Means(store, carrying, scratch, threshold, effort.jobs, effort.patience)
            moving = Moving(leaving, means, tell, stopping)
            yield Opened(leaving.size(), sum(embedded.tasks_of(folder).pending().values()), moving.run)


def _locked(folder: Path) -> FolderLock:
    try:
        return FolderLock(folder)
    except SettingsError as error:
        raise SettingsError(f"--from-data: {str(error).removeprefix('data: ')}") from error


def _check_institutions(settings: Settings, there: tuple[str, ...]) -> None:
    missing = sorted(set(there) - {one.id for one in settings.tenants})
    if missing:
        raise SettingsError(
            f"institutions: the data folder has {', '.join(missing)}, which these settings do not know; "
            "add them as they were"
        )


def _database(shared: Cluster) -> Database:
    wanted = shared.database
    return Database(wanted.url, wanted.password_file, wanted.connections)
