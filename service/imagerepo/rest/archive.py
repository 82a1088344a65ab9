"""`/series/{uid}` and `/study/{uid}`: zip archives of the files as they were uploaded, streamed.

Entries are stored, not deflated, with the CRC-32 that ingest computed: pixel data seldom shrink, and bytes go
from the store to the network as they are. `?media=dicomdir` makes the archive a file-set (rest/media.py).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from imagerepo.errors import BadRequestError
from imagerepo.flows.batches import Part
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.rest.media import FileSet, check_count
from imagerepo.rest.zipstream import Directory, Entry, Length
from imagerepo.web.contents import Contents, survey
from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import Headers
from imagerepo.web.first_image import FirstImage
from imagerepo.web.streaming import send, whole
from imagerepo.web.validators import caching, etag, not_modified


class Naming(Protocol):
    """How an archive's files are called, and what comes with them."""

    def name(self, version: Version) -> bytes:
        """The next file's name."""
        ...

    async def took(self, exchange: Exchange, versions: Sequence[Version]) -> None:
        """These have been named, in this order."""
        ...

    def rest(self) -> Iterator[tuple[Entry, bytes]]:
        """Files beside the instances'."""
        ...


class Plain:
    """Files by their UIDs, and nothing else."""

    def name(self, version: Version) -> bytes:
        """See Naming."""
        return f"IMG/{version.series_uid}/{version.instance_uid}.dcm".encode()

    async def took(self, exchange: Exchange, versions: Sequence[Version]) -> None:
        """See Naming."""

    def rest(self) -> Iterator[tuple[Entry, bytes]]:
        """See Naming."""
        return iter(())


class Archive:
    """The handlers."""

    def __init__(self, first_image: FirstImage) -> None:
        self._first_image = first_image

    async def series(self, exchange: Exchange) -> None:
        """The files of a series."""
        uid = exchange.uid("uid", "Series Instance UID")
        await self._answer(exchange, Scope(exchange.caller.institution, series_uid=uid), uid)

    async def study(self, exchange: Exchange) -> None:
        """The files of a study."""
        uid = exchange.uid("uid", "Study Instance UID")
        await self._answer(exchange, Scope(exchange.caller.institution, study_uid=uid), uid)

    async def _answer(self, exchange: Exchange, scope: Scope, name: str) -> None:
        media = exchange.query_value("media")
        if media is None:
            await self._files(exchange, scope, name)
        elif media == "dicomdir":
            await self._file_set(exchange, scope, name)
        else:
            raise BadRequestError(
                f"media {media[:40]!r} is unknown; 'dicomdir' is (PS3.10 section 8), or leave it out"
            )

    async def _files(self, exchange: Exchange, scope: Scope, name: str) -> None:
        naming, length = Plain(), Length()

        def weigh(version: Version) -> int:
            length.add(len(naming.name(version)), version.size)
            return version.size

        contents = await self._survey(exchange, scope, weigh)
        headers = _headers(name)
        if contents.complete:
            tag = etag(contents.digest, "zip")
            if await not_modified(exchange, tag):
                return
            headers += [(b"content-length", b"%d" % length.total()), *caching(tag)]
        await self._send(exchange, contents, naming, headers)

    async def _file_set(self, exchange: Exchange, scope: Scope, name: str) -> None:
        contents = await self._survey(exchange, scope, lambda version: version.size)
        await check_count(exchange.repository.retrieve, contents)
        headers = _headers(name)
        if contents.complete:
            tag = etag(contents.digest, "dicomdir")
            if await not_modified(exchange, tag):
                return
            headers += caching(tag)
        # Its length is not known: the directory, which comes last, is made of headers that are not read before.
        await self._send(exchange, contents, FileSet(contents.digest), headers)

    async def _survey(self, exchange: Exchange, scope: Scope, weigh: Callable[[Version], int]) -> Contents:
        contents = await survey(exchange.repository.retrieve, scope, weigh)
        self._first_image.asked(exchange.caller, contents.study_uid)
        await exchange.repository.audit.read(exchange.caller, contents.study_uid)
        return contents

    async def _send(self, exchange: Exchange, contents: Contents, naming: Naming, headers: Headers) -> None:
        await exchange.start(200, headers)
        if exchange.head:
            await exchange.end()
            return
        directory = Directory()
        begun = False
        async for page in contents.pages(exchange.repository.retrieve):
            rest = page
            if not begun:
                await send(exchange, _entries(directory, naming, page[:1]))
                self._first_image.sent(exchange.caller, contents.study_uid)
                begun, rest = True, page[1:]
            await send(exchange, _entries(directory, naming, rest))
            await naming.took(exchange, page)
        for entry, content in naming.rest():
            await exchange.piece(directory.add(entry) + content)
        await exchange.end(directory.end())


def _headers(name: str) -> Headers:
    return [
        (b"content-type", b"application/zip"),
        (b"content-disposition", f'attachment; filename="{name}.zip"'.encode()),
    ]


def _entries(directory: Directory, naming: Naming, versions: Sequence[Version]) -> Iterator[Part]:
    for version in versions:
        yield directory.add(Entry(naming.name(version), version.size, version.crc32, version.received_at))
        yield whole(version)
