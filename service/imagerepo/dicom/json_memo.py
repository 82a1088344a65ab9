"""What the instances of a series repeat, remembered as the JSON that it becomes.

Most elements of a series are the same in each of its instances, and stand in the same order: they are looked up by
their bytes, one by one or as stretches of many. What stands here depends on nothing but these bytes and the
character set: elements that change how others are read are left out by the encoder.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from imagerepo.dicom.charset import Charset

VALUE_LIMIT: Final = 128
"""Bytes of a value up to which its member is remembered."""
SEQUENCE_LIMIT: Final = 2048
"""Likewise of a sequence."""

_ENTRIES: Final = 4096  # then it begins anew, so that hostile data sets cannot fill memory
_CHARSETS: Final = 4
_STRETCHES: Final = 256  # likewise
_STRETCH_LIMIT: Final = 4096  # bytes
_STRETCH_LEAST: Final = 3  # elements
KEY: Final = 8
"""Bytes by which a stretch is found: its first tag, VR and length."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Elements that stood next to each other."""

    data: bytes
    ends: tuple[int, ...]  # of each element, in bytes from the first one's tag
    members: dict[int, str]  # of each, in their order

    def upto(self, count: int) -> "Stretch":
        """Its first elements."""
        return Stretch(self.data[: self.ends[count - 1]], self.ends[:count], dict(islice(self.members.items(), count)))


_NOTHING: Final = Stretch(b"", (), {})


@dataclass(slots=True)
class Memo:
    """What is remembered of data sets in one character set."""

    elements: dict[bytes, tuple[int, str]] = field(default_factory=dict[bytes, tuple[int, str]])  # tag and member
    stretches: dict[bytes, Stretch] = field(default_factory=dict[bytes, Stretch])

    def keep(self, element: bytes, tag: int, member: str) -> None:
        """Remember an element."""
        if len(self.elements) < _ENTRIES:
            self.elements[element] = (tag, member)

    def keep_stretch(self, data: bytes, ends: list[int], members: dict[int, str]) -> None:
        """Remember elements that were all known."""
        if len(members) != len(ends) or len(ends) < _STRETCH_LEAST or len(data) > _STRETCH_LIMIT:
            return
        if len(self.stretches) >= _STRETCHES:
            self.stretches.clear()
        self.stretches[data[:KEY]] = Stretch(data, tuple(ends), members)

    def shorten(self, stretch: Stretch, data: bytes, pos: int) -> int:
        """Keep of a stretch what `data` have at `pos` too, be it nothing: then none begins with such an element.

        Returns:
            Bytes from `pos` to the element that differs.
        """
        same = bisect_right(stretch.ends, 0, key=lambda end: not data.startswith(stretch.data[:end], pos))
        shorter = self.stretches[data[pos : pos + KEY]] = stretch.upto(same) if same else _NOTHING
        return len(shorter.data)


_MEMOS: Final[dict[Charset, Memo]] = {}


def memo_of(charset: Charset) -> Memo:
    """What is remembered of explicit little endian data sets in this character set."""
    memo = _MEMOS.get(charset)
    if memo is None or len(memo.elements) >= _ENTRIES:
        if len(_MEMOS) > _CHARSETS:
            _MEMOS.clear()
        memo = _MEMOS[charset] = Memo()
    return memo
