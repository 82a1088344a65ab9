"""Element values as DICOM JSON: one converter for each VR.

A converter gives what follows `"vr":"XX"` in the element's object, starting with a comma, or '' for an
empty value; None if the value is not of that VR at all, which is then given as the bytes it is.

Source: PS3.18 F.2 (DICOM JSON Model), Table F.2.3-1 (DICOM VR to JSON Data Type Mapping).
"""

import math
import re
import struct
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Final, TypeAlias

from imagerepo.dicom.charset import Charset, decode, decode_name

quote: Final[Callable[[str], str]] = encode_basestring
"""A JSON string of any text, in quotes; what is not ASCII is left as it is."""


@dataclass(slots=True)
class Scope:
    """What the reading of values depends on within one data set; items inherit a copy."""

    charset: Charset
    signed: bool  # Pixel Representation (0028,0103) is 1
    wave_bits: int  # Waveform Bits Allocated (5400,1004)
    address: str  # what values given by reference are below
    depth: int  # sequences around it

    def inner(self, address: str) -> "Scope":
        """The scope of an item."""
        return Scope(self.charset, self.signed, self.wave_bits, address, self.depth + 1)


Converter: TypeAlias = Callable[[bytes, Scope, bool], str | None]
"""(value, scope, little endian) -> text."""

# A number as JSON writes it; DS has at most 16 characters, IS 12, and longer ones are given as text.
_JSON_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,31})(?:\.[0-9]{1,32})?(?:[eE][+-]?[0-9]{1,3})?\Z")
_JSON_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")
_LOOSE_DECIMAL: Final = re.compile(r"[+-]?[0-9]{0,64}\.?[0-9]{0,64}(?:[eE][+-]?[0-9]{1,3})?\Z")
_LOOSE_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}(?:\.0*)?\Z")


def _strings(text: str) -> str:
    if "\\" not in text:
        text = text.strip(" \0")
        return f',"Value":[{quote(text)}]' if text else ""
    values = [value.strip(" \0") for value in text.split("\\")]
    return f',"Value":[{",".join([quote(value) if value else "null" for value in values])}]' if any(values) else ""


def _code(value: bytes, scope: Scope, little: bool) -> str:  # noqa: FBT001 - the converters' one signature
    del scope, little
    return _strings(value.decode("latin_1"))


def _text(value: bytes, scope: Scope, little: bool) -> str:  # noqa: FBT001 - likewise
    del little
    return _strings(decode(value, scope.charset))


def _long_text(value: bytes, scope: Scope, little: bool) -> str:  # noqa: FBT001 - likewise
    del little
    text = decode(value, scope.charset).rstrip(" \0")
    return f',"Value":[{quote(text)}]' if text else ""


def _uri(value: bytes, scope: Scope, little: bool) -> str:  # noqa: FBT001 - likewise
    del scope, little
    text = value.decode("latin_1").rstrip(" \0")
    return f',"Value":[{quote(text)}]' if text else ""


_COMPONENTS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def _name(value: bytes, scope: Scope, little: bool) -> str:  # noqa: FBT001 - likewise
    del little
    text = decode_name(value, scope.charset).strip(" \0")
    if not text:
        return ""
    names = [_name_object(name) for name in text.split("\\")]
    return f',"Value":[{",".join(names)}]'


def _name_object(name: str) -> str:
    groups = zip(_COMPONENTS, name.split("="), strict=False)
    members = [
        f'"{key}":{quote(group)}' for key, group in ((key, group.strip(" \0")) for key, group in groups) if group
    ]
    return f"{{{','.join(members)}}}" if members else "null"


def _decimal(text: str) -> str:
    if _JSON_DECIMAL.match(text):
        return text
    if not text:
        return "null"
    if _LOOSE_DECIMAL.match(text) and any(map(str.isdigit, text)):
        try:
            number = float(text)
        except ValueError:
            return quote(text)
        if math.isfinite(number):
            return repr(number)
    return quote(text)


