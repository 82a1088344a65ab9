"""Move an embedded repository to a cluster: bytes, versions, holds and journal."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

from imagerepo.errors import ImagerepoError
from imagerepo.flows.importing.tally import Counts, Refusal, Tally
from imagerepo.model.moving import Moved
from imagerepo.processes.assembly import moving
from imagerepo.processes.assembly.moving import Effort
from imagerepo.processes.importing import Found, stopped_by_signals
from imagerepo.settings import Settings

__all__ = ["Effort", "Ended", "run"]

_LOOK: Final = 0.2  # seconds between looks how far it is


@dataclass(frozen=True, slots=True)
class Ended:
    """How a move ended."""

    tally: Tally
    entries: int  # lines of the journal that were carried over
    tasks: int  # that stay in the folder, undone
    error: ImagerepoError | None  # why it could not go on
    stopped: bool  # by a signal


class _Counting:
    """What was moved so far. For any thread."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._lock = Lock()
        self.entries = 0

    def take(self, moved: Moved) -> None:
        """Count more."""
        with self._lock:
            self.entries += moved.lines
        for one in moved.stuck:
            self._tally.refuse(Refusal(f"version {one.version} of instance {one.instance}", one.reason), one.size)
        weight = moved.stored_size + moved.already_size + moved.earlier_size
        self._tally.add(
            Counts(
                stored=moved.stored,
                already=moved.already,
                stored_bytes=moved.stored_size,
                weight=weight,
                noted_weight=moved.earlier_size,
            )
        )


def run(
    settings: Settings,
    folder: Path,
    effort: Effort,
    show: Callable[[Tally, Found], None],
    on_refusal: Callable[[Refusal], None],
) -> Ended:
    """Move; `show` is called several times a second, from this thread.

    Raises:
        SettingsError, DamagedError, UnavailableError: it could not begin; nothing has changed.
    """
    stopping, signalled = Event(), Event()
    tally = Tally(on_refusal)
    counting = _Counting(tally)
    failed: list[BaseException] = []
    with (
        moving.opened(settings, folder, effort, counting.take, stopping) as opened,
        stopped_by_signals(stopping, signalled),
    ):
        found = Found(size=opened.size, complete=True)

        def work() -> None:
            try:
                opened.run()
            except BaseException as error:  # noqa: BLE001 - told or raised again below, whatever it is
                failed.append(error)

        thread = Thread(target=work, name="moving")
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK)
            show(tally, found)
    error = failed[0] if failed else None
    if error is not None and not isinstance(error, ImagerepoError):
        raise error
    return Ended(tally, counting.entries, opened.tasks, error, signalled.is_set())
