"""DICOM JSON of instances (PS3.18 Annex F): made once on first demand, kept compressed, answered by joining.

Memory is bounded by bytes, not by instances: callers cut their versions into `slices`, and of a large header the
values that are given by reference anyway are never read.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import zstandard

from imagerepo.dicom import json
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES, encoding_of
from imagerepo.dicom.inflate import inflate_header
from imagerepo.errors import NotAcceptableError, TooLargeError
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


class Metadata:
    """Gives each version's JSON. Safe to call from any number of threads."""

    def __init__(self, retrieve: Retrieve, cache: MetadataCache) -> None:
        self._retrieve = retrieve
        self._cache = cache

    def one(self, version: Version, url: str) -> bytes:
        """The JSON object of one version; blocks.

        Raises:
            NotAcceptableError: its header is too large to be held.
        """
        (frame,) = self._cache.get([version])
        if frame is None:
            frame = _compress(self._make(version))
            self._cache.put([(version, frame)])
        return _placed(frame, url)

    def of(self, versions: Sequence[Version], urls: Sequence[str]) -> list[bytes]:
        """One JSON object a version; blocks, longer for those asked for the first time.

        Of a version whose header is too large to be held, it has what the index knows: an answer about a whole
        study must not fail, nor leave an instance out, for the sake of one.

        Args:
            versions: of any instances, one of their `slices`.
            urls: of each instance, to which `/bulkdata/{tag}` is added for values that are left out.
        """
        made: list[tuple[Version, bytes]] = []
        answer: list[bytes] = []
        for version, url, kept in zip(versions, urls, self._cache.get(versions), strict=True):
            frame = kept
            if frame is None:
                try:
                    frame = _compress(self._make(version))
                except NotAcceptableError:
                    answer.append(_known(version))
                    continue
                made.append((version, frame))
            answer.append(_placed(frame, url))
        if made:
            self._cache.put(made)
        return answer

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


def _compress(document: bytes) -> bytes:
    # A copy: what zstandard returns keeps the memory of the longest frame that could have come of it.
    return bytes(memoryview(zstandard.ZstdCompressor(level=3).compress(document)))


def _placed(frame: bytes, url: str) -> bytes:
    document = zstandard.ZstdDecompressor().decompress(frame)
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
