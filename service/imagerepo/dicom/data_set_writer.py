"""Write small data sets: the identifiers of answers, what an N-service tells.

Sequences and items have defined lengths. Text is ASCII where it can be, else in the character set that was asked for,
else Unicode: (0008,0005) says which.

Source: PS3.5 sections 6.2 (VR), 7.1 (Data Elements), 7.5 (Nesting), Annex A; PS3.3 C.12.1.1.2.
"""

import struct
import zlib
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

from imagerepo.dicom.charset_encoding import UNICODE, encoder_of
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES, ITEM, LONG_VRS, Encoding, encoding_of
from imagerepo.model.header import Attribute, Header
from imagerepo.model.uids import Uid

SPECIFIC_CHARACTER_SET: Final = "00080005"

_NUL_PADDED: Final = frozenset({"UI", "OB", "UN"})
_OF_CHARSET: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_INTEGERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q"}
_REALS: Final = {"FL": "f", "FD": "d"}
_LONGEST_SHORT: Final = 0xFFFE  # bytes of a value with a 16-bit length

ToBytes: TypeAlias = Callable[[str], bytes]
"""Text in the data set's character set. Raises UnicodeEncodeError."""


@dataclass(frozen=True, slots=True)
class Form:
    """How elements are laid out in one transfer syntax."""

    explicit: bool
    order: str  # of struct: "<" or ">"
    deflated: bool

    def element(self, tag: str, vr: str, value: bytes) -> bytes:
        """One element; the value is padded to even length."""
        if len(value) % 2:
            value += b"\0" if vr in _NUL_PADDED else b" "
        return self.opening(tag, vr, len(value)) + value

    def opening(self, tag: str, vr: str, length: int) -> bytes:
        """An element's header."""
        group, element = int(tag[:4], 16), int(tag[4:], 16)
        if not self.explicit:
            return struct.pack(f"{self.order}HHI", group, element, length)
        written = vr.encode("ascii")
        if written in LONG_VRS:
            return struct.pack(f"{self.order}HH2s2xI", group, element, written, length)
        if length > _LONGEST_SHORT:  # PS3.5 6.2.2, note 5
            return struct.pack(f"{self.order}HH2s2xI", group, element, b"UN", length)
        return struct.pack(f"{self.order}HH2sH", group, element, written, length)

    def item(self, content: bytes) -> bytes:
        """One item of a sequence."""
        return struct.pack(f"{self.order}HHI", ITEM >> 16, ITEM & 0xFFFF, len(content)) + content

    def whole(self, elements: bytes) -> bytes:
        """The data set as it is sent."""
        if not self.deflated:
            return elements
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        deflated = deflater.compress(elements) + deflater.flush()
        return deflated + b"\0" * (len(deflated) % 2)


@cache
def form_of(transfer_syntax: str) -> Form:
    """The form of a transfer syntax."""
    encoding: Encoding = encoding_of(Uid(transfer_syntax))
    return Form(encoding.explicit, "<" if encoding.little else ">", transfer_syntax in DEFLATED_SYNTAXES)


def encode_data_set(attributes: Header, transfer_syntax: str, charset: str = "") -> bytes:
    """A data set of `attributes`, in order of tags; (0008,0005) is made, not taken from them.

    Args:
        attributes: values as text or numbers, items as Headers.
        transfer_syntax: any; compressed ones are written as explicit little endian.
        charset: Specific Character Set preferred for text that is not ASCII.
    """
    form = form_of(transfer_syntax)

    def write(named: str, to_bytes: ToBytes) -> bytes:
        own = {SPECIFIC_CHARACTER_SET: Attribute("CS", tuple(named.split("\\")))} if named else {}
        return form.whole(_elements({**_without_charset(attributes), **own}, form, to_bytes))

    return in_charset(charset, write)


def in_charset(charset: str, write: Callable[[str, ToBytes], bytes]) -> bytes:
    """What `write` makes with the first character set that has all of its text.

    Args:
        charset: Specific Character Set tried after ASCII and before Unicode; '': none.
        write: is given the character set's name ('': the default repertoire) and how to encode with it.
    """
    try:
        return write("", _ascii)
    except UnicodeEncodeError:
        return beyond_ascii(charset, write)


def beyond_ascii(charset: str, write: Callable[[str, ToBytes], bytes]) -> bytes:
    """Likewise, of text that is known not to be ASCII."""
    if charset and charset != UNICODE:
        encoder = encoder_of(charset)

        def to_bytes(text: str) -> bytes:
            encoded = encoder.encode(text)
            if encoded is None:
                raise UnicodeEncodeError("ascii", text, 0, len(text), f"not in {charset}")
            return encoded

        try:
            return write(charset, to_bytes)
        except UnicodeEncodeError:
            pass
    return write(UNICODE, _unicode)


def _ascii(text: str) -> bytes:
    return text.encode("ascii")


def _unicode(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _without_charset(attributes: Header) -> Header:
    """These with no character set of their own: they are written in that of the whole data set."""
    return {tag: one for tag, one in attributes.items() if tag != SPECIFIC_CHARACTER_SET}


def _elements(attributes: Header, form: Form, to_bytes: ToBytes) -> bytes:
    return b"".join(attribute_element(tag, attributes[tag], form, to_bytes) for tag in sorted(attributes))


def attribute_element(tag: str, attribute: Attribute, form: Form, to_bytes: ToBytes) -> bytes:
    """One attribute as an element; empty where its value is not at hand."""
    if attribute.vr == "SQ":
        items = [form.item(_elements(item, form, to_bytes)) for item in attribute.values if isinstance(item, Mapping)]
        content = b"".join(items)
        return form.opening(tag, "SQ", len(content)) + content
    return form.element(tag, attribute.vr, _value(attribute, form, to_bytes))


def _value(attribute: Attribute, form: Form, to_bytes: ToBytes) -> bytes:
    vr = attribute.vr
    if attribute.inline:
        return b64decode(attribute.inline) if vr in _NUL_PADDED else b""  # wider words would have to be swapped
    values = [one for one in attribute.values if not isinstance(one, Mapping)]
    if vr in _INTEGERS:
        return struct.pack(f"{form.order}{len(values)}{_INTEGERS[vr]}", *(int(one or 0) for one in values))
    if vr in _REALS:
        return struct.pack(f"{form.order}{len(values)}{_REALS[vr]}", *(float(one or 0) for one in values))
    if vr == "AT":
        halves = [int(part, 16) for one in map(str, values) for part in (one[:4], one[4:])]
        return struct.pack(f"{form.order}{len(halves)}H", *halves)
    text = "\\".join(map(str, values))
    return to_bytes(text) if vr in _OF_CHARSET else text.encode("latin_1", "replace")
