"""Rebuild the index of a data folder that no server uses."""

from imagerepo.processes import assembly
from imagerepo.processes.assembly import FolderLock, Replayed
from imagerepo.settings import Settings


def rebuild(settings: Settings) -> Replayed:
    """Make the index anew; until it is complete the old one stays. Raises SettingsError while a server runs."""
    data = assembly.existing_data(settings)
    with FolderLock(data):
        return assembly.rebuild_index(data)
