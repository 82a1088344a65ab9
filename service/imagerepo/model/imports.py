"""What an import finds, and what becomes of it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias


class Content(Protocol):
    """Bytes that are too many to be held: read as often as need be."""

    def open(self) -> BinaryIO:
        """From the first byte on; the caller closes it. Raises OSError."""
        ...


@dataclass(frozen=True, slots=True)
class Names:
    """The UIDs by which an instance is known."""

    study: str
    series: str
    instance: str


class Whole:
    """An archive of which instances are under way: it is done when all of them are. For any thread."""

    def __init__(self, key: bytes) -> None:
        self.key = key  # by which it is noted
        self._open = 1  # its reader, and each instance that nothing was said of yet
        self._good = True

    def begin(self) -> None:
        """One more is under way."""
        self._open += 1

    def end(self, *, good: bool) -> bool:
        """One less; whether that was the last, and all of them were good. Called one at a time."""
        self._open -= 1
        self._good = self._good and good
        return self._open == 0 and self._good


@dataclass(frozen=True, slots=True)
class Candidate:
    """A DICOM file to be stored."""

    place: str  # path, or path!member
    key: bytes  # by which it is noted
    names: Names | None  # None: they do not stand at its beginning
    size: int  # bytes
    content: bytes | Content
    weight: int  # bytes of what is imported, by which progress is told
    whole: Whole | None = None  # the archive that it is in

    @property
    def held(self) -> int:
        """Bytes that it takes in memory."""
        return len(self.content) if isinstance(self.content, bytes) else 0


@dataclass(frozen=True, slots=True)
class Unusable:
    """What cannot be imported, though it should."""

    place: str
    reason: str
    weight: int = 0
    whole: Whole | None = None


class Why(StrEnum):
    """Why something is passed over, which is no fault."""

    NOTED = "noted"  # an earlier run has stored it
    NOT_DICOM = "not_dicom"
    DIRECTORY = "directory"  # a DICOMDIR: what it names is imported


@dataclass(frozen=True, slots=True)
class Passed:
    """What is passed over."""

    place: str
    why: Why
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """An archive was read to its end, or as far as it goes."""

    whole: Whole
    weight: int = 0


Thing: TypeAlias = Candidate | Unusable | Passed | Ended


@dataclass(frozen=True, slots=True)
class File:
    """A file below one of the paths."""

    path: Path
    size: int  # bytes
    modified: int  # nanoseconds since 1970
    named: bool = False  # given by name, alone or in a DICOMDIR: something is wrong if it is not DICOM


Unit: TypeAlias = tuple[File | Unusable, ...]
"""What is read by one thread, in order."""


class Fate(StrEnum):
    """What a target did with a candidate."""

    STORED = "stored"
    ALREADY = "already"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one candidate."""

    fate: Fate
    reason: str = ""  # of a refusal
