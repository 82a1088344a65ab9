"""The journal's verbs."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
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
        last = f"{found.anchored_at:%Y-%m-%d %H:%M:%S} UTC" if found.anchored_at is not None else ""
        until = f", the last one was signed at {last}" if last else ""
        lines.append(f"anchored: all {found.anchored} signed roots were found{until}")
    if found.lost:
        lines.append(
            f"lost: {found.lost} more were signed of entries that the database had no more when it had been set back, "
            "as was acknowledged"
        )
    return "\n".join(lines)


def copy_as_text(found: Verified) -> str:
    """Likewise of the copy."""
    return f"ledger: {found.entries} entries in {found.chains} chains, the same ones"


def as_json(found: Verified, copy: Verified | None) -> str:
    """A verification for programs; `copy` if that was verified too."""
    said: dict[str, object] = {"entries": found.entries, "chains": found.chains, "anchored": found.anchored}
    if found.anchored_at is not None:
        said["anchored_at"] = found.anchored_at.isoformat()
    if found.lost:
        said["lost"] = found.lost
    if copy is not None:
        said["ledger"] = {"entries": copy.entries, "chains": copy.chains}
    return json.dumps(said)


def verify(settings: Settings, *, with_bytes: bool) -> Verified:
    """Verify the journal of a data folder, or of a cluster. Raises DamagedError that names the first broken link."""
    return assembly.journal(settings).verify(with_bytes=with_bytes)


def verify_copy(settings: Settings) -> Verified:
    """Verify the ledger of a cluster. Raises SettingsError: it is none; DamagedError."""
    return assembly.journal(settings).verify_copy()


def acknowledge(settings: Settings, reason: str) -> Sequence[str]:
    """Say which entries of signed roots or ledgers are gone; what they are. Raises SettingsError, DamagedError."""
    return assembly.acknowledge(settings, reason)


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
        self._roots = assembly.signed_roots(settings, data)
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
