import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.errors import BadRequestError
from imagerepo.proxy_protocol import SIGNATURE, Header, parse


def header(command: int = 0x21, family: int = 0x11, body: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(body)) + body


V4 = header(body=bytes([192, 0, 2, 7, 127, 0, 0, 1]) + b"\x30\x39\x2b\x68")
V6 = header(family=0x21, body=bytes.fromhex("20010db8000000000000000000000007") + bytes(16) + b"\x30\x39\x2b\x68")
EXTENDED = header(body=bytes([192, 0, 2, 7, 127, 0, 0, 1]) + b"\x30\x39\x2b\x68" + b"\x04\0\2\0\0")


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (V4, "192.0.2.7"),
        (V6, "2001:db8::7"),
        (EXTENDED, "192.0.2.7"),
        (header(0x20, 0), None),
        (header(0x21, 0), None),
    ],
)
def test_the_source_address_is_read(data: bytes, address: str | None) -> None:
    assert parse(data + b"\1\0") == Header(address, len(data))


@pytest.mark.parametrize("whole", [V4, V6, EXTENDED])
def test_every_beginning_asks_for_more(whole: bytes) -> None:
    for length in range(len(whole)):
        assert parse(memoryview(whole)[:length]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\1\0\0\0",
        b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n",
        header(0x11),
        header(0x22),
        header(0x21, 0x11, bytes(11)),
        header(0x21, 0x41, bytes(40)),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_not_a_header_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse(data)


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_a_header_or_its_beginning_or_refused(data: bytes, signed: bool) -> None:  # noqa: FBT001 - drawn
    try:
        found = parse(SIGNATURE + data if signed else data)
    except BadRequestError:
        return
    assert found is None or found.length >= 16
