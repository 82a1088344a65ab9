"""The bytes of an object (docs/format.md): a segment's header, each instance's data record, then what they are.

All instances of an object are of one series, and came in one commit. What they are is a commit record of number 0,
since the object is written before there is a commit: its lines say what a `store` line says, but for commit, chain and
final version, which the journal has.
"""

import mmap
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.format import RECORD_HEADER, SEGMENT_HEADER, Kind
from imagerepo.model import checksum
from imagerepo.model.arrival import Buffer
from imagerepo.model.events import StoreRequest
from imagerepo.model.instance import Range

ALIGNED: Final = mmap.ALLOCATIONGRANULARITY
"""Offset of the bytes of an instance that has an object of its own: a file of it can be mapped from there on."""
FOOTER: Final = struct.Struct("<8sQ")  # magic, offset of the record that says what the instances are
MAGIC: Final = b"IRbundle"

_NAME: Final = "bundle"  # for the header's writer


@dataclass(frozen=True, slots=True)
class Entry:
    """An instance that goes into an object."""

    request: StoreRequest
    version: int  # what it will be unless somebody else is faster
    buffers: Sequence[Buffer]  # its bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of an instance, and what the object says of them."""

    size: int  # bytes
    crc32: int
    buffers: Sequence[Buffer]
    line: Callable[[Range], bytes]  # of them at that place


@dataclass(frozen=True, slots=True)
class Bundle:
    """An object's content."""

    parts: Sequence[Buffer]  # in order
    size: int  # bytes
    ranges: Sequence[Range]  # of its instances, in order


def bundle(store: str, key: str, entries: Sequence[Entry]) -> Bundle:
    """The object that holds some instances of one series, which will lie at `key` of `store`."""
    pieces = [Piece(one.request.payload.size, one.request.crc32, one.buffers, partial(_line, one)) for one in entries]
    return laid_out(_NAME, store, key, pieces)


def laid_out(name: str, store: str, key: str, pieces: Sequence[Piece]) -> Bundle:
    """An object that holds these, in order; `name`: what its header says of who made it."""
    seal = segment_format.new_seal()
    parts: list[Buffer] = [segment_format.segment_header(name, 0, seal)]
    ranges: list[Range] = []
    end = SEGMENT_HEADER
    for piece in pieces:
        parts.append(segment_format.record_header(Kind.DATA, seal, piece.size, 0, piece.crc32))
        parts += piece.buffers
        ranges.append(Range(store, key, end + RECORD_HEADER, piece.size))
        end += RECORD_HEADER + piece.size
    said = [piece.line(where) for piece, where in zip(pieces, ranges, strict=True)]
    tail = _tail(name, seal, end, said)
    return Bundle([*parts, tail], end + len(tail), ranges)


def head_of_one(seal: bytes, size: int, crc32: int) -> bytes:
    """What precedes the bytes of an instance that has an object of its own; ALIGNED bytes."""
    filling = bytes(ALIGNED - SEGMENT_HEADER - 2 * RECORD_HEADER)
    return b"".join((
        segment_format.segment_header(_NAME, 0, seal),
        # Data that no line names: readers pass over it.
        segment_format.record_header(Kind.DATA, seal, len(filling), 0, checksum.crc32(filling, 0)),
        filling,
        segment_format.record_header(Kind.DATA, seal, size, 0, crc32),
    ))  # fmt: skip


def tail_of_one(seal: bytes, entry: Entry, where: Range) -> bytes:
    """What follows them."""
    return _tail(_NAME, seal, where.offset + where.length, [_line(entry, where)])


def _line(entry: Entry, where: Range) -> bytes:
    return lines.store_line(entry.request, entry.version, (where,), 0, lines.START)


def _tail(name: str, seal: bytes, end: int, said: Sequence[bytes]) -> bytes:
    body = lines.commit_body(0, name, (), said)
    header = segment_format.record_header(Kind.COMMIT, seal, len(body), 0, checksum.crc32(body, 0))
    return b"".join((header, body, FOOTER.pack(MAGIC, end)))
