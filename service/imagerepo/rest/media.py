"""A file-set for interchange: file names of eight characters below DICOM/, and a DICOMDIR that lists them.

Files stay in the transfer syntax they came in, so that the set conforms to PS3.10; the application profiles of PS3.11
allow fewer of them.

Source: PS3.10 section 8 (DICOM File Service), 8.2 (File IDs), 8.6 (DICOMDIR); PS3.12 Annex V (ZIP File Media).
"""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from imagerepo.dicom.dicomdir import FILE_LIMIT, DicomDir, read_document
from imagerepo.errors import TooLargeError
from imagerepo.flows.metadata import Metadata, slices
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model import checksum
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.model.uids import Uid
from imagerepo.rest.zipstream import Entry
from imagerepo.web.contents import Contents
from imagerepo.web.exchange import Exchange

_ROOT: Final = "DICOM"
_NAME: Final = b"DICOMDIR"


class FileSet:
    """Names files, and makes their directory."""

    def __init__(self, digest: str) -> None:
        """Begin; `digest` names what the set will hold: the same files have the same directory."""
        number = int.from_bytes(hashlib.sha256(digest.encode()).digest()[:16], "big")
        self._directory = DicomDir(Uid(f"2.25.{number}"))  # PS3.5 B.2
        self._series: dict[str, int] = {}
        self._count = 0
        self._latest = datetime.fromtimestamp(0, UTC)
        self._ids: dict[str, tuple[str, str, str]] = {}  # of files that the directory has not yet

    def name(self, version: Version) -> bytes:
        """The next file's name."""
        series = self._series.setdefault(version.series_uid, len(self._series) + 1)
        self._count += 1
        self._latest = max(self._latest, version.received_at)
        file_id = (_ROOT, f"S{series:07d}", f"I{self._count:07d}")
        self._ids[version.instance_uid] = file_id
        return "/".join(file_id).encode()

    async def took(self, exchange: Exchange, versions: Sequence[Version]) -> None:
        """Enter these into the directory."""
        for some in slices(versions):
            await asyncio.to_thread(self._enter, exchange.repository.metadata, some)

    def rest(self) -> Iterator[tuple[Entry, bytes]]:
        """The directory."""
        content = self._directory.end()
        yield Entry(_NAME, len(content), checksum.crc32(content, 0), self._latest), content

    def _enter(self, metadata: Metadata, versions: Sequence[Version]) -> None:
        # A directory refers to values by no address: those that are given by one are left out.
        documents = metadata.of(versions, [""] * len(versions))
        for version, document in zip(versions, documents.texts, strict=True):
            self._directory.add(version, read_document(document), self._ids.pop(version.instance_uid))
        metadata.keep(documents.fresh)


async def check_count(retrieve: Retrieve, contents: Contents) -> None:
    """Raise TooLargeError for more files than a directory holds."""
    if not contents.complete and not await asyncio.to_thread(_fits, retrieve, contents.scope):
        raise TooLargeError(
            f"a DICOMDIR lists up to {FILE_LIMIT} files here, and there are more; leave out media=dicomdir"
        )


def _fits(retrieve: Retrieve, scope: Scope) -> bool:
    count = 0
    for page in retrieve.pages(scope):
        count += len(page)
        if count > FILE_LIMIT:
            return False
    return True
