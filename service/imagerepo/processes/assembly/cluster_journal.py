"""The journal of a cluster: proved by a command, copied to the ledger and signed by who does tasks."""

from collections.abc import Sequence
from datetime import timedelta

from imagerepo.adapters.bundles import roots, signing
from imagerepo.adapters.bundles.journal import BundleJournal, SignedRoots
from imagerepo.adapters.bundles.ledger_writing import LedgerWriter
from imagerepo.adapters.bundles.signing import RootSigner
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.segments import anchor
from imagerepo.errors import SettingsError
from imagerepo.ports.journal import Journal
from imagerepo.processes.assembly.parts import Tended
from imagerepo.processes.assembly.periodically import Periodically
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Cluster


def journal(settings: Settings, database: Database, store: S3Store) -> Journal:
    """The journal of all replicas. Raises SettingsError: the key of signed roots cannot be read."""
    key = settings.audit.key
    signed = None if key is None else SignedRoots(store.locked(roots.BUCKET), anchor.read_public_key(key))
    return BundleJournal(database, store, signed)


def chores(settings: Settings, shared: Cluster, database: Database, store: S3Store, start: str) -> Sequence[Tended]:
    """What keeps ledger and signed roots up to date. Raises SettingsError: the key cannot be read."""
    ledger = Periodically(shared.ledger.interval, LedgerWriter(database, store, start).write)
    if settings.audit.key is None:
        return [ledger]
    return [ledger, Periodically(shared.roots.interval, signer(settings, shared, database, store, start).sign)]


def signer(settings: Settings, shared: Cluster, database: Database, store: S3Store, name: str) -> RootSigner:
    """Who signs roots, by that name. Raises SettingsError: nobody shall, or the key cannot be read."""
    if settings.audit.key is None:
        raise SettingsError("audit.key: there is none in these settings, so that nothing was signed")
    bucket, retention = store.locked(roots.BUCKET), timedelta(days=shared.roots.retention)
    return RootSigner(database, bucket, anchor.read_key(settings.audit.key), name, retention)


def acknowledge(
    settings: Settings, shared: Cluster, database: Database, store: S3Store, reason: str, name: str
) -> Sequence[str]:
    """Say what the database has no more of ledger and signed roots since it was set back, by that name; what it is.

    Raises:
        SettingsError: nobody signs, and of the ledger nothing is gone; or the key cannot be read.
        DamagedError: a root is missing, or was signed by another key.
        UnavailableError: some of it was not said.
    """
    gone = LedgerWriter(database, store, name).acknowledge()
    if gone and settings.audit.key is None:
        return gone
    return [*gone, *signer(settings, shared, database, store, name).acknowledge(reason)]


def check(settings: Settings, database: Database, store: S3Store) -> None:
    """See that roots can be signed, if they shall be; their bucket is made before the first one.

    Raises:
        SettingsError: they cannot; the sentence names the setting.
        UnavailableError: the database or the store does not answer.
    """
    if settings.audit.anchor is not None:
        raise SettingsError(
            "audit.anchor: replicas put signed roots into a bucket of their own, for which audit.key is enough; "
            "leave it out with `cluster`"
        )
    if settings.audit.key is None:
        return
    anchor.read_key(settings.audit.key)
    with database.reading() as connection:
        known = signing.known(connection)
    if not known.number:  # one that is gone is not made anew
        store.locked(roots.BUCKET).make()
