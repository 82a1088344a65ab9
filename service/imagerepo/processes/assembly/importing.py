"""What an import reads, what it notes, and the data folder that it stores into."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from imagerepo.adapters.import_files.files import Files
from imagerepo.adapters.import_files.notes import SqlNotes
from imagerepo.errors import SettingsError
from imagerepo.flows.access import Access
from imagerepo.flows.importing.into_repository import IntoRepository
from imagerepo.flows.ingest.ingest import Ingest, Limits
from imagerepo.model.caller import Caller
from imagerepo.ports.imports import Target
from imagerepo.processes import assembly
from imagerepo.processes.assembly.embedded import FolderLock
from imagerepo.settings import Settings

__all__ = ["Files", "SqlNotes", "checked_folder", "into_folder"]

_WRITER = "cli-0"


def checked_folder(settings: Settings) -> Path:
    """The data folder, absolute, or the place of one that is to be made. Raises SettingsError for any other."""
    data = settings.data.absolute()
    if settings.cluster is not None:
        raise SettingsError(
            f"data: {data} is scratch of a replica (cluster is set); import by one that runs: --to URL"
        )
    try:
        other = data.exists() and any(data.iterdir()) and not (data / "segments").is_dir()
    except OSError as error:
        raise SettingsError(f"data: cannot use folder {data}: {error.strerror}") from error
    if other:
        raise SettingsError(f"data: {data} is no data folder, and not empty")
    return data


@contextmanager
def into_folder(settings: Settings, data: Path, caller: Caller, stopping: Event) -> Generator[Callable[[], Target]]:
    """Opens targets that store into a data folder on which no server runs.

    Raises:
        SettingsError: one does.
        DamagedError: it is of another format.
    """
    try:
        lock = FolderLock(data)
    except SettingsError as error:
        raise SettingsError(f"{error}; or import by the server that runs: --to URL") from error
    with lock:
        parts = assembly.make_ready(settings, data, [_WRITER]).parts(_WRITER)
        storage = settings.storage
        limits = Limits(storage.file_threshold, storage.buffer_budget, storage.instance_size_limit)
        access = Access(settings.tenants, settings.ae_title)
        ingest = Ingest(parts.commits, limits, access.on_difference)
        try:
            yield lambda: IntoRepository(ingest, caller, stopping)
        finally:
            parts.close()
