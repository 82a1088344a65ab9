"""`/series/{uid}` and `/study/{uid}`: zip archives of the files as they were uploaded, streamed.

Entries are stored, not deflated, with the CRC-32 that ingest computed: pixel data seldom shrink, and bytes go
from the store to the network as they are.
"""

from collections.abc import Iterator, Sequence

from imagerepo.flows.batches import Part
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.rest.zipstream import Directory, Entry, Length
from imagerepo.web.contents import survey
from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import Headers
from imagerepo.web.first_image import FirstImage
from imagerepo.web.streaming import send, whole
from imagerepo.web.validators import caching, etag, not_modified


class Archive:
    """The handlers."""

    def __init__(self, first_image: FirstImage) -> None:
        self._first_image = first_image

    async def series(self, exchange: Exchange) -> None:
        """The files of a series."""
        uid = exchange.uid("uid", "Series Instance UID")
        await self._send(exchange, Scope(exchange.caller.institution, series_uid=uid), uid)

    async def study(self, exchange: Exchange) -> None:
        """The files of a study."""
        uid = exchange.uid("uid", "Study Instance UID")
        await self._send(exchange, Scope(exchange.caller.institution, study_uid=uid), uid)

    async def _send(self, exchange: Exchange, scope: Scope, name: str) -> None:
        retrieve = exchange.repository.retrieve
        length = Length()

        def weigh(version: Version) -> int:
            length.add(len(_name(version)), version.size)
            return version.size

        contents = await survey(retrieve, scope, weigh)
        self._first_image.asked(exchange.caller, contents.study_uid)
        await exchange.repository.audit.read(exchange.caller, contents.study_uid)
        headers: Headers = [
            (b"content-type", b"application/zip"),
            (b"content-disposition", f'attachment; filename="{name}.zip"'.encode()),
        ]
        if contents.complete:
            tag = etag(contents.digest, "zip")
            if await not_modified(exchange, tag):
                return
            headers += [(b"content-length", b"%d" % length.total()), *caching(tag)]
        await exchange.start(200, headers)
        directory = Directory()
        if not exchange.head:
            begun = False
            async for page in contents.pages(retrieve):
                rest = page
                if not begun:
                    await send(exchange, _entries(directory, page[:1]))
                    self._first_image.sent(exchange.caller, contents.study_uid)
                    begun, rest = True, page[1:]
                await send(exchange, _entries(directory, rest))
        await exchange.end(b"" if exchange.head else directory.end())


def _entries(directory: Directory, versions: Sequence[Version]) -> Iterator[Part]:
    for version in versions:
        yield directory.add(Entry(_name(version), version.size, version.crc32, version.received_at))
        yield whole(version)


def _name(version: Version) -> bytes:
    return f"IMG/{version.series_uid}/{version.instance_uid}.dcm".encode()
