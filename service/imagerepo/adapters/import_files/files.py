"""Files, folders, archives and media as candidates: ports.imports.Source.

Of an archive nothing is extracted. What is held of it is one member of up to HELD bytes; a larger one, and an archive
within an archive, is kept in an unnamed temporary file while it is needed.
"""

import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, cast

from imagerepo.adapters.import_files.kinds import (
    ARCHIVES,
    COMPRESSED,
    LOOKED_AT,
    Kind,
    is_named_dicom,
    kind_of,
)
from imagerepo.adapters.import_files.media import Medium
from imagerepo.adapters.import_files.members import FAULTS, CutOffError, Member, inflated, of_tar, of_zip, said
from imagerepo.adapters.import_files.notes import key_of, key_within
from imagerepo.adapters.import_files.walk import identity, walk
from imagerepo.dicom import fileset, peek
from imagerepo.errors import BadDicomError
from imagerepo.model.imports import (
    Candidate,
    Content,
    Ended,
    File,
    Passed,
    Thing,
    Unit,
    Unusable,
    Whole,
    Why,
)

HELD: Final = 8 << 20
"""Bytes of the largest file that is held in memory; it is what imagerepo holds of one that arrives."""

_UNIT_FILES: Final = 256
_UNIT_BYTES: Final = 32 << 20
_NESTED: Final = 3  # archives within archives
_IN_MEMORY: Final = 8 << 20  # bytes of an archive within an archive
_NESTED_LIMIT: Final = 64 << 30  # bytes of one: a small file can hold any number of zeros
_DIRECTORY_LIMIT: Final = 1 << 30  # bytes of a DICOMDIR
_PIECE: Final = 1 << 20
_SNIFFED: Final = 4 << 10
_BARE: Final = "a data set without File Meta Information (PS3.10 section 7.1), which is not taken"


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """Content of a file."""

    path: Path

    def open(self) -> BinaryIO:
        return self.path.open("rb", buffering=0)


