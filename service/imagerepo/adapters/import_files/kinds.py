"""What a file is, by its first bytes: names say little, and are often missing on media."""

from enum import Enum, auto
from pathlib import PurePath
from typing import Final

from imagerepo.dicom import peek

LOOKED_AT: Final = 64 << 10
"""First bytes that are read of everything."""

_TAR_AT: Final = 257  # bytes
_BY_NAME: Final = frozenset({".dcm", ".dicom", ".dic", ".ima"})
_DOUBLE: Final = "._"  # what macOS puts beside files, with their names


class Kind(Enum):
    """What is done with it."""

    DICOM = auto()
    BARE = auto()  # a data set without File Meta Information
    ZIP = auto()
    TAR = auto()
    GZIP = auto()
    BZIP2 = auto()
    XZ = auto()
    ZSTD = auto()
    UNREAD = auto()  # an archive of a kind that is not read
    OTHER = auto()


COMPRESSED: Final = frozenset({Kind.GZIP, Kind.BZIP2, Kind.XZ, Kind.ZSTD})
ARCHIVES: Final = COMPRESSED | {Kind.ZIP, Kind.TAR}

_MAGIC: Final = (
    (b"PK\x03\x04", Kind.ZIP),
    (b"PK\x05\x06", Kind.ZIP),  # an empty one
    (b"\x1f\x8b\x08", Kind.GZIP),
    (b"BZh", Kind.BZIP2),
    (b"\xfd7zXZ\0", Kind.XZ),
    (b"\x28\xb5\x2f\xfd", Kind.ZSTD),
    (b"7z\xbc\xaf\x27\x1c", Kind.UNREAD),
    (b"Rar!\x1a\x07", Kind.UNREAD),
)


def kind_of(beginning: bytes, name: str) -> Kind:
    """The kind of what begins so."""
    if peek.is_part10(beginning):
        return Kind.DICOM
    for magic, kind in _MAGIC:
        if beginning.startswith(magic):
            return kind
    suffix = PurePath(name).suffix.lower()
    if beginning[_TAR_AT : _TAR_AT + 5] == b"ustar" or (suffix == ".tar" and beginning):
        return Kind.TAR
    if suffix == ".iso":
        return Kind.UNREAD
    return Kind.BARE if peek.is_bare(beginning) else Kind.OTHER


def is_named_dicom(name: str) -> bool:
    """Whether a name promises DICOM."""
    path = PurePath(name)
    return path.suffix.lower() in _BY_NAME and not path.name.startswith(_DOUBLE)
