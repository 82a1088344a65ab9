"""Media types and what a client accepts: Content-Type, Accept and Accept-Encoding.

Source: RFC 9110 sections 8.3.1 (Media Type), 12.5.1 (Accept), 12.5.3 (Accept-Encoding).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from imagerepo.errors import BadRequestError

_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TYPE: Final = re.compile(rf"\s*({_WORD}(?:/{_WORD})?)\s*")
# Values that should be quoted often are not: type=application/dicom.
_PARAMETER: Final = re.compile(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*')
_EMPTY: Final = re.compile(r"[\s;]*")
_QUALITY: Final = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")
_KEPT: Final = 512  # headers whose parse is remembered
_REMEMBERED: Final = 1000  # characters of the longest header that is


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type or range: names in lower case, values as sent."""

    name: str  # "multipart/related", "image/*", "*/*"
    parameters: Mapping[str, str]  # without q
    quality: float = 1.0  # of an Accept header's entry

    @property
    def related(self) -> str:
        """The parameter `type` in lower case (RFC 2387 section 3.1); '' if absent."""
        return self.parameters.get("type", "").lower()

    @property
    def transfer_syntax(self) -> str:
        """The parameter `transfer-syntax`; '' if absent."""
        return self.parameters.get("transfer-syntax", "")

    def covers(self, name: str) -> bool:
        """Whether this range takes in media type `name`."""
        return _covers(self.name, name)

    def covers_related(self, name: str) -> bool:
        """Whether this range takes in multipart/related with parts of media type `name`."""
        return _covers(self.name, "multipart/related") and (not self.related or _covers(self.related, name))


def _covers(pattern: str, name: str) -> bool:
    if pattern in {name, "*/*", "*"}:
        return True
    return pattern.endswith("/*") and name.startswith(pattern[:-1])


def parse_media_type(header: str, name: str) -> MediaType:
    """Parse a Content-Type.

    Raises:
        BadRequestError: it is not one; the message names `name`.
    """
    found = _entries(header, name)
    if len(found) != 1 or "/" not in found[0][0]:
        raise BadRequestError(f"{name} {header[:100]!r} is not a media type")
    kind, parameters = found[0]
    return MediaType(kind, parameters)


def parse_accept(header: str) -> tuple[MediaType, ...]:
    """What an Accept header takes, best first; entries with q=0 are left out.

    Raises:
        BadRequestError: it is malformed.
    """
    return _remembered(header) if len(header) <= _REMEMBERED else _accept(header)


def _accept(header: str) -> tuple[MediaType, ...]:
    ranges: list[MediaType] = []
    for kind, parameters in _entries(header, "Accept"):
        quality = _quality(parameters.pop("q", "1"), "Accept")
        if quality:
            ranges.append(MediaType(kind, parameters, quality))
    # The standard lets q decide, and the more specific one among equals; senders list what they prefer first.
    ranges.sort(key=lambda one: (-one.quality, one.name.count("*")))
    return tuple(ranges)


_remembered = lru_cache(maxsize=_KEPT)(_accept)


def _entries(header: str, name: str) -> list[tuple[str, dict[str, str]]]:
    """(type, parameters) of each entry of a comma-separated list."""
    return list(_walk(header, name))


def _walk(header: str, name: str) -> Iterator[tuple[str, dict[str, str]]]:
    position, end = 0, len(header)
    while True:
        while position < end and header[position] in ", \t":
            position += 1
        if position == end:
            return
        found = _TYPE.match(header, position)
        if found is None:
            raise BadRequestError(f"{name}: {header[position : position + 40]!r} is not a media type")
        position = found.end()
        parameters: dict[str, str] = {}
        while position < end and header[position] == ";":
            empty = _EMPTY.match(header, position)
            assert empty is not None
            position = empty.end()
            if position == end or header[position] == ",":
                break
            parameter = _PARAMETER.match(header, position)
            if parameter is None:
                raise BadRequestError(f"{name}: {header[position : position + 40]!r} is not a parameter")
            quoted, plain = parameter[2], parameter[3]
            parameters.setdefault(
                parameter[1].lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            )
            position = parameter.end()
        if position < end and header[position] != ",":
            raise BadRequestError(f"{name}: {header[position : position + 40]!r} is out of place")
        yield found[1].lower(), parameters


def _quality(text: str, name: str) -> float:
    if _QUALITY.match(text) is None:
        raise BadRequestError(f"{name}: q={text[:20]!r} is not a number from 0 to 1 with three decimals")
    return float(text)


def choose_coding(header: str, offered: tuple[str, ...]) -> str:
    """The content coding for an answer: one of `offered`, the first among equals, or "identity".

    Raises:
        BadRequestError: the header is malformed.
    """
    return _chosen(header, offered) if len(header) <= _REMEMBERED else _choose(header, offered)


def _choose(header: str, offered: tuple[str, ...]) -> str:
    qualities = {
        kind: _quality(parameters.get("q", "1"), "Accept-Encoding")
        for kind, parameters in _entries(header, "Accept-Encoding")
    }
    fallback = qualities.get("*", 0.0)
    best, most = "identity", 0.0
    for coding in offered:
        quality = qualities.get(coding, fallback)
        if quality > most:
            best, most = coding, quality
    # Identity is acceptable unless it is ruled out, but preferred only where that is said.
    return "identity" if qualities.get("identity", 0.0) > most else best


_chosen = lru_cache(maxsize=_KEPT)(_choose)
