"""Members of zip and tar archives, one after another: each is read as it comes, none is extracted."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

import zstandard

from imagerepo.adapters.import_files.kinds import Kind

FAULTS: Final = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zstandard.ZstdError,
)
"""What the standard library raises at archives that are damaged, encrypted or of a kind that it does not know."""

_ENCRYPTED: Final = 0x1  # in a member's flags
_BLOCK: Final = tarfile.BLOCKSIZE
_PIECE: Final = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive; its stream may be read until the next one is asked for."""

    name: str
    at: int  # tells members of one name apart
    stream: BinaryIO | None  # None: it cannot be read
    reason: str = ""  # why not


class CutOffError(Exception):
    """An archive ends before its end."""


def of_zip(stream: BinaryIO) -> Iterator[Member]:
    """Members of a zip archive; its directory is held in memory, 0.7 KB a member. Raises one of FAULTS."""
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.flag_bits & _ENCRYPTED:
                yield Member(info.filename, info.header_offset, None, "it is encrypted: unpack the archive first")
                continue
            try:
                opened = archive.open(info)
            except FAULTS as error:
                yield Member(info.filename, info.header_offset, None, said(error))
                continue
            with opened:
                yield Member(info.filename, info.header_offset, cast("BinaryIO", opened))


def of_tar(stream: BinaryIO) -> Iterator[Member]:
    """Regular files of a tar archive, also of several that stand in one file. Raises one of FAULTS, CutOffError."""
    watched = _Watched(stream)
    with tarfile.open(fileobj=cast("BinaryIO", watched), mode="r:") as archive:
        while (info := archive.next()) is not None:
            vars(archive)["members"] = []  # it would remember all of them
            if not info.isreg():
                continue
            opened = archive.extractfile(info)
            assert opened is not None
            with opened:
                yield Member(info.name, info.offset, cast("BinaryIO", opened))
    # The module takes half a header, or none, for the end.
    if watched.last != bytes(_BLOCK):
        raise CutOffError("it ends without its end mark: it may be cut off")


def inflated(stream: BinaryIO, kind: Kind) -> BinaryIO:
    """What a compressed file holds, as a stream that may be sought forward in."""
    match kind:
        case Kind.GZIP:
            return cast("BinaryIO", gzip.GzipFile(fileobj=stream, mode="rb"))
        case Kind.BZIP2:
            return cast("BinaryIO", bz2.BZ2File(stream))
        case Kind.XZ:
            return cast("BinaryIO", lzma.LZMAFile(stream))
        case _:
            reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True, closefd=False)
            return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", reader), 1 << 17))


def said(error: BaseException) -> str:
    """Why something of an archive cannot be read."""
    if isinstance(error, EOFError):
        return "it is cut off"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Watched:
    """A stream that remembers the last block that was read of it; forward it can be sought in, whatever it is."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._position += len(data)
        self.last = data[-_BLOCK:]
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        assert whence == 0
        if self._stream.seekable():
            self._position = self._stream.seek(offset)
        while self._position < offset and self.read(min(_PIECE, offset - self._position)):
            pass
        return self._position
