"""Change segments as a fault or a forger would: commits taken apart, edited and written back with sound checksums."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.segments import catalog
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.format import Kind, Record
from imagerepo.model import checksum
from imagerepo.model.instance import Range


@dataclass(frozen=True)
class Found:
    """A commit record and the segment it lies in."""

    path: Path
    record: Record

    @property
    def body(self) -> bytes:
        return self.path.read_bytes()[self.record.payload : self.record.end]


def segments(data: Path) -> list[Path]:
    return sorted((data / "segments").glob("*.seg"))


def commits(path: Path) -> list[Found]:
    """Every commit record of a segment."""
    with path.open("rb") as file:
        found = list(segment_format.records(file.fileno(), seal(path), 0, path.stat().st_size))
    return [Found(path, record) for record in found if record.kind is Kind.COMMIT]


def seal(path: Path) -> bytes:
    """The random bytes that every record of a segment bears."""
    return catalog.examine(path).seal


def flip(path: Path, offset: int, mask: int = 0xFF) -> None:
    """Change one byte."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def forge(found: Found, change: Callable[[bytes], bytes], number: int | None = None) -> None:
    """Write another body into a commit, with sound lengths and checksums; what follows moves."""
    whole = found.path.read_bytes()
    body = change(found.body)
    said = found.record.number if number is None else number
    head = segment_format.record_header(Kind.COMMIT, seal(found.path), len(body), said, checksum.crc32(body, 0))
    found.path.write_bytes(whole[: found.record.offset] + head + body + whole[found.record.end :])


def append(path: Path, number: int, body: bytes) -> None:
    """Append a commit, as the kernel may have written one whose flush failed."""
    head = segment_format.record_header(Kind.COMMIT, seal(path), len(body), number, checksum.crc32(body, 0))
    with path.open("ab") as file:
        file.write(head + body)


def append_data(path: Path, file: bytes) -> Range:
    """Append the bytes of a file likewise; where they are."""
    head = segment_format.record_header(Kind.DATA, seal(path), len(file), 0, checksum.crc32(file, 0))
    offset = path.stat().st_size + len(head)
    with path.open("ab") as segment:
        segment.write(head + file)
    return Range("data", f"segments/{path.name}", offset, len(file))
