"""The little of the DICOM upper layer and of C-STORE that a sender needs, encoded ahead of time.

Source: PS3.8 section 9.3 (PDU structure), PS3.7 section 9.3.1 (C-STORE) and annex D.3 (negotiation).
"""

import struct
from collections.abc import Mapping, Sequence

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION = "1.2.826.0.1.3680043.8.498.7.0"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
SYNTAX = b"1.2.840.10008.1.2.1"  # Explicit VR Little Endian

ASSOCIATE_AC, P_DATA, RELEASE_RP = 0x02, 0x04, 0x06
RELEASE_REQUEST = bytes.fromhex("05 00 00 00 00 04 00 00 00 00")
CONTEXT_ID = 1
OUR_MAX_PDU = 65_536  # what we accept; responses are small
LARGEST_PDU = 1 << 20  # what we send at most, whatever the peer would take


class ProtocolError(Exception):
    """The peer answered something else than acceptance or success."""


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate_request(
    called: str,
    calling: str,
    sop_classes: Sequence[str] = (CT_IMAGE_STORAGE,),
    provided: Sequence[str] = (),
    max_pdu: int = OUR_MAX_PDU,
) -> bytes:
    """Propose SOP classes in Explicit VR Little Endian, with the context IDs 1, 3, … (PS3.8 section 9.3.2).

    Args:
        called: AE title.
        calling: AE title.
        sop_classes: what is proposed.
        provided: of these the ones that the requestor provides (PS3.7 section D.3.3.4): C-GET's storage.
        max_pdu: bytes of the largest PDU that is received.
    """
    contexts = b"".join(
        _item(0x20, struct.pack(">BxBx", 2 * n + 1, 0) + _item(0x30, one.encode()) + _item(0x40, SYNTAX))
        for n, one in enumerate(sop_classes)
    )
    user = _item(0x51, struct.pack(">I", max_pdu)) + _item(0x52, IMPLEMENTATION.encode())
    user += b"".join(_item(0x54, struct.pack(">H", len(one)) + one.encode() + b"\0\1") for one in provided)
    body = struct.pack(">Hxx16s16s32x", 1, called.ljust(16).encode(), calling.ljust(16).encode())
    body += _item(0x10, APPLICATION_CONTEXT.encode()) + contexts + _item(0x50, user)
    return struct.pack(">BxI", 0x01, len(body)) + body


def accepted_max_pdu(body: bytes) -> int:
    """Return how long the variable field of our P-DATA may be, from an A-ASSOCIATE-AC (section 9.3.3).

    Raises:
        ProtocolError: the presentation context was not accepted.
    """
    accepted = True
    limit = 0
    for kind, value in _items(body[68:]):
        if kind == 0x21:
            accepted = accepted and value[2] == 0
        elif kind == 0x50:
            limit = next((struct.unpack(">I", v)[0] for k, v in _items(value) if k == 0x51), 0)
    if not accepted:
        raise ProtocolError("the peer does not accept all that was proposed in Explicit VR Little Endian")
    # Zero means that the peer sets no limit (PS3.8 annex D.1.1).
    return min(limit or LARGEST_PDU, LARGEST_PDU)


def _items(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    position = 0
    while position + 4 <= len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        found.append((kind, data[position + 4 : position + 4 + length]))
        position += 4 + length
    return found


def command_set(elements: Mapping[int, bytes]) -> bytes:
    """A command set with its group length (PS3.7 section 6.3.1), from element numbers and values."""
    body = b"".join(_element(0, number, elements[number]) for number in sorted(elements))
    return _element(0, 0x0000, struct.pack("<I", len(body))) + body


def us(value: int) -> bytes:
    """A US value."""
    return struct.pack("<H", value)


def pdu(context: int, control: int, fragment: bytes) -> bytes:
    """A P-DATA-TF PDU of one PDV (PS3.8 section 9.3.5)."""
    return struct.pack(">BxIIBB", P_DATA, len(fragment) + 6, len(fragment) + 2, context, control) + fragment


def explicit(group: int, element: int, vr: bytes, value: bytes = b"") -> bytes:
    """A data element of a short VR in Explicit VR Little Endian (PS3.5 section 7.1.2)."""
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def _element(group: int, element: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", group, element, len(value)) + value


def store_request(message_id: int, instance: str, data_set: bytes, max_pdu: int) -> bytes:
    """Return the whole C-STORE-RQ, command and data set, as one run of P-DATA-TF PDUs."""
    command = command_set(
        {
            0x0002: CT_IMAGE_STORAGE.encode(),
            0x0100: us(0x0001),
            0x0110: us(message_id),
            0x0700: us(0x0000),
            0x0800: us(0x0000),  # anything but 0x0101: a data set follows
            0x1000: instance.encode(),
        }
    )
    pieces = [pdu(CONTEXT_ID, 0x03, command)]
    room = max_pdu - 6  # length, context and control header of the one PDV in each PDU
    for start in range(0, len(data_set), room):
        last = start + room >= len(data_set)
        pieces.append(pdu(CONTEXT_ID, 0x02 if last else 0x00, data_set[start : start + room]))
    return b"".join(pieces)


def response_status(body: bytes) -> tuple[int, int]:
    """Return (Message ID Being Responded To, Status) of a response that fits into one PDV, as all do."""
    length, _context, control = struct.unpack_from(">IBB", body)
    if control & 0x03 != 0x03:
        raise ProtocolError(f"expected a whole command, received a fragment with control header {control:#04x}")
    values = elements_of(body[6 : 4 + length])
    return struct.unpack("<H", values[0x0120])[0], struct.unpack("<H", values[0x0900])[0]


def elements_of(command: bytes) -> dict[int, bytes]:
    """The values of a command set by element number."""
    values: dict[int, bytes] = {}
    position = 0
    while position + 8 <= len(command):
        _group, element, size = struct.unpack_from("<HHI", command, position)
        values[element] = command[position + 8 : position + 8 + size]
        position += 8 + size
    return values
