"""Whether a disk has room for what comes."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imagerepo.errors import OutOfSpaceError

_ASKED_EVERY: Final = 0.1  # seconds


@dataclass(slots=True)
class Room:
    """What the disk last said."""

    asked: float = -1.0  # monotonic seconds
    enough: bool = True

    def look(self, folder: Path, reserve: int) -> bool:
        """Whether more than `reserve` bytes are free where `folder` is; asks the disk at most ten times a second."""
        now = time.monotonic()
        if now - self.asked > _ASKED_EVERY:
            stat = os.statvfs(folder)
            self.enough = stat.f_bavail * stat.f_frsize > reserve
            self.asked = now
        return self.enough


def no_room(folder: Path) -> OutOfSpaceError:
    """What a sender is told when there is no room."""
    return OutOfSpaceError(f"the disk of {folder} is full (setting storage.reserve); free some space")
