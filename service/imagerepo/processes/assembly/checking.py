"""What holds index and stored bytes against each other, of either shape."""
# ruff: noqa: PLC0415 - a command loads one shape's adapters: those of the other cost memory and time

from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import timedelta

from imagerepo.model.findings import Treatment
from imagerepo.ports.checking import Checking
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Cluster


@contextmanager
def checking(settings: Settings, treatment: Treatment) -> Generator[Checking]:
    """An examination. Raises SettingsError, UnavailableError."""
    if settings.cluster is not None:
        with _of_cluster(settings.cluster, treatment) as made:
            yield made
        return
    from imagerepo.adapters.segments.checking import SegmentCheck
    from imagerepo.processes.assembly import embedded

    data = embedded.existing_data(settings)
    with embedded.FolderLock(data):
        yield SegmentCheck(data, treatment)


@contextmanager
def _of_cluster(shared: Cluster, treatment: Treatment) -> Generator[Checking]:
    from imagerepo.adapters.bundles.checking import BundleCheck
    from imagerepo.adapters.objects_s3.store import S3Store
    from imagerepo.adapters.postgres import schema
    from imagerepo.adapters.postgres.database import Database

    wanted = shared.database
    with (
        closing(Database(wanted.url, wanted.password_file, wanted.connections)) as database,
        closing(S3Store(shared.store)) as store,
    ):
        schema.check(database)
        yield BundleCheck(database, store, treatment, timedelta(seconds=shared.upkeep.sweep_grace))
