"""Build data sets byte by byte, sound ones and others."""

import struct

UIDS = {0x00080016: "1.2.840.10008.5.1.4.1.1.2", 0x00080018: "1.2.3", 0x0020000D: "1.2.4", 0x0020000E: "1.2.5"}
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
UNDEFINED = 0xFFFFFFFF


def element(tag, vr, value=b"", *, length=None, order="<"):
    """One element in explicit VR; `length` may lie."""
    if isinstance(value, str):
        value = value.encode("latin_1")
        if len(value) % 2:
            value += b"\0" if vr == "UI" else b" "
    size = len(value) if length is None else length
    head = struct.pack(f"{order}HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack(f"{order}HI", 0, size) if vr in LONG else struct.pack(f"{order}H", size)) + value


def implicit(tag, value=b"", *, length=None):
    """One element in implicit VR."""
    size = len(value) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, size) + value


def item(content=b"", *, length=None):
    return implicit(0xFFFEE000, content, length=length)


def open_item(content=b""):
    return item(content, length=UNDEFINED) + implicit(0xFFFEE00D)


SEQUENCE_END = implicit(0xFFFEE0DD)
ITEM_END = implicit(0xFFFEE00D)


def data_set(*elements):
    """The identifying UIDs followed by `elements`, explicit little endian."""
    return b"".join([element(tag, "UI", uid) for tag, uid in UIDS.items()]) + b"".join(elements)


def image(pixel, *, rows=2, columns=2, bits=8, samples=1, frames=None, photometric="MONOCHROME2"):
    """A data set with the image module's elements and `pixel` at its end."""
    return data_set(
        element(0x00280002, "US", struct.pack("<H", samples)),
        element(0x00280004, "CS", photometric),
        b"" if frames is None else element(0x00280008, "IS", str(frames)),
        element(0x00280010, "US", struct.pack("<H", rows)),
        element(0x00280011, "US", struct.pack("<H", columns)),
        element(0x00280100, "US", struct.pack("<H", bits)),
        pixel,
    )


def encapsulated(fragments, offsets=()):
    """Pixel Data of fragments, behind a Basic Offset Table."""
    table = struct.pack(f"<{len(offsets)}I", *offsets)
    items = item(table) + b"".join(map(item, fragments))
    return element(0x7FE00010, "OB", items + SEQUENCE_END, length=UNDEFINED)


def nested(depth, *, defined):
    """Sequences of one item each, `depth` of them within each other."""
    content = b""
    for _ in range(depth):
        if defined:
            content = element(0x00081140, "SQ", item(content))
        else:
            content = element(0x00081140, "SQ", open_item(content) + SEQUENCE_END, length=UNDEFINED)
    return content
