"""The server's certificates while it runs: read again when a file changes, kept as they are when it cannot be used.

Connections that exist go on with what they began with; whoever connects next meets the new certificates.
"""

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

from imagerepo import telemetry
from imagerepo.errors import SettingsError
from imagerepo.settings_tls import Tls
from imagerepo.tls.material import check_period
from imagerepo.tls.server import ServerTls, build

log = logging.getLogger(__name__)

_SOON: Final = 14 * 86_400.0  # seconds before a certificate expires in which each day says so
_DAY: Final = 86_400.0  # seconds

_Stamps: TypeAlias = dict[Path, tuple[int, int, int] | None]


class Keyring:
    """Looked at by one thread; `current` may be read by any."""

    def __init__(self, tls: Tls, client_authorities: Iterable[Path]) -> None:
        """Read the files. What cannot be used leaves TLS unserved until it can, and is logged."""
        self._tls = tls
        self._warned = 0.0
        self._authorities = frozenset(client_authorities)
        self._stamps = self._look_at_files()
        self._current: ServerTls | None = None
        try:
            # An expired one too: the parent refuses to start with it, but one worker that starts anew must not keep
            # to itself what all others still serve.
            self._use(build(tls, self._authorities))
        except SettingsError as error:
            log.error("tls.not_loaded", extra={"reason": str(error)})  # noqa: TRY400 - the reason says all

    @property
    def current(self) -> ServerTls | None:
        """What connections begin with; None: nothing can be used yet."""
        return self._current

    def look(self, client_authorities: Iterable[Path]) -> None:
        """Use what has changed since the last look."""
        authorities = frozenset(client_authorities)
        self._warn()
        stamps = self._look_at_files(authorities)
        if (stamps, authorities) == (self._stamps, self._authorities):
            return
        # Stamps from before the files are read: what changes meanwhile is seen at the next look.
        self._stamps, self._authorities = stamps, authorities
        try:
            fresh = build(self._tls, authorities)
            check_period(fresh.pair, "tls")
        except SettingsError as error:
            log.error("tls.not_reloaded", extra={"reason": str(error)})  # noqa: TRY400 - likewise
        else:
            self._use(fresh)
            log.info("tls.reloaded", extra={"subject": fresh.pair.leaf.subject.rfc4514_string()})

    def _use(self, fresh: ServerTls) -> None:
        self._current = fresh
        telemetry.tls_certificate_expires.set(fresh.pair.not_after)

    def _warn(self) -> None:
        now = time.time()
        if self._current is None or self._current.pair.not_after - now > _SOON or now - self._warned < _DAY:
            return
        self._warned = now
        expires = self._current.pair.leaf.not_valid_after_utc.isoformat()
        log.warning("tls.certificate_expires", extra={"at": expires, "file": str(self._current.pair.certificate)})

    def _look_at_files(self, authorities: frozenset[Path] | None = None) -> _Stamps:
        files = {self._tls.certificate, self._tls.key, *(self._authorities if authorities is None else authorities)}
        return {file: _stamp(file) for file in files if file is not None}


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)
