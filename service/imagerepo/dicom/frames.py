"""Frames as byte ranges: which bytes of a Part 10 file are frame n.

Native frames have one length and follow each other. Encapsulated ones are fragments, which are grouped
once, at ingest, into a packed table:

    u8   format, 1
    u8   whether fragments could be assigned to frames (0: they could not)
    u32  number of frames in the table, little endian; 1 if they could not
    u32  fragments of each frame in turn
    u64  offset from Pixel Data's first item tag to the fragment's first byte, u64 its length, of each

An offset is kept from the start of the value, so that a new header in front of the same pixels leaves the
table as it is. A single stream that holds many frames (MPEG, HEVC) is one frame that is all of it.

Source: PS3.5 A.4 (Encapsulation of Encoded Pixel Data), PS3.3 C.7.6.3 (Image Pixel Module: Extended Offset Table).
"""

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from imagerepo.dicom.sequences import Fragments
from imagerepo.errors import BadRequestError, DamagedError, NotAcceptableError, NotFoundError
from imagerepo.model.instance import Layout, PixelLayout

_FORMAT: Final = 1
_HEAD: Final = struct.Struct("<BBI")
_COUNT: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<QQ")


def pack(counts: "array[int]", ranges: "array[int]", *, assigned: bool) -> bytes:
    """The packed table.

    Args:
        counts: u32, fragments of each frame.
        ranges: u64 pairs, offset from the first item tag and length, of all fragments in order.
        assigned: whether the counts are known to be those of frames.
    """
    return b"".join((_HEAD.pack(_FORMAT, assigned, len(counts)), _little(counts), _little(ranges)))


def _little(numbers: "array[int]") -> "array[int]":
    if sys.byteorder == "little":
        return numbers
    swapped = array(numbers.typecode, numbers)
    swapped.byteswap()
    return swapped


def unpack(table: bytes) -> tuple[list[int], list[tuple[int, int]], bool]:
    """The counts, the ranges and whether fragments are assigned, as they were packed."""
    assigned, frames = _head(table)
    counts = [_COUNT.unpack_from(table, _HEAD.size + 4 * i)[0] for i in range(frames)]
    ranges = list(_ENTRY.iter_unpack(memoryview(table)[_HEAD.size + 4 * frames :]))
    return counts, ranges, assigned


def _head(table: bytes) -> tuple[bool, int]:
    kind, assigned, frames = _HEAD.unpack_from(table)
    if kind != _FORMAT:
        raise DamagedError(f"fragment table of unknown format {kind}")
    return bool(assigned), frames


def group(
    fragments: Fragments,
    number_of_frames: int,
    basic_offsets: Sequence[int],
    extended_offsets: Sequence[int],
    extended_lengths: Sequence[int],
) -> bytes:
    """Assign fragments to frames, and pack the result.

    In this order: a single frame is all fragments; an Extended Offset Table, then a Basic one, if
    it is sound; one fragment a frame, if their numbers agree; a single fragment is one stream. Anything
    else is marked as not assigned: the pixel data can be had as a whole only.

    Args:
        fragments: as walked.
        number_of_frames: Number of Frames, at least 1.
        basic_offsets: the Basic Offset Table; empty if it is.
        extended_offsets: (7FE0,0001), likewise.
        extended_lengths: (7FE0,0002), likewise.
    """
    table = fragments.table
    count = len(table) // 2
    origin = fragments.offset_table[0] - 8  # the Basic Offset Table's item tag
    first = fragments.offset_table[0] + fragments.offset_table[1]  # what offset tables count from
    starts = table[0::2]
    ranges = table[:]
    ranges[0::2] = array("Q", (start + 8 - origin for start in starts))
    one_each = array("I", [1]) * count
    if number_of_frames == 1:
        return pack(array("I", [count]), ranges, assigned=True)
    if len(extended_offsets) == number_of_frames == count == len(extended_lengths) and all(
        first + offset == start for offset, start in zip(extended_offsets, starts, strict=True)
    ):
        # The lengths leave out the padding of each frame's one fragment.
        ranges[1::2] = array("Q", map(min, extended_lengths, ranges[1::2]))
        return pack(one_each, ranges, assigned=True)
    counts = _counts(starts, basic_offsets, first)
    if len(counts) == number_of_frames:
        return pack(counts, ranges, assigned=True)
    if count == number_of_frames:
        return pack(one_each, ranges, assigned=True)
    return pack(array("I", [count]), ranges, assigned=False)


def _counts(starts: "array[int]", offsets: Sequence[int], first: int) -> "array[int]":
    """Fragments of each frame, from where frames start; nothing if these are not fragments' starts."""
    if not offsets or not starts or first + offsets[0] != starts[0]:
        return array("I")
    indices = array("I")
    for offset in offsets:
        start = first + offset
        index = bisect_left(starts, start)
        if index == len(starts) or starts[index] != start or (indices and index <= indices[-1]):
            return array("I")
        indices.append(index)
    indices.append(len(starts))
    return array("I", (after - index for index, after in pairwise(indices)))


def count(pixel: PixelLayout) -> int:
    """Frames that pixel data hold, as far as they can be told apart."""
    if pixel.encapsulated:
        return _head(pixel.frames)[1]
    # A value of odd length has a byte more; frames of one byte would be counted one too many.
    return max(1, pixel.length // pixel.frame_length) if pixel.frame_length else 1


def frame_ranges(layout: Layout, number_of_frames: int, frame: int) -> list[tuple[int, int]]:
    """The ranges (offset, length), in bytes of the Part 10 file, that hold one frame; no item headers.

    Args:
        layout: of the instance.
        number_of_frames: Number of Frames; an absent one counts as 1.
        frame: from 1.

    Raises:
        BadRequestError: frames count from 1.
        NotFoundError: no pixel data, or fewer frames.
        NotAcceptableError: there are frames, but they cannot be told apart.

    Source: PS3.18 section 10.4 (Retrieve Transaction).
    """
    if frame < 1:
        raise BadRequestError(f"frame {frame}: frames are numbered from 1")
    pixel = layout.pixel
    if pixel is None:
        raise NotFoundError("the instance has no pixel data whose frames can be addressed")
    if frame > number_of_frames:
        raise NotFoundError(f"frame {frame}: the instance has {number_of_frames}")
    if not pixel.encapsulated:
        if pixel.frame_length == 0:
            raise NotAcceptableError(
                "frames of this instance cannot be addressed: they are not whole bytes, or pixel data "
                "are shorter than Rows, Columns and Number of Frames say; retrieve the instance"
            )
        return [(pixel.offset + (frame - 1) * pixel.frame_length, pixel.frame_length)]
    assigned, frames = _head(pixel.frames)
    if not assigned:
        raise NotAcceptableError(
            "fragments of this instance cannot be assigned to frames: no offset table, and their "
            "number is not that of the frames; retrieve the instance"
        )
    if frame > frames:
        raise NotFoundError(f"frame {frame}: the pixel data hold {frames}")
    counts = memoryview(pixel.frames)[_HEAD.size : _HEAD.size + 4 * frames]
    number_before = sum(_COUNT.unpack_from(counts, 4 * i)[0] for i in range(frame - 1))
    number = _COUNT.unpack_from(counts, 4 * (frame - 1))[0]
    entries = _HEAD.size + 4 * frames + _ENTRY.size * number_before
    return [
        (pixel.offset + offset, length)
        for offset, length in _ENTRY.iter_unpack(pixel.frames[entries : entries + _ENTRY.size * number])
    ]