class _Spooled:
    """Content of a file without a name, which goes when nobody refers to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __del__(self) -> None:
        self._file.close()

    def open(self) -> BinaryIO:
        again = os.fdopen(os.dup(self._file.fileno()), "rb", buffering=0)
        again.seek(0)
        return again


@dataclass(frozen=True, slots=True)
class _Inside:
    """Where in an archive we are."""

    place: str
    key: bytes
    whole: Whole
    depth: int


class Files:
    """ports.imports.Source over paths."""

    def __init__(
        self,
        paths: Iterable[Path],
        known: Callable[[Collection[bytes]], set[bytes]],
        left_out: Iterable[Path] = (),
    ) -> None:
        """Take what is below `paths`, but not below `left_out`, nor what is `known` by its key."""
        self._paths = tuple(paths)
        self._known = known
        self._left_out = frozenset(found for one in left_out if (found := identity(one)) is not None)

    def sizes(self) -> Iterator[int]:
        """Bytes of each file, for who wants to know how much there is."""
        return (found.size for found in walk(self._paths, self._left_out) if isinstance(found, File))

    def units(self) -> Iterator[Unit]:
        """See ports.imports.Source."""
        unit: list[File | Unusable] = []
        size = 0
        for found in walk(self._paths, self._left_out):
            more = found.size if isinstance(found, File) else 0
            if unit and (len(unit) == _UNIT_FILES or size + more > _UNIT_BYTES):
                yield tuple(unit)
                unit, size = [], 0
            unit.append(found)
            size += more
        if unit:
            yield tuple(unit)

    def things(self, unit: Unit) -> Iterator[Thing]:
        """See ports.imports.Source."""
        keys = [key_of(one) if isinstance(one, File) else b"" for one in unit]
        known = self._known([key for key in keys if key])
        for one, key in zip(unit, keys, strict=True):
            if isinstance(one, Unusable):
                yield one
            elif key in known:
                yield Passed(str(one.path), Why.NOTED, one.size)
            else:
                yield from self._file(one, key)

    def _file(self, file: File, key: bytes) -> Iterator[Thing]:
        place = str(file.path)
        try:
            with file.path.open("rb", buffering=0) as stream:
                beginning = stream.read(LOOKED_AT)
                kind = kind_of(beginning, place)
                if kind is Kind.DICOM:
                    yield from self._dicom(file, key, beginning, stream)
                    return
                if kind not in ARCHIVES:
                    yield _other(kind, place, file.size, named=file.named or is_named_dicom(place))
                    return
            with file.path.open("rb", buffering=LOOKED_AT) as stream:
                yield from self._archive(file, key, stream)
        except OSError as error:
            yield Unusable(place, said(error), file.size)

    def _dicom(self, file: File, key: bytes, beginning: bytes, stream: BinaryIO) -> Iterator[Thing]:
        place = str(file.path)
        if _is_directory(beginning):
            yield from self._medium(file)
            return
        content: bytes | Content = _OnDisk(file.path)
        if file.size <= HELD:
            content = _rest(beginning, stream, file.size)
            if len(content) != file.size:
                yield Unusable(place, "it changed while it was read; import it again", file.size)
                return
        yield _candidate(place, key, file.size, content, beginning, weight=file.size)

    def _medium(self, file: File) -> Iterator[Thing]:
        """What a DICOMDIR names: imported where it was given by name, else looked for: a walk finds what is there."""
        yield Passed(str(file.path), Why.DIRECTORY, file.size)
        if file.size > _DIRECTORY_LIMIT:
            yield Unusable(str(file.path), f"a DICOMDIR of more than {_DIRECTORY_LIMIT} bytes")
            return
        try:
            named = fileset.file_ids(file.path.read_bytes())
        except BadDicomError as error:
            yield Unusable(str(file.path), f"the DICOMDIR is damaged: {error}")
            return
        medium = Medium(file.path.parent)
        for components in named:
            found = medium.find(components)
            if found is None:
                yield Unusable(str(file.path.parent.joinpath(*components)), f"named by {file.path}, but not there")
            elif file.named:
                yield from self._referenced(found)

    def _referenced(self, path: Path) -> Iterator[Thing]:
        try:
            found = path.stat()
            one = File(path, found.st_size, found.st_mtime_ns, named=True)
            key = key_of(one)
            with path.open("rb", buffering=0) as stream:
                beginning = stream.read(LOOKED_AT)
                if self._known([key]):
                    yield Passed(str(path), Why.NOTED)
                elif kind_of(beginning, str(path)) is not Kind.DICOM or _is_directory(beginning):
                    yield Unusable(str(path), "a DICOMDIR names it, but it is no DICOM file")
                else:
                    yield from self._dicom(one, key, beginning, stream)
        except OSError as error:
            yield Unusable(str(path), said(error))

    def _archive(self, file: File, key: bytes, stream: BinaryIO) -> Iterator[Thing]:
        """What an archive holds; as progress, how far it was read."""
        whole = Whole(key)
        told = 0
        for thing in self._within(stream, _Inside(str(file.path), key, whole, 1)):
            reached = max(told, min(stream.tell(), file.size))
            yield replace(thing, weight=reached - told)
            told = reached
        yield Ended(whole, file.size - told)

    def _within(self, stream: BinaryIO, inside: _Inside) -> Iterator[Thing]:
        """What stands in a stream that may be sought in."""
        try:
            yield from self._read(stream, inside)
        except (*FAULTS, CutOffError) as error:
            yield Unusable(inside.place, f"the archive cannot be read further: {said(error)}", whole=inside.whole)

    def _read(self, stream: BinaryIO, inside: _Inside) -> Iterator[Thing]:
        kind = kind_of(stream.read(LOOKED_AT), inside.place)
        stream.seek(0)
        if kind not in COMPRESSED:
            yield from self._members(of_zip(stream) if kind is Kind.ZIP else of_tar(stream), inside)
            return
        with inflated(stream, kind) as content:
            # Little of it: where the file is cut off, a read beyond that place gives nothing of what is before it.
            beginning = content.read(_SNIFFED)
            if kind_of(beginning, inside.place) is not Kind.TAR:
                yield from self._look(beginning, content, inside)
                return
        stream.seek(0)
        with inflated(stream, kind) as content:
            yield from self._members(of_tar(content), inside)

    def _members(self, members: Iterator[Member], inside: _Inside) -> Iterator[Thing]:
        for member in members:
            place = f"{inside.place}!{member.name}"
            key = key_within(inside.key, member.name, member.at)
            if member.stream is None:
                yield Unusable(place, member.reason, whole=inside.whole)
            elif self._known([key]):
                yield Passed(place, Why.NOTED)
            else:
                one = _Inside(place, key, inside.whole, inside.depth)
                try:
                    yield from self._look(member.stream.read(LOOKED_AT), member.stream, one)
                except FAULTS as error:
                    yield Unusable(place, said(error), whole=inside.whole)

    def _look(self, beginning: bytes, stream: BinaryIO, inside: _Inside) -> Iterator[Thing]:
        """What a member is; `stream` goes on after `beginning`."""
        kind = kind_of(beginning, inside.place)
        if kind in ARCHIVES:
            if inside.depth == _NESTED:
                yield Unusable(inside.place, f"archives in more than {_NESTED} others are not read", 0, inside.whole)
                return
            with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spooled:
                _copy(beginning, stream, cast("BinaryIO", spooled))
                deeper = _Inside(inside.place, inside.key, inside.whole, inside.depth + 1)
                yield from self._within(cast("BinaryIO", spooled), deeper)
            return
        if kind is not Kind.DICOM:
            other = _other(kind, inside.place, 0, named=is_named_dicom(inside.place))
            yield replace(other, whole=inside.whole) if isinstance(other, Unusable) else other
            return
        if _is_directory(beginning):
            yield Passed(inside.place, Why.DIRECTORY)
            return
        yield _held(beginning, stream, inside)


def _candidate(
    place: str,
    key: bytes,
    size: int,
    content: bytes | Content,
    beginning: bytes,
    *,
    weight: int = 0,
    whole: Whole | None = None,
) -> Candidate | Unusable:
    try:
        names = peek.names(content if isinstance(content, bytes) else beginning)
    except BadDicomError as error:
        return Unusable(place, str(error), weight, whole)
    return Candidate(place, key, names, size, content, weight, whole)


def _other(kind: Kind, place: str, weight: int, *, named: bool) -> Thing:
    """What is no DICOM file: a fault only where it should be one."""
    if kind is Kind.UNREAD:
        return Unusable(place, "an archive of a kind that is not read: unpack or mount it", weight)
    if kind is Kind.BARE:
        return Unusable(place, _BARE, weight)
    if named:
        return Unusable(place, "not a DICOM file: no DICM at byte 128 (PS3.10 section 7.1)", weight)
    return Passed(place, Why.NOT_DICOM, weight)


def _is_directory(beginning: bytes) -> bool:
    try:
        return peek.is_directory(beginning)
    except BadDicomError:
        return False  # whatever it is, what is wrong with it is told of it as an instance


def _rest(beginning: bytes, stream: BinaryIO, size: int) -> bytes:
    """All of a file; one byte more than `size` if it has grown."""
    parts = [beginning]
    left = size + 1 - len(beginning)
    while left > 0 and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _held(beginning: bytes, stream: BinaryIO, inside: _Inside) -> Candidate | Unusable:
    """A member, which is read to its end."""
    first = _rest(beginning, stream, HELD)
    if len(first) <= HELD:
        return _candidate(inside.place, inside.key, len(first), first, first, whole=inside.whole)
    file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed when its content is let go
    content = _Spooled(file)
    size = _copy(first, stream, file)
    file.flush()
    return _candidate(inside.place, inside.key, size, content, first, whole=inside.whole)


def _copy(beginning: bytes, stream: BinaryIO, to: BinaryIO) -> int:
    """Copy what is left of a stream. Raises ValueError where that has no end."""
    size = len(beginning)
    to.write(beginning)
    while piece := stream.read(_PIECE):
        size += len(piece)
        if size > _NESTED_LIMIT:
            raise ValueError(f"it has more than {_NESTED_LIMIT} bytes")
        to.write(piece)
    to.seek(0)
    return size
