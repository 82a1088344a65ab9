"""Rebuild the index of a data folder that no server uses."""

from imagerepo.processes.assembly import embedded
from imagerepo.processes.assembly.embedded import FolderLock, Replayed
from imagerepo.settings import Settings


def rebuild(settings: Settings) -> Replayed:
    """Make the index anew; until it is complete the old one stays. Raises SettingsError while a server runs."""
    data = embedded.existing_data(settings)
    with FolderLock(data):
        return embedded.rebuild_index(data)
