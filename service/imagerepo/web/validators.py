"""Entity tags and conditional requests.

Source: RFC 9110 sections 8.8.3 (ETag), 13.1.2 (If-None-Match).
"""

import re
from typing import Final

from blake3 import blake3

from imagerepo.model.instance import Version
from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import Headers

_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')
_PRIVATE: Final = (b"cache-control", b"private, no-cache")
_VARY: Final = (b"vary", b"Accept, Accept-Encoding, Authorization")


def digest_of(version: Version) -> str:
    """Names a version's bytes, in 32 characters that no part of these bytes can be made to contain."""
    return blake3(
        version.digest + b"%d %d " % (version.number, version.crc32) + version.transfer_syntax.encode()
    ).hexdigest(16)


class Digests:
    """The same of many versions, in order."""

    def __init__(self) -> None:
        self._hasher = blake3()

    def add(self, version: Version) -> None:
        """Take in the next one."""
        self._hasher.update(
            version.digest + b"%d %d " % (version.number, version.crc32) + version.transfer_syntax.encode()
        )

    def result(self) -> str:
        """Names them all, in 32 characters."""
        return self._hasher.hexdigest(16)


def etag(*parts: str) -> str:
    """A strong entity tag, with its quotes."""
    return f'"{"-".join(parts)}"'


def caching(tag: str) -> Headers:
    """Headers of an answer that may be kept by its caller alone, and asked for again by its tag."""
    return [(b"etag", tag.encode()), _PRIVATE, _VARY]


async def not_modified(exchange: Exchange, tag: str) -> bool:
    """Answer 304 if the caller has what `tag` names."""
    header = exchange.header(b"if-none-match")
    if not header:
        return False
    if header.strip() != "*" and tag.strip('"') not in _TAG.findall(header):
        return False
    await exchange.start(304, caching(tag))
    await exchange.end()
    return True
