"""`/image/{uid}/header`: an instance's attributes as XML; `?version=1` those of an earlier version.

Source: PS3.19 A.1 (Native DICOM Model).
"""

import asyncio
from typing import Final

from blake3 import blake3

from imagerepo.dicom.native_xml import native_model
from imagerepo.errors import NotAcceptableError
from imagerepo.model.instance import Version
from imagerepo.rest.image import version_scope
from imagerepo.web.coding import coding_for, compress
from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import Headers
from imagerepo.web.media import parse_accept
from imagerepo.web.validators import caching, digest_of, etag, not_modified

# The first is what a client gets that has no preference; browsers show it.
_OFFERED: Final = ("application/xml", "text/xml", "application/dicom+xml")


async def header(exchange: Exchange) -> None:
    """One header."""
    media_type = _choose(exchange.accept)
    repository = exchange.repository
    version = repository.retrieve.version(version_scope(exchange))
    await repository.audit.read(exchange.caller, version.study_uid)
    coding = coding_for(exchange)
    base = exchange.base
    # What is left out stands in the answer as a URL, which follows from how we were called.
    place = blake3(base.encode()).hexdigest(4)
    tag = etag(digest_of(version), media_type.replace("/", "."), place, coding)
    if await not_modified(exchange, tag):
        return

    def make() -> bytes:
        return compress(native_model(repository.metadata.one(version, _url(base, version))), coding)

    body = await asyncio.to_thread(make)
    coded: Headers = [] if coding == "identity" else [(b"content-encoding", coding.encode())]
    await exchange.answer(200, f"{media_type}; charset=utf-8".encode(), body, [*coded, *caching(tag)])


def _choose(accept: str) -> str:
    if not accept:
        return _OFFERED[0]
    for one in parse_accept(accept):
        for offered in _OFFERED:
            if one.covers(offered):
                return offered
    raise NotAcceptableError(f"the header can be had as {' or '.join(_OFFERED)}; Accept has none of them")


def _url(base: str, version: Version) -> str:
    """Where the values are that are given by reference (PS3.18 10.4.1.1.5)."""
    return f"{base}/dicom-web/studies/{version.study_uid}/series/{version.series_uid}/instances/{version.instance_uid}"
