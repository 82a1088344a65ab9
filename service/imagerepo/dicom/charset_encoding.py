"""Text to bytes in a Specific Character Set, for answers to those who cannot read Unicode.

Source: PS3.3 C.12.1.1.2 (Specific Character Set), PS3.5 section 6.1.2.5 (Code Extension Techniques).
"""

import re
from functools import lru_cache
from typing import Final, TypeAlias

from imagerepo.dicom.charset import charset_of

UNICODE: Final = "ISO_IR 192"

_Codec: TypeAlias = tuple[str, bytes]
"""A Python codec and the escape sequence that switches to it; the codec may write its own."""

_DEFAULT: Final[_Codec] = ("ascii", b"")
# PS3.3 Tables C.12-3 and C.12-4: the escape sequence before text in each set.
_ESCAPES: Final = {
    "13": b"\x1b)I",
    "58": b"\x1b$)A",
    "100": b"\x1b-A",
    "101": b"\x1b-B",
    "109": b"\x1b-C",
    "110": b"\x1b-D",
    "126": b"\x1b-F",
    "127": b"\x1b-G",
    "138": b"\x1b-H",
    "144": b"\x1b-L",
    "148": b"\x1b-M",
    "149": b"\x1b$)C",
    "166": b"\x1b-T",
    "203": b"\x1b-b",
    "87": b"",  # iso2022_jp escapes, and returns to ASCII, by itself
    "159": b"",
}
# Python's codecs write more than the sets they stand for: what shows that a text is not in the set itself.
_SHIFT_JIS: Final = "shift_jis"
_OWN_ESCAPES: Final = {
    "iso2022_jp": frozenset({b"\x1b$B", b"\x1b(B"}),
    "iso2022_jp_2": frozenset({b"\x1b$(D", b"\x1b(B"}),
}
_ESCAPE: Final = re.compile(rb"\x1b(?:\$?[(.)]?.|N)", re.DOTALL)
_NUMBER: Final = re.compile(r"(\d+)\Z")
# Line ends, and in names carets and equals signs, reset code extensions (PS3.5 6.1.2.5.3); so does a backslash.
_SEGMENTS: Final = re.compile(r"[\t\n\f\r^=\\]|[^\t\n\f\r^=\\]+")


class CharsetEncoder:
    """Encodes text in one Specific Character Set."""

    def __init__(self, codecs: tuple[_Codec, ...]) -> None:
        self._codecs = codecs

    def encode(self, text: str) -> bytes | None:
        """The bytes of `text`; None: it cannot be written in this character set."""
        whole = _encode(text, self._codecs[0][0])
        if whole is not None or len(self._codecs) == 1:
            return whole
        parts = [self._segment(segment) for segment in _SEGMENTS.findall(text)]
        return None if None in parts else b"".join(part for part in parts if part is not None)

    def _segment(self, segment: str) -> bytes | None:
        for number, (codec, escape) in enumerate(self._codecs):
            encoded = _encode(segment, codec)
            if encoded is not None:
                return escape + encoded if number else encoded
        return None


def _encode(text: str, codec: str) -> bytes | None:
    try:
        encoded = text.encode(codec)
    except UnicodeEncodeError:
        return None
    if codec == _SHIFT_JIS and len(encoded) != len(text):  # JIS X 0201 has single bytes alone
        return None
    own = _OWN_ESCAPES.get(codec)
    if own is not None and not own.issuperset(_ESCAPE.findall(encoded)):
        return None
    return encoded


@lru_cache(maxsize=64)
def encoder_of(charset: str) -> CharsetEncoder:
    """The encoder for a Specific Character Set as named, its values joined by a backslash; '': the default."""
    terms = [term.strip(" ").upper() for term in charset.split("\\")]
    codecs = [_codec(term) or _DEFAULT for term in terms]
    # Unknown terms stand for nothing: what cannot be written is then written otherwise.
    return CharsetEncoder((codecs[0], *(codec for codec in codecs[1:] if codec != _DEFAULT)))


def _codec(term: str) -> _Codec | None:
    number = _NUMBER.search(term)
    if not term or term.endswith("IR 6"):
        return None
    name = charset_of(term.encode("latin_1", "replace"))[0]
    if name == "latin_1" and not term.endswith(("100", "LATIN1", "LATIN_1")):
        return None  # not known
    return name, _ESCAPES.get(number[1], b"") if number else b""
