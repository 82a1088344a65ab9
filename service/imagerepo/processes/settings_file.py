"""The settings file, looked at again now and then: what cannot be used, or not yet, is logged and changes nothing."""

import logging
from pathlib import Path

from imagerepo.errors import SettingsError
from imagerepo.settings import RELOADED, Settings, load, reloaded

log = logging.getLogger(__name__)


class SettingsFile:
    """One file, as one process uses it."""

    def __init__(self, file: Path | None, settings: Settings) -> None:
        """`settings` is what the server's parent read of it at its start; None: there is no file, nothing changes.

        It may have changed before this process began, above all if it stands in for one that died: the first question
        is answered by reading it.
        """
        self._file = file
        self._settings = settings
        self._seen: tuple[int, int] | None = None
        self._said: Settings | None = None  # by the file alone, when it was last read

    def changed(self) -> Settings | None:
        """The settings with what is read again, if the file has changed since it was last asked."""
        stamp = self._stamp()
        if self._file is None or stamp == self._seen:
            return None
        self._seen = stamp
        try:
            says = load(self._file, {})
        except SettingsError as error:
            log.error("settings.not_reloaded", extra={"reason": str(error)})  # noqa: TRY400 - the reason says all
            return None
        waiting = ", ".join(_changed_for_later(self._said or says, says))
        self._said = says
        try:
            found = reloaded(self._settings, says)
        except SettingsError as error:
            # The file may be right as a whole, and wrong beside what a start alone reads.
            hint = f"; the file also changes {waiting}, which waits for a restart" if waiting else ""
            log.error("settings.not_reloaded", extra={"reason": f"{error}{hint}"})  # noqa: TRY400 - likewise
            return None
        if waiting:
            log.warning("settings.wait_for_restart", extra={"settings": waiting})
        if found == self._settings:
            return None
        self._settings = found
        log.info("settings.reloaded")
        return found

    def _stamp(self) -> tuple[int, int] | None:
        if self._file is None:
            return None
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return (stat.st_mtime_ns, stat.st_size)


def _changed_for_later(before: Settings, now: Settings) -> list[str]:
    """Names of settings that differ, and are read at a start alone."""
    names = (name for name in Settings.model_fields if name not in RELOADED)
    return [name for name in names if getattr(before, name) != getattr(now, name)]
