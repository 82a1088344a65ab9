"""`/image/{uid}`: the Part 10 file as it was uploaded; `?version=1` an earlier one.

Source: PS3.10 section 7.1.
"""

import re
from typing import Final

from imagerepo.errors import BadRequestError
from imagerepo.flows.batches import Extent
from imagerepo.model.scope import Scope
from imagerepo.rest.ranges import asked_range
from imagerepo.web.exchange import Exchange
from imagerepo.web.first_image import FirstImage
from imagerepo.web.streaming import send
from imagerepo.web.validators import caching, digest_of, etag, not_modified

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}\Z")


class Image:
    """The handler."""

    def __init__(self, first_image: FirstImage) -> None:
        self._first_image = first_image

    async def file(self, exchange: Exchange) -> None:
        """One file."""
        version = exchange.repository.retrieve.version(version_scope(exchange))
        self._first_image.asked(exchange.caller, version.study_uid)
        await exchange.repository.audit.read(exchange.caller, version.study_uid)
        tag = etag(digest_of(version), "file")
        if await not_modified(exchange, tag):
            return
        asked = asked_range(exchange, version.size, tag)
        offset, length = asked or (0, version.size)
        headers = [
            (b"content-type", b"application/dicom"),
            (b"content-length", b"%d" % length),
            (b"accept-ranges", b"bytes"),
            (b"content-disposition", f'attachment; filename="{version.instance_uid}.dcm"'.encode()),
            *caching(tag),
        ]
        if asked is not None:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (offset, offset + length - 1, version.size)))
        await exchange.start(200 if asked is None else 206, headers)
        if not exchange.head:
            await send(exchange, (Extent(version, offset, length),))
            if asked is None:
                self._first_image.sent(exchange.caller, version.study_uid)
        await exchange.end()


def version_scope(exchange: Exchange) -> Scope:
    """The version that path and query name. Raises BadRequestError."""
    number = _version(exchange.query_value("version"))
    return Scope(exchange.caller.institution, instance_uid=exchange.uid("uid", "SOP Instance UID"), version=number)


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    if _NUMBER.match(text) is None:
        raise BadRequestError(f"version {text[:40]!r} is not a number from 1")
    return int(text)
