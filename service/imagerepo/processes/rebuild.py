"""Rebuild the index of a data folder that no server uses."""

from imagerepo.adapters.segments import folder
from imagerepo.adapters.segments.folder import FolderLock
from imagerepo.adapters.segments.replay import Replayed
from imagerepo.errors import SettingsError
from imagerepo.settings import Settings


def rebuild(settings: Settings) -> Replayed:
    """Drop the index and make it anew. Raises SettingsError while a server runs."""
    data = settings.data.absolute()
    if not (data / "segments").is_dir():
        raise SettingsError(f"data: {data} is no data folder")
    with FolderLock(data):
        folder.drop_index(data)
        _, replayed = folder.make_ready(data, ())
        return replayed
