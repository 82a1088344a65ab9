"""Rebuild the index: of a data folder that no server uses, or of a cluster whose database was lost."""
# ruff: noqa: PLC0415 - a command loads one shape's adapters: those of the other cost memory and time

from collections.abc import Callable

from imagerepo.model.rebuilt import Rebuilt
from imagerepo.processes.assembly import embedded
from imagerepo.processes.assembly.embedded import FolderLock, Replayed
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Cluster


def rebuild(settings: Settings) -> Replayed:
    """Make the index anew; until it is complete the old one stays. Raises SettingsError while a server runs."""
    data = embedded.existing_data(settings)
    with FolderLock(data):
        return embedded.rebuild_index(data)


def rebuild_cluster(settings: Settings, shared: Cluster, tell: Callable[[Rebuilt], None]) -> Rebuilt:
    """Fill the empty database of a cluster; it goes on where one that was ended had come to.

    Args:
        settings: the replicas'.
        shared: what they share.
        tell: is told now and then how far it is.

    Raises:
        SettingsError: the database is not empty, has another schema, or is in use; nothing was changed.
        UnavailableError: database or store do not answer; to be run again.
    """
    from imagerepo.processes.assembly import rebuilding

    return rebuilding.rebuild(settings, shared, tell)


def as_text(rebuilt: Rebuilt) -> str:
    """How far it is, or what came of it, for people."""
    return (
        f"{rebuilt.institutions} institutions, {rebuilt.commits} commits of the journal, {rebuilt.objects} objects; "
        f"{rebuilt.studies} of {rebuilt.studies_in_all} studies, {rebuilt.instances} versions, "
        f"{rebuilt.recovered} more that only objects tell of"
    )
