"""Retrieve metadata as DICOM JSON, page by page, compressed as it goes.

Source: PS3.18 sections 10.4.1.1.2 (Metadata Resources), F.2 (DICOM JSON Model).
"""

import asyncio
from collections.abc import Callable, Sequence

from blake3 import blake3

from imagerepo.dicomweb.negotiate import JSON, check_json
from imagerepo.dicomweb.wado import Wado, series_scope, study_scope
from imagerepo.flows.metadata import SLICE, Documents, Fresh, Metadata, header_size, slices
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.web.coding import IDENTITY, Compressor, coding_for, compressor
from imagerepo.web.contents import Contents, survey
from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import Headers
from imagerepo.web.validators import caching, digest_of, etag, not_modified


class MetadataHandlers:
    """Handlers of the metadata resources."""

    def __init__(self, wado: Wado) -> None:
        self._wado = wado

    async def instance(self, exchange: Exchange) -> None:
        """One instance's header."""
        check_json(exchange.accept)
        version = await self._wado.admitted_version(exchange)
        metadata, url = exchange.repository.metadata, instance_url(exchange.base, version)
        await self._at_once(exchange, lambda: Documents([metadata.one(version, url)], ()), digest_of(version))

    async def study(self, exchange: Exchange) -> None:
        """The headers of a study's instances."""
        await self._many(exchange, study_scope(exchange))

    async def series(self, exchange: Exchange) -> None:
        """The headers of a series' instances."""
        await self._many(exchange, series_scope(exchange))

    async def _many(self, exchange: Exchange, scope: Scope) -> None:
        check_json(exchange.accept)
        contents = await survey(exchange.repository.retrieve, scope, header_size)
        await exchange.repository.audit.read(exchange.caller, contents.study_uid)
        page = contents.single_page
        if page is not None and contents.length <= SLICE:
            await self._at_once(
                exchange, lambda: _documents(exchange.repository.metadata, page, exchange.base), contents.digest
            )
        else:
            await self._pages(exchange, contents)

    async def _at_once(self, exchange: Exchange, make: Callable[[], Documents], digest: str) -> None:
        coding = coding_for(exchange)
        tag = _tag(exchange, digest, coding)
        if await not_modified(exchange, tag):
            return
        body, fresh = await asyncio.to_thread(_encoded, make, compressor(coding))
        await exchange.answer(200, JSON.encode(), body, [*_coded(coding), *caching(tag)])
        if fresh:
            await asyncio.to_thread(exchange.repository.metadata.keep, fresh)  # while the answer is on its way

    async def _pages(self, exchange: Exchange, contents: Contents) -> None:
        coding = coding_for(exchange)
        headers = _coded(coding)
        if contents.complete:
            tag = _tag(exchange, contents.digest, coding)
            if await not_modified(exchange, tag):
                return
            headers += caching(tag)
        await exchange.start(200, [(b"content-type", JSON.encode()), *headers])
        if exchange.head:
            await exchange.end()
            return
        one = compressor(coding)
        opening = b"["
        async for page in contents.pages(exchange.repository.retrieve):
            for some in slices(page):
                await exchange.drained()
                body = await asyncio.to_thread(_page, exchange.repository.metadata, some, exchange.base, one, opening)
                opening = b","
                if body:
                    await exchange.piece(body)
        await exchange.end(one.compress(b"]") + one.flush())


def instance_url(base: str, version: Version) -> str:
    """Where an instance can be retrieved."""
    return f"{base}/dicom-web/studies/{version.study_uid}/series/{version.series_uid}/instances/{version.instance_uid}"


def _tag(exchange: Exchange, digest: str, coding: str) -> str:
    # What is left out stands in the answer as a URL, which follows from how we were called.
    place = blake3(exchange.base.encode()).hexdigest(4)
    return etag(digest, "json", place) if coding == IDENTITY else etag(digest, "json", place, coding)


def _coded(coding: str) -> Headers:
    return [] if coding == IDENTITY else [(b"content-encoding", coding.encode())]


def _documents(metadata: Metadata, page: Sequence[Version], base: str) -> Documents:
    return metadata.of(page, [instance_url(base, version) for version in page])


def _encoded(make: Callable[[], Documents], one: Compressor) -> tuple[bytes, Fresh]:
    made = make()
    return one.compress(b"[" + b",".join(made.texts) + b"]") + one.flush(), made.fresh


def _page(metadata: Metadata, page: Sequence[Version], base: str, one: Compressor, opening: bytes) -> bytes:
    made = _documents(metadata, page, base)
    metadata.keep(made.fresh)
    return one.compress(opening + b",".join(made.texts))
