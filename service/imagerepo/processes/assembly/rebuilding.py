"""What makes the index of a cluster anew."""

from collections.abc import Callable
from contextlib import closing
from typing import Final

from imagerepo.adapters.bundles.rebuild_staging import writable
from imagerepo.adapters.bundles.rebuilding import Means, Rebuilding
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres import schema
from imagerepo.adapters.postgres.database import Database
from imagerepo.flows.access import Access
from imagerepo.model.rebuilt import Rebuilt
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Cluster

_CONNECTIONS: Final = 24


def rebuild(settings: Settings, shared: Cluster, tell: Callable[[Rebuilt], None]) -> Rebuilt:
    """Make it. Raises SettingsError, UnavailableError."""
    access = Access(settings.tenants, settings.ae_title)
    settings.data.mkdir(parents=True, exist_ok=True)
    with (
        closing(Database(writable(shared.database.url), shared.database.password_file, _CONNECTIONS)) as database,
        closing(S3Store(shared.store)) as store,
    ):
        schema.check_tables(database)
        institutions = [one.id for one in settings.tenants]
        return Rebuilding(Means(database, store, settings.data, institutions, access.on_difference, tell)).run()
