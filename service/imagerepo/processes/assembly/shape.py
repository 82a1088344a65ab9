"""The two shapes of the program, as the processes of one server see theirs."""

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from imagerepo.processes.assembly.parts import Parts


class Attendance(StrEnum):
    """Processes without a port that a shape wants; of each its module: NAME_worker."""

    READYING = "readying"
    TASKS = "task"


class Shape(Protocol):
    """Embedded or cluster: made ready by the parent, found again by every process from the spec."""

    @property
    def start(self) -> str:
        """Names this start of the server."""
        ...

    @property
    def metrics(self) -> Path:
        """prometheus-client's multiprocess folder."""
        ...

    @property
    def attendance(self) -> tuple[Attendance, ...]:
        """What runs beside the workers."""
        ...

    def parts(self, writer: str) -> Parts:
        """Open what the process of one of the writers works with. Raises SettingsError, UnavailableError."""
        ...

    def recover(self, writer: str) -> None:
        """In the parent: after one writer's process died, finish what was durable of it. Raises UnavailableError."""
        ...

    def upkeep(self) -> None:
        """In the parent, several times a second: what no worker does. What fails is logged, and tried again."""
        ...
