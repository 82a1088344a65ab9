"""Read multipart bodies as they come: nothing is joined, and no byte is looked at twice.

Pure: chunks in, events out. Bytes of a part are views of the chunk they came in.

Source: RFC 2046 section 5.1.1 (Common Syntax), RFC 2387 (multipart/related).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from imagerepo.errors import BadRequestError
from imagerepo.web.media import MediaType

HEADERS_LIMIT: Final = 16 << 10
"""Bytes of one part's headers."""
_BOUNDARY_LIMIT: Final = 70  # characters (RFC 2046 5.1.1)
_PADDING_LIMIT: Final = 64  # spaces and tabs between a boundary and its line's end


@dataclass(frozen=True, slots=True)
class Begin:
    """A part begins."""

    number: int  # from 1
    headers: Mapping[str, str]  # names in lower case


@dataclass(frozen=True, slots=True)
class Bytes:
    """Some bytes of the part that has begun."""

    view: memoryview


@dataclass(frozen=True, slots=True)
class End:
    """The part that had begun is complete."""


Event: TypeAlias = Begin | Bytes | End
_END: Final = End()


def boundary_of(content_type: MediaType) -> bytes:
    """The boundary that a Content-Type names.

    Raises:
        BadRequestError: none, or not one.
    """
    text = content_type.parameters.get("boundary")
    if text is None:
        raise BadRequestError("Content-Type has no boundary; multipart bodies need one (RFC 2046 5.1.1)")
    if not 0 < len(text) <= _BOUNDARY_LIMIT or not text.isascii() or not text.isprintable() or text.endswith(" "):
        raise BadRequestError(f"boundary {text[:80]!r} is not 1 to 70 printable characters (RFC 2046 5.1.1)")
    return text.encode()


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    PART = auto()
    EPILOGUE = auto()


class _Line(Enum):
    """What follows a boundary."""

    OPENS = auto()  # the line ends: another part
    CLOSES = auto()  # two hyphens: no further part
    NEITHER = auto()  # the boundary is the beginning of something else
    UNDECIDED = auto()  # the chunk ends


class Parser:
    """Splits one body into parts."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._state = _State.PREAMBLE
        self._tail = b"\r\n"  # unread; the first delimiter may be the body's first bytes
        self._headers = bytearray()
        self._position = 0  # in the data that are fed, after content was passed on
        self._skip = 0  # bytes before the content that are not of it: the empty line's end
        self.number = 0  # of the part under way; once closed, of parts

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Read on. Consume all events before the next call.

        Raises:
            BadRequestError: a part's headers are malformed or too long; names the part.
        """
        # A tail is the possible beginning of a delimiter: short, and rare.
        data = self._tail + chunk if self._tail else chunk
        self._tail = b""
        position = 0
        while position < len(data) and self._state is not _State.EPILOGUE:
            if self._state is _State.HEADERS:
                found = self._read_headers(data, position)
                if found is None:
                    return
                headers, start = found
                yield Begin(self.number, headers)
                if start < 0:  # the empty line began in an earlier chunk
                    data = b"\r\n"[:-start] + data
                position = max(start, 0)
                self._state, self._skip = _State.PART, 2
            yield from self._content(data, position)
            position = self._position

    def finish(self) -> None:
        """Say that the body has ended.

        Raises:
            BadRequestError: it should not have.
        """
        match self._state:
            case _State.PREAMBLE:
                boundary = self._delimiter[4:].decode()
                raise BadRequestError(f"the boundary {boundary!r} of Content-Type does not occur in the body")
            case _State.HEADERS:
                raise BadRequestError(f"part {self.number}: the body ends within its headers")
            case _State.PART:
                raise BadRequestError(
                    f"part {self.number}: the body ends without the boundary that closes it; it is cut off"
                )
            case _State.EPILOGUE:
                pass

    def _content(self, data: bytes, position: int) -> Iterator[Event]:
        """Pass on content up to the next delimiter; leaves the position behind it."""
        delimiter = self._delimiter
        search = position
        while True:
            at = data.find(delimiter, search)
            if at < 0:
                at = _beginning(data, search, delimiter)
                yield from self._bytes(data, position, at)
                self._tail = data[at:]
                self._position = len(data)
                return
            line, after = _line(data, at + len(delimiter))
            if line is _Line.NEITHER:
                search = at + 1
                continue
            yield from self._bytes(data, position, at)
            if line is _Line.UNDECIDED:
                self._tail = data[at:]
                self._position = len(data)
                return
            if self._state is _State.PART:
                yield _END
            if line is _Line.CLOSES:
                self._state = _State.EPILOGUE
            else:
                self._state = _State.HEADERS
                self._headers = bytearray(b"\r\n")
                self.number += 1
            self._position = after
            return

    def _bytes(self, data: bytes, start: int, end: int) -> Iterator[Bytes]:
        if self._state is not _State.PART:
            return
        if self._skip:
            skipped = min(self._skip, end - start)
            self._skip -= skipped
            start += skipped
        if start < end:
            yield Bytes(memoryview(data)[start:end])

    def _read_headers(self, data: bytes, position: int) -> tuple[dict[str, str], int] | None:
        """The headers and where the line end of the empty line after them begins; None: more bytes are needed."""
        block = self._headers
        before = len(block)
        block += data[position : position + HEADERS_LIMIT + 4 - before]
        end = block.find(b"\r\n\r\n", max(0, before - 3))
        if end < 0:
            if len(block) >= HEADERS_LIMIT:
                raise BadRequestError(f"part {self.number}: its headers exceed {HEADERS_LIMIT} bytes")
            return None
        return _parse_headers(bytes(block[:end]), self.number), position + end + 2 - before


def _beginning(data: bytes, start: int, delimiter: bytes) -> int:
    """Where the longest beginning of `delimiter` that ends `data` starts; the end if there is none."""
    # A delimiter has one carriage return, its first byte: only the last one can begin what is cut off.
    at = data.rfind(b"\r", max(start, len(data) - len(delimiter) + 1))
    return at if at >= 0 and delimiter.startswith(data[at:]) else len(data)


def _line(data: bytes, position: int) -> tuple[_Line, int]:
    """What follows a boundary, and the position behind it."""
    if data.startswith(b"--", position):
        return _Line.CLOSES, position + 2
    padded = position
    limit = min(len(data), position + _PADDING_LIMIT)
    while padded < limit and data[padded] in b" \t":
        padded += 1
    if data.startswith(b"\r\n", padded):
        return _Line.OPENS, padded + 2
    rest = data[padded : padded + 2]
    undecided = not rest or (rest == b"\r") or (rest == b"-" and padded == position)
    if undecided and padded - position < _PADDING_LIMIT:
        return _Line.UNDECIDED, position
    return _Line.NEITHER, position


def _parse_headers(block: bytes, number: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in block.split(b"\r\n")[1:]:
        text = line.decode("latin-1")
        if name and text[:1] in {" ", "\t"}:
            headers[name] += " " + text.strip()
            continue
        name, colon, value = text.partition(":")
        name = name.strip().lower()
        if not colon or not name:
            raise BadRequestError(f"part {number}: {text[:60]!r} is not a header")
        headers[name] = value.strip()
    return headers
