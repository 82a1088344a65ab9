"""DICOM JSON of instances (PS3.18 Annex F): made once, ahead of demand or on it, kept compressed, answered by joining.

Memory is bounded by bytes, not by instances: callers cut their versions into `slices`, and of a large header the
values that are given by reference anyway are never read.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import zstandard

from imagerepo.dicom import json
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES, encoding_of
from imagerepo.dicom.inflate import inflate_header
from imagerepo.errors import ImagerepoError, NotAcceptableError, TooLargeError
from imagerepo.flows.outline import HEADER_LIMIT, Element, blocks, elements, too_large
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.ports.index import MetadataCache

SLICE: Final = 8 << 20
"""Bytes of headers that are worked on at a time."""

# Stands for the URL of an instance in what is kept. Within a value the quotation marks would be escaped.
_KEPT_URL = "@"
_KEPT = b'"BulkDataURI":"@'
_INFLATION: Final = 8  # bytes of a header that one deflated byte is taken for
_WHOLE: Final = 1 << 20  # bytes of a header that is read at once
_STUB: Final = json.INLINE_VALUE_LIMIT + 2  # bytes that are read of a value which is given by reference


Fresh: TypeAlias = Sequence[tuple[Version, bytes]]
"""Versions and their JSON as it is kept."""


@dataclass(frozen=True, slots=True)
class Documents:
    """An answer, and what of it was made anew."""

    texts: Sequence[bytes]  # one JSON object a version
    fresh: Fresh  # to be handed to `Metadata.keep`, at best once the answer has left


class _Codec(threading.local):
    """zstandard's contexts, one a thread: to make them for each document takes longer than to use them."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=3)
        self._decompressor = zstandard.ZstdDecompressor()

    def compress(self, document: bytes) -> bytes:
        # A copy: what zstandard returns keeps the memory of the longest frame that could have come of it.
        return bytes(memoryview(self._compressor.compress(document)))

    def decompress(self, frame: bytes) -> bytes:
        return self._decompressor.decompress(frame)


