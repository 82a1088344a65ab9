"""Where a writer works."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from imagerepo.errors import OutOfSpaceError

_ASKED_EVERY = 0.1  # seconds


@dataclass(slots=True)
class _Room:
    """What the disk last said."""

    asked: float = -1.0  # monotonic seconds
    enough: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """A writer's place on a data folder."""

    data: Path
    writer: str  # names its segments and chains; at most 16 bytes
    number: int  # among the writers, from 0
    start: str  # names this start of the server
    segment_size: int  # bytes
    reserve: int  # bytes of the disk that stay free
    _room: _Room = field(default_factory=_Room)

    def no_room(self) -> OutOfSpaceError:
        """What a sender is told when there is no room."""
        return OutOfSpaceError(f"the disk of {self.data} is full (setting storage.reserve); free some space")

    def has_room(self) -> bool:
        """Whether more than the reserve is free; asks the disk at most ten times a second."""
        now = time.monotonic()
        if now - self._room.asked > _ASKED_EVERY:
            stat = os.statvfs(self.data)
            self._room.enough = stat.f_bavail * stat.f_frsize > self.reserve
            self._room.asked = now
        return self._room.enough
