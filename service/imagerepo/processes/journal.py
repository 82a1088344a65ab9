"""The journal's verbs."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from imagerepo.errors import DamagedError
from imagerepo.ports.journal import Verified
from imagerepo.processes import assembly
from imagerepo.processes.assembly import embedded
from imagerepo.settings import Settings

log = logging.getLogger(__name__)

ANCHOR_EVERY = 60.0  # seconds


def as_text(found: Verified) -> str:
    """A verification for people."""
    lines = [f"{found.entries} entries in {found.chains} chains: none changed, none missing between others"]
    if not found.anchored:
        lines.append(
            "unanchored: without signed roots (settings audit.anchor, audit.key) it cannot be proved that no "
            "chain was cut off at its end or written anew"
        )
    else:
        lines.append(f"anchored: all {found.anchored} signed roots were found")
    return "\n".join(lines)


def as_json(found: Verified) -> str:
    """A verification for programs."""
    return json.dumps({"entries": found.entries, "chains": found.chains, "anchored": found.anchored})


def verify(settings: Settings, *, with_bytes: bool) -> Verified:
    """Verify the journal of a data folder, or of a cluster. Raises DamagedError that names the first broken link."""
    return assembly.journal(settings).verify(with_bytes=with_bytes)


def export(settings: Settings) -> Iterator[str]:
    """Journal lines in order of commit."""
    yield from assembly.journal(settings).entries()


def new_anchor_key() -> str:
    """A new key for setting audit.key, PEM: its private half, then its public half."""
    return embedded.new_anchor_key()


class Anchorer:
    """Puts signed roots into the anchor folder, every minute and at the end. For one thread."""

    def __init__(self, settings: Settings, data: Path) -> None:
        """Read the key.

        Raises:
            SettingsError: half of it is set, the key cannot be read, or the folder cannot be written.
        """
        self._roots = embedded.signed_roots(settings, data)
        self._last = time.monotonic()

    def tick(self, *, now: bool = False) -> None:
        """Write if a minute has passed, or `now`; what fails is tried again a minute later."""
        if self._roots is None or (not now and time.monotonic() - self._last < ANCHOR_EVERY):
            return
        self._last = time.monotonic()
        try:
            self._roots.sign()
        except (OSError, DamagedError) as error:
            log.error("journal.not_anchored", extra={"reason": str(error)})  # noqa: TRY400 - the reason says all
