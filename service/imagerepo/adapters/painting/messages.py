"""What passes between a server's process and its painters, through two pipes.

    to the painter     u32 length, JSON of sheet and view; then the bytes that the sheet counts
    from the painter   u8 outcome, u32 length, the picture or a sentence

All numbers are little endian. Nothing here imports what decodes.
"""

import json
import struct
from enum import IntEnum
from typing import BinaryIO, Final

from imagerepo.model.picture import Coding, Parts, Region, Shape, Sheet, View, Viewport, Window
from imagerepo.model.uids import Uid

_LENGTH: Final = struct.Struct("<I")
_ANSWER: Final = struct.Struct("<BI")


class Outcome(IntEnum):
    """What became of a job."""

    PICTURE = 0
    REFUSED = 1  # no picture can be made of it
    FAILED = 2  # a decoder gave up


NO_ROOM: Final = 3
"""A painter's exit status if a job has no room in its memory."""


class EndedError(Exception):
    """The other end closed its pipe."""


def write_job(sheet: Sheet, view: View) -> bytes:
    """What stands in front of a job's bytes."""
    viewport, region, window = view.viewport, view.region, view.window
    job = json.dumps(
        [
            [sheet.transfer_syntax, sheet.header_size, sheet.element_size, sheet.pixels_size, sheet.encapsulated,
             sheet.frame, sheet.place],
            [view.coding, view.quality,
             viewport and [viewport.width, viewport.height],
             region and [region.left, region.top, region.width, region.height],
             window and [window.center, window.width, window.shape]],
        ]
    ).encode()  # fmt: skip
    return _LENGTH.pack(len(job)) + job


def read_job(pipe: BinaryIO) -> tuple[Sheet, View, Parts]:
    """The next job. Raises EndedError."""
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    sheet, (coding, quality, viewport, region, window) = json.loads(_exactly(pipe, length))
    syntax, *numbers = sheet
    made = Sheet(Uid(syntax), *numbers)
    view = View(
        Coding(coding),
        quality,
        viewport and Viewport(*viewport),
        region and Region(*region),
        window and Window(window[0], window[1], Shape(window[2])),
    )
    header, element, pixels = (
        _exactly(pipe, size) for size in (made.header_size, made.element_size, made.pixels_size)
    )
    return made, view, Parts(header, element, pixels)


def write_answer(outcome: Outcome, body: bytes) -> bytes:
    """An answer."""
    return _ANSWER.pack(outcome, len(body)) + body


def read_answer(pipe: BinaryIO) -> tuple[Outcome, bytes]:
    """The next answer. Raises EndedError."""
    outcome, length = _ANSWER.unpack(_exactly(pipe, _ANSWER.size))
    return Outcome(outcome), _exactly(pipe, length)


def _exactly(pipe: BinaryIO, length: int) -> bytes:
    content = pipe.read(length)
    if len(content) < length:
        raise EndedError
    return content
