"""Pictures of stored frames: made by painters, kept in memory, the same one made once however many ask for it.

Bounded in every direction: painters at work, pictures waited for, bytes of a frame, bytes of pictures kept.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from imagerepo.dicom import frames as dicom_frames
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES, EXPLICIT_VR_BIG_ENDIAN
from imagerepo.errors import NotAcceptableError, NotFoundError, UnavailableError
from imagerepo.flows.outline import HEADER_LIMIT, too_large
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import PixelLayout, Version
from imagerepo.model.picture import Sheet, View
from imagerepo.ports.pictures import Painter

_PIECE: Final = 1 << 20  # bytes read at a time
_REFUSED_FOR: Final = 60.0  # seconds in which what could not be painted is not tried again
_ENTRY: Final = 500  # bytes that an entry of the cache takes besides its picture

_Key: TypeAlias = tuple[bytes, str, int, View]
_Extents: TypeAlias = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What pictures may take of one process."""

    painters: int  # at work at the same time
    queue: int  # pictures that are made or waited for
    cache: int  # bytes of pictures kept
    frame: int  # bytes of a stored frame


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why there is no picture."""

    text: str
    until: float  # monotonic seconds


class Pictures:
    """Gives pictures. Belongs to one event loop."""

    def __init__(self, retrieve: Retrieve, painter: Painter, bounds: Bounds) -> None:
        self._retrieve = retrieve
        self._generation = retrieve.generation()  # from before any version was looked up that is painted
        self._painter = painter
        self._bounds = bounds
        self._free = asyncio.Semaphore(bounds.painters)
        self._making: dict[_Key, asyncio.Task[bytes]] = {}
        self._kept: OrderedDict[_Key, bytes | _Refusal] = OrderedDict()  # the longest untouched first
        self._size = 0  # bytes kept

    async def picture(self, version: Version, frame: int, view: View) -> bytes:
        """One frame as a picture in `view.coding`.

        Args:
            version: of which instance.
            frame: from 1.
            view: how it is to look.

        Raises:
            NotFoundError: there is no such frame, or the version was deleted meanwhile.
            NotAcceptableError: no picture can be made of it; says why.
            UnavailableError: too many are waited for.
        """
        key = (version.digest, version.transfer_syntax, frame, view)
        kept = self._find(key)
        if kept is not None:
            return kept
        task = self._making.get(key)
        if task is None:
            if len(self._making) >= self._bounds.queue:
                raise UnavailableError(
                    f"{self._bounds.queue} pictures are waited for already (setting rendering.queue)"
                )
            task = asyncio.create_task(self._make(key, version, frame, view))
            self._making[key] = task
            task.add_done_callback(_seen)
        # Whoever asked first may leave: others wait for the same, and the next finds it kept.
        return await asyncio.shield(task)

    @property
    def kept_bytes(self) -> int:
        """Bytes of what is kept."""
        return self._size

    def close(self) -> None:
        """Let the painters go; nothing may be under way."""
        self._painter.close()

    async def _make(self, key: _Key, version: Version, frame: int, view: View) -> bytes:
        try:
            async with self._free:
                picture = await asyncio.to_thread(self._paint, version, frame, view)
        except NotAcceptableError as error:
            self._keep(key, _Refusal(str(error), time.monotonic() + _REFUSED_FOR))
            raise
        finally:
            del self._making[key]
        self._keep(key, picture)
        return picture

    def _paint(self, version: Version, frame: int, view: View) -> bytes:
        sheet, extents = plan(version, frame)
        if sheet.header_size > (self._bounds.frame if _is_deflated(version) else HEADER_LIMIT):
            raise too_large(version)
        if sheet.pixels_size > self._bounds.frame:
            raise NotAcceptableError(
                f"frame {frame} has {sheet.pixels_size} bytes, and pictures are made of up to {self._bounds.frame} "
                "(setting rendering.frame_limit); retrieve the instance instead"
            )
        picture = self._painter.paint(sheet, self._read(version, extents), view)
        self._retrieve.check((version,), self._generation)  # it may have waited for its turn until its bytes were gone
        return picture

    def _read(self, version: Version, extents: _Extents) -> Iterator[bytes]:
        for offset, length in extents:
            end = offset + length
            for at in range(offset, end, _PIECE):
                yield self._retrieve.read(version, at, min(_PIECE, end - at))

    def _find(self, key: _Key) -> bytes | None:
        """What is kept. Raises NotAcceptableError."""
        found = self._kept.get(key)
        if isinstance(found, _Refusal):
            if found.until > time.monotonic():
                raise NotAcceptableError(found.text)
            return None
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def _keep(self, key: _Key, found: bytes | _Refusal) -> None:
        self._size += _weight(found) - (_weight(self._kept[key]) if key in self._kept else 0)
        self._kept[key] = found
        self._kept.move_to_end(key)
        while self._size > self._bounds.cache and self._kept:
            self._size -= _weight(self._kept.popitem(last=False)[1])


def _seen(task: asyncio.Task[bytes]) -> None:
    """Nobody need wait for it: all who asked may have left."""
    if not task.cancelled():
        task.exception()


def _weight(found: bytes | _Refusal) -> int:
    return _ENTRY + len(found.text if isinstance(found, _Refusal) else found)


def has_image(version: Version) -> bool:
    """Whether there may be something to paint."""
    return version.layout.pixel is not None or _is_deflated(version)


def count_frames(version: Version) -> int:
    """Frames that can be asked for; 1 where they cannot be told apart without decoding."""
    pixel = version.layout.pixel
    if pixel is None:
        return 1
    return dicom_frames.count(pixel)


def check_frame(version: Version, frame: int) -> None:
    """Raise NotFoundError if it is known without decoding that there is no such frame, counted from 1."""
    pixel = version.layout.pixel
    if pixel is None or _is_deflated(version) or not (pixel.encapsulated or pixel.frame_length):
        return  # the painter tells
    count = dicom_frames.count(pixel)
    if frame > count:
        raise NotFoundError(f"frame {frame}: the instance has {count}")


def _is_deflated(version: Version) -> bool:
    return version.transfer_syntax in DEFLATED_SYNTAXES


def plan(version: Version, frame: int) -> tuple[Sheet, _Extents]:
    """What is read of a version for one frame, and what it is."""
    layout, syntax = version.layout, version.transfer_syntax
    start = layout.data_set_offset
    if _is_deflated(version):
        size = version.size - start
        return Sheet(syntax, size, 0, 0, encapsulated=False, frame=frame, place=frame - 1), [(start, size)]
    pixel = layout.pixel
    if pixel is None:
        raise NotAcceptableError(
            f"instance {version.instance_uid} has no pixel data of which a picture could be made; retrieve it itself"
        )
    ranges, place = _frame(version, pixel, frame)
    header, element = layout.header_length - start, pixel.offset - layout.header_length
    size = sum(length for _, length in ranges)
    sheet = Sheet(syntax, header, element, size, encapsulated=pixel.encapsulated, frame=frame, place=place)
    return sheet, [(start, header + element), *ranges]


def _frame(version: Version, pixel: PixelLayout, frame: int) -> tuple[_Extents, int]:
    """Where the frame lies, and its place among those that lie there."""
    swapped = version.transfer_syntax == EXPLICIT_VR_BIG_ENDIAN and pixel.frame_length % 2
    if not pixel.encapsulated and (swapped or not pixel.frame_length):
        # Frames of single bits need not begin with a byte, nor those of odd length with a word, in which bytes have
        # to be swapped: the whole value is looked at.
        return [(pixel.offset, pixel.length)], frame - 1
    return dicom_frames.frame_ranges(version.layout, dicom_frames.count(pixel), frame), 0
