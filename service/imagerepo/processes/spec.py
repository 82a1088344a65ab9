"""What a worker is told at its start."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel

from imagerepo.processes import assembly
from imagerepo.processes.assembly import Shape
from imagerepo.settings import Settings


class Kind(StrEnum):
    """What a worker serves."""

    HTTP = "http"
    DIMSE = "dimse"


@dataclass(frozen=True, slots=True)
class Name:
    """A worker, which is a writer of the data folder too."""

    kind: Kind
    ordinal: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.ordinal}"


def names(count: int) -> list[Name]:
    """All workers: `count` of each kind."""
    return [Name(kind, ordinal) for kind in Kind for ordinal in range(count)]


TASKS_WRITER = "task-0"
"""The name that the process which does tasks writes the journal by."""


def writers(count: int) -> list[str]:
    """All who write to the data folder, where there are `count` workers of each kind."""
    return [*(str(name) for name in names(count)), TASKS_WRITER]


class Spec(BaseModel):
    """What all workers are told, as a file in the run folder."""

    settings: Settings
    config: Path | None  # the settings file, read again for institutions
    data: Path  # absolute
    start: str
    workers: int  # of each kind

    @property
    def shape(self) -> Shape:
        """Embedded or cluster, made ready."""
        return assembly.found(self.settings, self.data, self.start, writers(self.workers))

    @property
    def sharing(self) -> Path:
        """The file of Sharing."""
        return self.data / "run" / "sharing"

    @property
    def file(self) -> Path:
        """The file of this."""
        return self.data / "run" / "spec.json"
