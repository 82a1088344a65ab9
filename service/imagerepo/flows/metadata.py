"""DICOM JSON of instances (PS3.18 Annex F): made once on first demand, kept compressed, answered by joining."""

from collections.abc import Sequence

import zstandard

from imagerepo.dicom import json
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES
from imagerepo.dicom.inflate import inflate_header
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.ports.index import MetadataCache

# Stands for the URL of an instance in what is kept. Within a value the quotation marks would be escaped.
_KEPT_URL = "@"
_KEPT = b'"BulkDataURI":"@'


class Metadata:
    """Gives each version's JSON. Safe to call from any number of threads."""

    def __init__(self, retrieve: Retrieve, cache: MetadataCache) -> None:
        self._retrieve = retrieve
        self._cache = cache

    def of(self, versions: Sequence[Version], urls: Sequence[str]) -> list[bytes]:
        """One JSON object a version; blocks, longer for those asked for the first time.

        Args:
            versions: of any instances, a page of them.
            urls: of each instance, to which `/bulkdata/{tag}` is added for values that are left out.
        """
        frames = list(self._cache.get(versions))
        made: list[tuple[Version, bytes]] = []
        compress = zstandard.ZstdCompressor(level=3).compress
        for number, frame in enumerate(frames):
            if frame is None:
                frames[number] = fresh = compress(self._make(versions[number]))
                made.append((versions[number], fresh))
        if made:
            self._cache.put(made)
        decompress = zstandard.ZstdDecompressor().decompress
        return [
            decompress(frame).replace(_KEPT, b'"BulkDataURI":"' + url.encode())
            for frame, url in zip(frames, urls, strict=True)
            if frame is not None
        ]

    def _make(self, version: Version) -> bytes:
        syntax, layout = version.transfer_syntax, version.layout
        start, end = layout.data_set_offset, json.header_end(layout)
        header = self._retrieve.read(version, start, end - start)
        trailer = self._retrieve.read(version, layout.trailer_offset, version.size - layout.trailer_offset)
        if syntax in DEFLATED_SYNTAXES:
            inflated = inflate_header(header)
            header, trailer = inflated.header + inflated.pixel, inflated.trailer
        return json.encode(header, syntax, bulk_data_uri=f"{_KEPT_URL}/bulkdata", trailer=trailer)