def _integer(text: str) -> str:
    if _JSON_INTEGER.match(text):
        return text
    if not text:
        return "null"
    if _LOOSE_INTEGER.match(text):
        return str(int(text.partition(".")[0]))
    return quote(text)


def _ds(value: bytes, scope: Scope, little: bool) -> str:  # noqa: FBT001 - likewise
    del scope, little
    text = value.decode("latin_1").strip(" \0")
    if not text:
        return ""
    if "\\" not in text:
        return f',"Value":[{_decimal(text)}]'
    return f',"Value":[{",".join([_decimal(part.strip(" ")) for part in text.split(chr(92))])}]'


def _is(value: bytes, scope: Scope, little: bool) -> str:  # noqa: FBT001 - likewise
    del scope, little
    text = value.decode("latin_1").strip(" \0")
    if not text:
        return ""
    return f',"Value":[{",".join([_integer(part.strip(" ")) for part in text.split(chr(92))])}]'


def _at(value: bytes, scope: Scope, little: bool) -> str | None:  # noqa: FBT001 - likewise
    del scope
    if len(value) % 4:
        return None
    pairs = struct.iter_unpack("<HH" if little else ">HH", value)
    tags = [f'"{group:04X}{element:04X}"' for group, element in pairs]
    return f',"Value":[{",".join(tags)}]' if tags else ""


def _whole(kind: str) -> Converter:
    """The converter of binary integers of one struct format."""
    one_little, one_big = struct.Struct(f"<{kind}"), struct.Struct(f">{kind}")
    size = one_little.size

    def convert(value: bytes, scope: Scope, little: bool) -> str | None:  # noqa: FBT001 - likewise
        del scope
        length = len(value)
        if length == size:
            return f',"Value":[{(one_little if little else one_big).unpack(value)[0]}]'
        if length % size:
            return None
        numbers = struct.unpack(f"{'<' if little else '>'}{length // size}{kind}", value)
        return f',"Value":[{",".join(map(str, numbers))}]' if numbers else ""

    return convert


def _real(number: float) -> str:
    """A number, or the string that stands for one that JSON does not have."""
    if math.isfinite(number):
        return repr(number)
    return '"NaN"' if math.isnan(number) else '"inf"' if number > 0 else '"-inf"'


def _float(kind: str) -> Converter:
    size = struct.calcsize(f"<{kind}")

    def convert(value: bytes, scope: Scope, little: bool) -> str | None:  # noqa: FBT001 - likewise
        del scope
        if len(value) % size:
            return None
        numbers = struct.unpack(f"{'<' if little else '>'}{len(value) // size}{kind}", value)
        return f',"Value":[{",".join(map(_real, numbers))}]' if numbers else ""

    return convert


# Words of each binary VR in bytes: a JSON object names no byte order, so all are little endian.
_WORDS: Final = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


def inline_binary(value: bytes, vr: str, *, little: bool) -> str:
    """A short binary value, base64."""
    if not value:
        return ""
    size = _WORDS.get(vr, 1)
    if size > 1 and not little and len(value) % size == 0:
        swapped = bytearray(len(value))
        for i in range(size):
            swapped[i::size] = value[size - 1 - i :: size]
        value = bytes(swapped)
    return f',"InlineBinary":"{b64encode(value).decode("ascii")}"'


CONVERTERS: Final[dict[str, Converter]] = {
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DT", "TM", "UI"), _code),
    **dict.fromkeys(("LO", "SH", "UC"), _text),
    **dict.fromkeys(("LT", "ST", "UT"), _long_text),
    "PN": _name,
    "UR": _uri,
    "DS": _ds,
    "IS": _is,
    "AT": _at,
    "US": _whole("H"),
    "SS": _whole("h"),
    "UL": _whole("I"),
    "SL": _whole("i"),
    "UV": _whole("Q"),
    "SV": _whole("q"),
    "FL": _float("f"),
    "FD": _float("d"),
}
BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
