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
        while position < len(data):
            match self._state:
                case _State.HEADERS:
                    position, headers = self._read_headers(data, position)
                    if headers is not None:
                        self._state = _State.PART
                        yield Begin(self.number, headers)
                        # The delimiter of an empty part is the line end of its headers.
                        data, position = b"\r\n" + data[position:], 0
                        position = yield from self._first(data)
                case _State.EPILOGUE:
                    return
                case _State.PREAMBLE | _State.PART:
                    position = yield from self._content(data, position)

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
