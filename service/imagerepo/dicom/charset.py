"""Text by Specific Character Set (0008,0005), with code extensions.

Whatever the bytes are, text comes out: what cannot be decoded becomes a replacement character, and an
unknown character set is read as the default one. An archive must index what it is sent.

Source: PS3.3 C.12.1.1.2 (Specific Character Set), PS3.5 section 6.1.2.5 (Code Extension Techniques).
"""

import re
from functools import lru_cache
from typing import Final, TypeAlias

Charset: TypeAlias = tuple[str, ...]
"""Python codecs: the first is in force at the start of each value, the others are escaped to."""

# The default repertoire is ASCII; bytes above it are read as Latin 1, which devices mean most often.
DEFAULT: Final[Charset] = ("latin_1",)

# PS3.3 Tables C.12-2 to C.12-5, by the number that follows "ISO_IR " or "ISO 2022 IR ".
_REGISTERED: Final = {
    "6": "latin_1",
    "13": "shift_jis",  # a superset of JIS X 0201
    "58": "gb2312",
    "87": "iso2022_jp",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "tis_620",
    "192": "utf_8",
    "203": "iso8859_15",
}
# Without code extensions (PS3.3 Table C.12-5); spellings of Python's codecs occur in the field.
_ALONE: Final = {
    "GB18030": "gb18030",
    "GBK": "gbk",
    "ISO 2022 GBK": "gbk",
    "ISO 2022 58": "gb2312",
    "UTF-8": "utf_8",
    "UTF8": "utf_8",
    "LATIN1": "latin_1",
    "LATIN_1": "latin_1",
}
_STAND_ALONE: Final = frozenset({"utf_8", "gb18030", "gbk"})
_NUMBERED: Final = re.compile(r"ISO[ _-]?(?:2022[ _-]?)?IR[ _-]?(\d+)\Z")

# PS3.3 Tables C.12-3 and C.12-4: what each escape sequence switches to.
_ESCAPES: Final = {
    b"\x1b(B": "latin_1",
    b"\x1b-A": "latin_1",
    b"\x1b)I": "shift_jis",
    b"\x1b(J": "shift_jis",
    b"\x1b$B": "iso2022_jp",
    b"\x1b$@": "iso2022_jp",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso8859_7",
    b"\x1b-G": "iso8859_6",
    b"\x1b-H": "iso8859_8",
    b"\x1b-L": "iso8859_5",
    b"\x1b-M": "iso8859_9",
    b"\x1b-T": "tis_620",
    b"\x1b-b": "iso8859_15",
    b"\x1b$)C": "euc_kr",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)A": "gb2312",
}
# These codecs read their own escape sequences; from the others they are cut off.
_SELF_ESCAPING: Final = frozenset({"iso2022_jp", "iso2022_jp_2"})
_PARTS: Final = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_CONTROLS: Final = re.compile(rb"[\t\n\f\r]")
_CONTROLS_OR_CARET: Final = re.compile(rb"[\t\n\f\r^=]")


@lru_cache(maxsize=256)
def charset_of(value: bytes) -> Charset:
    """The character set that a value of (0008,0005) names."""
    terms = [term.strip(" \0") for term in value.decode("latin_1").split("\\")]
    codecs = [_codec(term) for term in terms]
    first = codecs[0] or "latin_1"
    if first in _STAND_ALONE:
        return (first,)
    return (first, *(codec for codec in codecs[1:] if codec is not None and codec not in _STAND_ALONE))


def _codec(term: str) -> str | None:
    term = term.upper()
    if term in _ALONE:
        return _ALONE[term]
    numbered = _NUMBERED.match(term)
    return _REGISTERED.get(numbered[1]) if numbered else None


def decode(value: bytes, charset: Charset) -> str:
    """Decode a text value; line ends and tabs reset the code extension (PS3.5 6.1.2.5.3)."""
    if b"\x1b" not in value:
        return value.decode(charset[0], "replace")
    return _decode_escaped(value, charset, _CONTROLS)


def decode_name(value: bytes, charset: Charset) -> str:
    """Decode a person name, in which `^` and `=` reset the code extension too."""
    if b"\x1b" not in value:
        return value.decode(charset[0], "replace")
    return _decode_escaped(value, charset, _CONTROLS_OR_CARET)


def _decode_escaped(value: bytes, charset: Charset, resets: re.Pattern[bytes]) -> str:
    return "".join(_decode_part(part, charset, resets) for part in _PARTS.findall(value))


def _decode_part(part: bytes, charset: Charset, resets: re.Pattern[bytes]) -> str:
    first = charset[0]
    if part[:1] != b"\x1b":
        return part.decode(first, "replace")
    width = 4 if part[:3] in {b"\x1b$(", b"\x1b$)"} else 3
    codec = _ESCAPES.get(part[:width])
    if codec is None:
        return part.decode(first, "replace")
    if codec in _SELF_ESCAPING:
        return part.decode(codec, "replace")
    part = part[width:]
    reset = resets.search(part)
    if reset is None:
        return part.decode(codec, "replace")
    return part[: reset.start()].decode(codec, "replace") + part[reset.start() :].decode(first, "replace")


def names() -> tuple[str, ...]:
    """The defined terms that are read, without code extensions (PS3.3 Tables C.12-2 and C.12-5)."""
    registered = sorted((f"ISO_IR {number}" for number in _REGISTERED), key=lambda name: int(name.split()[1]))
    return (*registered, "GB18030", "GBK")
