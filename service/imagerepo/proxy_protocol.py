"""The header with which a balancer names who really called: PROXY protocol, version 2 (binary).

Pure; both servers read it from peers in `trusted_proxies` alone, and demand it of them.

Source: The PROXY protocol, section 2.2 (haproxy.org, proxy-protocol.txt).
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from imagerepo.errors import BadRequestError

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
HEADER_LIMIT: Final = 4096
"""Bytes of the longest header accepted; addresses and the usual extensions take less than 600."""

_FIXED: Final = struct.Struct(">12sBBH")
_VERSION: Final = 2
_LOCAL, _PROXY = 0, 1
_ADDRESS_BYTES: Final = {1: 4, 2: 16}  # address family -> length of one address
_UNSPECIFIED, _UNIX = 0, 3


@dataclass(frozen=True, slots=True)
class Header:
    """One header."""

    source_address: str | None  # None: the connection's own address counts (health checks; not TCP over IP)
    length: int  # bytes of the whole header; the protocol proper follows


def missing(buffer: bytes | bytearray) -> int:
    """Bytes of a header that have to follow `buffer` at least; none of them is beyond it."""
    if len(buffer) < _FIXED.size:
        return _FIXED.size - len(buffer)
    _, _, _, following = _FIXED.unpack_from(buffer)
    return _FIXED.size + int(following) - len(buffer)


def parse(buffer: bytes | bytearray | memoryview) -> Header | None:
    """Read the header that `buffer` begins with; None: more bytes are needed.

    Raises:
        BadRequestError: it is not one.
    """
    head = bytes(buffer[: _FIXED.size])
    if head[: len(SIGNATURE)] != SIGNATURE[: len(head)]:
        raise BadRequestError("a trusted proxy sent no PROXY protocol version 2 header (setting trusted_proxies)")
    if len(head) < _FIXED.size:
        return None
    _, version_and_command, family_and_transport, following = _FIXED.unpack(head)
    version, command = version_and_command >> 4, version_and_command & 0xF
    if version != _VERSION or command not in {_LOCAL, _PROXY}:
        raise BadRequestError(f"PROXY protocol version {version}, command {command}: 2 and 0 or 1 are known")
    length = _FIXED.size + following
    if length > HEADER_LIMIT:
        raise BadRequestError(f"a PROXY protocol header of {length} bytes exceeds {HEADER_LIMIT}")
    if len(buffer) < length:
        return None
    family = family_and_transport >> 4
    if command == _LOCAL or family in {_UNSPECIFIED, _UNIX}:
        return Header(None, length)
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        raise BadRequestError(f"PROXY protocol address family {family} is not known")
    if following < 2 * size + 4:
        raise BadRequestError(f"a PROXY protocol header of {length} bytes has no room for its addresses")
    source = bytes(buffer[_FIXED.size : _FIXED.size + size])
    address = IPv4Address(source) if size == 4 else IPv6Address(source)
    return Header(str(address), length)
