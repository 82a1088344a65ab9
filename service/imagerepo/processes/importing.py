"""One import: into a DICOMweb server, or into a data folder that no server uses."""

import hashlib
import signal
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Protocol

from imagerepo.dicomweb.store_requests import Requests, Server
from imagerepo.dicomweb.storing import Patience, Storing
from imagerepo.errors import ImagerepoError, SettingsError
from imagerepo.flows.importing.importing import Import
from imagerepo.flows.importing.tally import Refusal, Tally
from imagerepo.ports.imports import Notes, Target
from imagerepo.processes import deletion
from imagerepo.processes.assembly.importing import Files, SqlNotes, checked_folder, into_folder
from imagerepo.settings import Settings

_STATE = Path(".local/state/imagerepo/imports")  # below the home folder


class Destination(Protocol):
    """Where an import goes."""

    @property
    def name(self) -> str:
        """By which its journal knows it."""
        ...

    @property
    def journal(self) -> Path:
        """Where its journal is, unless somebody says otherwise. Raises SettingsError."""
        ...

    @property
    def left_out(self) -> Sequence[Path]:
        """What is not to be imported: its own files."""
        ...

    def check(self, notes: Notes, journal: Path) -> None:
        """Raise SettingsError where what is noted is not there any more."""
        ...

    def opened(self, stopping: Event) -> AbstractContextManager[Callable[[], Target]]:
        """Make it ready; gives what opens targets."""
        ...


@dataclass(frozen=True, slots=True)
class ToServer:
    """A DICOMweb server."""

    server: Server
    patience: float  # seconds

    @property
    def name(self) -> str:
        """Its URL."""
        return self.server.root

    @property
    def journal(self) -> Path:
        """In the home folder, by URL."""
        try:
            home = Path.home()
        except RuntimeError as error:
            raise SettingsError("there is no home folder for the journal; say where it is to be: --journal") from error
        return home / _STATE / f"{hashlib.sha256(self.name.encode()).hexdigest()[:16]}.sqlite"

    @property
    def left_out(self) -> Sequence[Path]:
        """Nothing."""
        return ()

    def check(self, notes: Notes, journal: Path) -> None:
        """See Destination: a server may have been emptied, or be another one by now."""
        if notes.study and Requests(self.server).lacks(notes.study):
            raise SettingsError(
                f"study {notes.study} was stored there, says {journal}, but {self.name} has it no more; "
                "--again sends everything, another --journal too"
            )

    @contextmanager
    def opened(self, stopping: Event) -> Generator[Callable[[], Target]]:
        """See Destination."""
        patience = Patience(self.patience, stopping)
        yield lambda: Storing(self.server, patience)


@dataclass(frozen=True, slots=True)
class ToFolder:
    """A data folder."""

    settings: Settings
    institution: str | None

    @property
    def name(self) -> str:
        """Without the folder's path: its journal goes where it goes."""
        return f"institution {deletion.caller(self.settings, self.institution).institution}"

    @property
    def journal(self) -> Path:
        """In the folder, so that a restored or a new one has no other's."""
        name = deletion.caller(self.settings, self.institution).institution
        return checked_folder(self.settings) / "imports" / f"{name}.sqlite"

    @property
    def left_out(self) -> Sequence[Path]:
        """The folder itself."""
        return (self.settings.data,)

    def check(self, notes: Notes, journal: Path) -> None:
        """See Destination: the journal goes with the folder."""

    @contextmanager
    def opened(self, stopping: Event) -> Generator[Callable[[], Target]]:
        """See Destination."""
        caller = deletion.caller(self.settings, self.institution)
        with into_folder(self.settings, checked_folder(self.settings), caller, stopping) as opening:
            yield opening


@dataclass(slots=True)
class Found:
    """How much there is, counted while it is imported."""

    files: int = 0
    size: int = 0  # bytes
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be imported, and how."""

    paths: Sequence[Path]
    jobs: int
    journal: Path | None  # None: the destination's
    heed_notes: bool  # whether what earlier runs have stored is passed over


@dataclass(frozen=True, slots=True)
class Ended:
    """How an import ended."""

    tally: Tally
    journal: Path
    error: ImagerepoError | None  # why it could not go on
    stopped: bool  # by a signal


def run(
    order: Order,
    destination: Destination,
    show: Callable[[Tally, Found], None],
    on_refusal: Callable[[Refusal], None],
) -> Ended:
    """Import; `show` is called several times a second, from this thread.

    Raises:
        SettingsError: it could not begin.
    """
    stopping, signalled = Event(), Event()
    tally, found = Tally(on_refusal), Found()
    journal = order.journal or destination.journal
    error: ImagerepoError | None = None
    with (
        destination.opened(stopping) as opening,
        SqlNotes(journal, destination.name) as notes,
        stopped_by_signals(stopping, signalled),
    ):
        if order.heed_notes:
            destination.check(notes, journal)
        known = notes.known if order.heed_notes else _nothing
        source = Files(order.paths, known, destination.left_out)
        Thread(target=_count, args=(source, found, stopping), daemon=True).start()
        try:
            Import(source, notes, opening, tally, stopping).run(order.jobs, lambda: show(tally, found))
        except ImagerepoError as ended:
            error = ended
        stopping.set()
    return Ended(tally, journal, error, signalled.is_set())


def _nothing(keys: Collection[bytes]) -> set[bytes]:
    del keys
    return set()


def _count(source: Files, found: Found, stopping: Event) -> None:
    for size in source.sizes():
        if stopping.is_set():
            return
        found.files += 1
        found.size += size
    found.complete = True


@contextmanager
def stopped_by_signals(stopping: Event, signalled: Event) -> Generator[None]:
    """Have the first SIGINT or SIGTERM end it in order, the second at once."""

    def stop(number: int, _frame: object) -> None:
        signalled.set()
        stopping.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