class Metadata:
    """Gives each version's JSON. Safe to call from any number of threads."""

    def __init__(self, retrieve: Retrieve, cache: MetadataCache) -> None:
        self._retrieve = retrieve
        self._cache = cache
        self._codec = _Codec()

    def one(self, version: Version, url: str) -> bytes:
        """The JSON object of one version; blocks.

        Raises:
            NotAcceptableError: its header is too large to be held.
        """
        (frame,) = self._cache.get([version])
        if frame is not None:
            return _placed(self._codec.decompress(frame), url)
        document = self._make(version)
        self.keep([(version, document)])
        return _placed(document, url)

    def of(self, versions: Sequence[Version], urls: Sequence[str]) -> Documents:
        """One JSON object a version; blocks, longer for those asked for the first time.

        Of a version whose header is too large to be held, it has what the index knows: an answer about a whole
        study must not fail, nor leave an instance out, for the sake of one.

        Args:
            versions: of any instances, one of their `slices`.
            urls: of each instance, to which `/bulkdata/{tag}` is added for values that are left out.
        """
        made: list[tuple[Version, bytes]] = []
        answer: list[bytes] = []
        kept = self._cache.get(versions)
        self._expect(version for version, frame in zip(versions, kept, strict=True) if frame is None)
        for version, url, frame in zip(versions, urls, kept, strict=True):
            if frame is not None:
                document = self._codec.decompress(frame)
            else:
                try:
                    document = self._make(version)
                except NotAcceptableError:
                    answer.append(_known(version))
                    continue
                made.append((version, document))
            answer.append(_placed(document, url))
        return Documents(answer, made)

    def keep(self, fresh: Fresh) -> None:
        """Keep what was made, so that it is not made again; blocks."""
        if fresh:
            self._cache.put([(version, self._codec.compress(document)) for version, document in fresh])

    def make_ahead(self, versions: Sequence[Version]) -> None:
        """Make and keep what is not kept yet, so that nobody waits for it; blocks.

        What cannot be made is left to whoever asks for it: the answer says why.

        Args:
            versions: as in `of`.
        """
        missing = [version for version, frame in zip(versions, self._cache.get(versions), strict=True) if not frame]
        self._expect(missing)
        made: list[tuple[Version, bytes]] = []
        for version in missing:
            with contextlib.suppress(ImagerepoError):
                made.append((version, self._make(version)))
        self.keep(made)

    def _expect(self, versions: Iterable[Version]) -> None:
        """Have the headers brought from the disk all at once, rather than one after another."""
        self._retrieve.expect((version, 0, _first_read(version)) for version in versions)

    def _make(self, version: Version) -> bytes:
        syntax = version.transfer_syntax
        if syntax in DEFLATED_SYNTAXES:
            if header_size(version) > HEADER_LIMIT * _INFLATION:
                raise too_large(version)
            start, _ = blocks(version)[0]
            try:
                inflated = inflate_header(self._retrieve.read(version, start, version.size - start))
            except TooLargeError as error:  # stored under a higher limit
                raise NotAcceptableError(f"instance {version.instance_uid}: {error}") from error
            header, trailer = inflated.header + inflated.pixel, inflated.trailer
        else:
            header, trailer = self._blocks(version)
        return json.encode(header, syntax, bulk_data_uri=f"{_KEPT_URL}/bulkdata", trailer=trailer)

    def _blocks(self, version: Version) -> tuple[bytes, bytes]:
        """The elements before and after pixel data, large values cut short."""
        read = self._retrieve.read
        (start, header_end), (trailer_start, size) = blocks(version)
        end = json.header_end(version.layout)
        if header_size(version) <= _WHOLE:
            return read(version, start, end - start), read(version, trailer_start, size - trailer_start)
        header = self._cut(version, start, header_end, HEADER_LIMIT)
        trailer = self._cut(version, trailer_start, size, HEADER_LIMIT - len(header))
        return header + read(version, header_end, end - header_end), trailer

    def _cut(self, version: Version, start: int, end: int, room: int) -> bytes:
        """The elements in [start, end), of plain values so much that they are still given by reference."""
        order = "little" if encoding_of(version.transfer_syntax).little else "big"
        kept: list[bytes] = []

        def keep(begin: int, stop: int) -> None:
            nonlocal room
            room -= stop - begin
            if room < 0:
                raise too_large(version)
            kept.append(self._retrieve.read(version, begin, stop - begin))

        begin = start
        for element in elements(self._retrieve, version, start, end):
            if _is_long(element):
                # The length is the last of an element's header wherever it has 32 bits (PS3.5 Table 7.1-1, 7.1-3).
                keep(begin, element.value - 4)
                kept.append(_STUB.to_bytes(4, order))
                keep(element.value, element.value + _STUB)
                begin = element.end
        keep(begin, end)
        return b"".join(kept)


def header_size(version: Version) -> int:
    """Bytes of a version that its JSON is made of."""
    (start, end), (trailer_start, size) = blocks(version)
    length = end - start + size - trailer_start
    return length * _INFLATION if version.transfer_syntax in DEFLATED_SYNTAXES else length


def slices(versions: Sequence[Version]) -> Iterator[Sequence[Version]]:
    """Cut a page into runs whose headers have at most SLICE bytes together, or are of one version."""
    begin = held = 0
    for number, version in enumerate(versions):
        size = header_size(version)
        if number > begin and held + size > SLICE:
            yield versions[begin:number]
            begin, held = number, 0
        held += size
    if begin < len(versions):
        yield versions[begin:]


def _is_long(element: Element) -> bool:
    return element.plain and element.end - element.value > _STUB


def _first_read(version: Version) -> int:
    """Bytes of a version up to where its header ends, if that is read at once."""
    return min(json.header_end(version.layout), _WHOLE)


def _placed(document: bytes, url: str) -> bytes:
    return document.replace(_KEPT, b'"BulkDataURI":"' + url.encode())


def _known(version: Version) -> bytes:
    """What the index knows of a version."""
    uids = {
        "00080016": version.sop_class_uid,
        "00080018": version.instance_uid,
        "0020000D": version.study_uid,
        "0020000E": version.series_uid,
    }
    members = [f'"{tag}":{{"vr":"UI","Value":["{uid}"]}}' for tag, uid in uids.items()]
    return f"{{{','.join(members)}}}".encode()
