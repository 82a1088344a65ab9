"""Compressed answers: JSON is a fifteenth of itself, and quick to get there at the lowest levels.

Source: RFC 9110 section 8.4 (Content-Encoding), RFC 8878 (zstd), RFC 1952 (gzip).
"""

from typing import Final, Protocol

import zstandard
from isal import isal_zlib

from imagerepo.web.exchange import Exchange
from imagerepo.web.media import choose_coding

IDENTITY: Final = "identity"
CODINGS: Final = ("zstd", "gzip")
"""What is offered, the better first."""
WORTHWHILE: Final = 1024
"""Bytes below which nothing is compressed."""
_ZSTD_LEVEL: Final = 1
_GZIP_LEVEL: Final = 1
_GZIP_WINDOW: Final = 31  # 32 KiB, with gzip's header and trailer


class Compressor(Protocol):
    """Compresses one answer piece by piece."""

    def compress(self, data: bytes, /) -> bytes:
        """Take in some; gives what is ready."""
        ...

    def flush(self) -> bytes:
        """Give the rest."""
        ...


class _Identity:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(coding: str) -> Compressor:
    """A compressor for one of CODINGS, or one that changes nothing."""
    match coding:
        case "zstd":
            return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
        case "gzip":
            return isal_zlib.compressobj(  # pyright: ignore[reportUnknownMemberType] - its stub leaves zdict untyped
                _GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW
            )
        case _:
            return _Identity()


def coding_for(exchange: Exchange) -> str:
    """The coding that the caller prefers."""
    header = exchange.header(b"accept-encoding")
    return choose_coding(header, CODINGS) if header else IDENTITY


def compress(body: bytes, coding: str) -> bytes:
    """All of a small body."""
    one = compressor(coding)
    return one.compress(body) + one.flush()
