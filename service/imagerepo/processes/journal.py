"""The journal's verbs, assembled."""

import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.segments import anchor, replay
from imagerepo.adapters.segments import verify as chains
from imagerepo.errors import DamagedError, SettingsError
from imagerepo.settings import Settings

log = logging.getLogger(__name__)

ANCHOR_EVERY = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Summary:
    """What a verification found: nothing broken."""

    entries: int
    chains: int
    anchored: int | None  # roots that were found in the chains; None without anchor

    def as_text(self) -> str:
        """For people."""
        lines = [f"{self.entries} entries in {self.chains} chains: none changed, none missing between others"]
        if not self.anchored:
            lines.append(
                "unanchored: without signed roots (settings audit.anchor, audit.key) it cannot be proved that no "
                "chain was cut off at its end or written anew"
            )
        else:
            lines.append(f"anchored: all {self.anchored} signed roots were found")
        return "\n".join(lines)

    def as_json(self) -> str:
        """For programs."""
        return json.dumps({"entries": self.entries, "chains": self.chains, "anchored": self.anchored})


def verify(settings: Settings, *, with_bytes: bool) -> Summary:
    """Verify the journal of a data folder. Raises DamagedError that names the first broken link."""
    data = _existing(settings)
    wanted = None
    _both_or_none(settings)
    if settings.audit.anchor is not None and settings.audit.key is not None:
        wanted = frozenset(anchor.read(settings.audit.anchor, anchor.read_public_key(settings.audit.key)))
    report = chains.verify(data, wanted or frozenset(), with_bytes=with_bytes)
    if wanted is not None:
        missing = sorted(wanted - report.roots, key=lambda root: (root[1].sequence, str(root[0])))
        if missing:
            chain, link = missing[0]
            raise DamagedError(
                f"chain {chain}: entry {link.sequence} is not the one that was signed: "
                "the chain was cut off or written anew"
            )
    return Summary(report.entries, len(report.chains), None if wanted is None else len(wanted))


def export(settings: Settings) -> Iterator[str]:
    """Journal lines in order of commit."""
    data = _existing(settings)
    for commit in replay.counted(data):
        for line in commit.journal:
            yield line.decode()


def new_key() -> str:
    """A new key, PEM: its private half, then its public half."""
    return anchor.new_key().decode()


class Anchorer:
    """Puts signed roots into the anchor folder, every minute and at the end. For one thread."""

    def __init__(self, settings: Settings, data: Path) -> None:
        """Read the key.

        Raises:
            SettingsError: half of it is set, the key cannot be read, or the folder cannot be written.
        """
        self._data = data
        self._folder = settings.audit.anchor
        self._last = time.monotonic()
        self._key = None
        _both_or_none(settings)
        if settings.audit.key is not None and self._folder is not None:
            self._key = anchor.read_key(settings.audit.key)
            if not os.access(self._folder, os.W_OK):
                raise SettingsError(f"audit.anchor: {self._folder} is not a folder that can be written")

    def tick(self, *, now: bool = False) -> None:
        """Write if a minute has passed, or `now`; what fails is tried again a minute later."""
        if self._key is None or self._folder is None:
            return
        if not now and time.monotonic() - self._last < ANCHOR_EVERY:
            return
        self._last = time.monotonic()
        try:
            anchor.write(self._folder, self._key, chains.index_heads(self._data))
        except (OSError, sqlite3.Error, DamagedError) as error:
            log.error("journal.not_anchored", extra={"reason": str(error)})  # noqa: TRY400 - the reason says all


def _both_or_none(settings: Settings) -> None:
    if (settings.audit.anchor is None) != (settings.audit.key is None):
        raise SettingsError("audit.anchor and audit.key belong together; set both or none")


def _existing(settings: Settings) -> Path:
    data = settings.data.absolute()
    if not (data / "segments").is_dir():
        raise SettingsError(f"data: {data} is no data folder")
    return data
