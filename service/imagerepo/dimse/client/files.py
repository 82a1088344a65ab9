"""Part 10 files to be sent: what they are, and their data sets as they stand.

Source: PS3.10 section 7.1 (File Meta Information).
"""

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imagerepo.dicom.part10 import read_meta
from imagerepo.dimse.client.data import FileData
from imagerepo.errors import BadDicomError
from imagerepo.model.uids import is_uid
from imagerepo.ports.peers import Kind

_DIRECTORY: Final = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage: the DICOMDIR of a medium


@dataclass(frozen=True, slots=True)
class InstanceFile:
    """A file that can be sent."""

    path: Path
    kind: Kind
    instance_uid: str
    data: FileData


@dataclass(frozen=True, slots=True)
class UnusableFile:
    """A file that cannot be sent."""

    path: Path
    reason: str


def scan(paths: Iterable[Path]) -> Iterator[InstanceFile | UnusableFile]:
    """Every file of `paths`, folders with all that is below them, in order of names; DICOMDIRs are passed over."""
    for path in paths:
        if path.is_dir():
            yield from scan(sorted(path.iterdir()))
        else:
            found = _look(path)
            if found is not None:
                yield found


def _look(path: Path) -> InstanceFile | UnusableFile | None:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            meta = read_meta(mapped)
            size = len(mapped)
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        return UnusableFile(path, getattr(error, "strerror", None) or str(error))
    except BadDicomError as error:
        return UnusableFile(path, str(error))
    if meta.sop_class_uid == _DIRECTORY:
        return None
    if not is_uid(meta.sop_class_uid) or not is_uid(meta.sop_instance_uid):
        return UnusableFile(path, "its File Meta Information names no SOP class or instance (0002,0002), (0002,0003)")
    kind = (meta.sop_class_uid, meta.transfer_syntax)
    return InstanceFile(path, kind, meta.sop_instance_uid, FileData(path, meta.data_set_offset, size))
