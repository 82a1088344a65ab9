"""The settings file, looked at again now and then: what cannot be used is logged and changes nothing."""

import logging
from pathlib import Path

from imagerepo.errors import SettingsError
from imagerepo.settings import Settings, load, reloaded

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

    def changed(self) -> Settings | None:
        """The settings with what is read again, if the file has changed since it was last asked."""
        stamp = self._stamp()
        if self._file is None or stamp == self._seen:
            return None
        self._seen = stamp
        try:
            found = reloaded(self._settings, load(self._file, {}))
        except SettingsError as error:
            log.error("settings.not_reloaded", extra={"reason": str(error)})  # noqa: TRY400 - the reason says all
            return None
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
