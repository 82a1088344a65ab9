"""Where a writer works."""

from dataclasses import dataclass, field
from pathlib import Path

from imagerepo.adapters import disk
from imagerepo.adapters.disk import Room
from imagerepo.errors import OutOfSpaceError


@dataclass(frozen=True, slots=True)
class Place:
    """A writer's place on a data folder."""

    data: Path
    writer: str  # names its segments and chains; at most 16 bytes
    number: int  # among the writers, from 0
    start: str  # names this start of the server
    segment_size: int  # bytes
    reserve: int  # bytes of the disk that stay free
    _room: Room = field(default_factory=Room)

    def no_room(self) -> OutOfSpaceError:
        """What a sender is told when there is no room."""
        return disk.no_room(self.data)

    def has_room(self) -> bool:
        """Whether more than the reserve is free; asks the disk at most ten times a second."""
        return self._room.look(self.data, self.reserve)
