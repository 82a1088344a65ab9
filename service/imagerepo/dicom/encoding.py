"""How elements are encoded: the transfer syntaxes, their byte order and their VRs.

Source: PS3.5 section 7.1 (Data Elements), Annex A (Transfer Syntax Specifications).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imagerepo.errors import BadDicomError
from imagerepo.model.arrival import Buffer
from imagerepo.model.uids import Uid

IMPLICIT_VR_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2")
EXPLICIT_VR_BIG_ENDIAN: Final = Uid("1.2.840.10008.1.2.2")
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2.1.99")
DEFLATED_SYNTAXES: Final = frozenset(
    {
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        Uid("1.2.840.10008.1.2.4.95"),  # JPIP Referenced Deflate
        Uid("1.2.840.10008.1.2.4.205"),  # JPIP HTJ2K Referenced Deflate
    }
)

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_DELIMITER: Final = 0xFFFEE00D
SEQUENCE_DELIMITER: Final = 0xFFFEE0DD

# PS3.5 Table 7.1-2: tag, VR, 16-bit length.
SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
# PS3.5 Table 7.1-1: tag, VR, two reserved bytes, 32-bit length.
LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
KNOWN_VRS: Final = SHORT_VRS | LONG_VRS


class MalformedError(BadDicomError):
    """An element is not where or what its data set's structure demands."""

    def __init__(self, tag: int, offset: int, reason: str) -> None:
        super().__init__(f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) at byte {offset}: {reason}")
        self.tag = tag
        self.offset = offset  # bytes from the start of the buffer that was read
        self.reason = reason

    def moved(self, by: int) -> "MalformedError":
        """The same with its offset counted from `by` bytes earlier."""
        return MalformedError(self.tag, self.offset + by, self.reason)


def _little_tag(raw: int) -> int:
    return (raw & 0xFFFF) << 16 | raw >> 16


def _big_tag(raw: int) -> int:
    return raw


@dataclass(frozen=True, slots=True, eq=False)  # there are four, told apart by which they are
class Encoding:
    """How to read element headers.

    A tag is read as one 32-bit integer ("raw"), which in little endian has group and element
    swapped: comparing it as it is saves the arithmetic in the loops over all elements.
    """

    explicit: bool
    little: bool
    short_header: Callable[[Buffer, int], tuple[int, bytes, int]]  # raw tag, VR, 16-bit length
    plain_header: Callable[[Buffer, int], tuple[int, int]]  # raw tag, 32-bit length
    length32: Callable[[Buffer, int], tuple[int]]
    tag: Callable[[int], int]  # raw tag -> tag, and back
    group_mask: int  # the bits of a raw tag that are its group
    item_group: int  # the group of items and delimiters, FFFE, in these bits


def _encoding(*, explicit: bool, little: bool) -> Encoding:
    order = "<" if little else ">"
    return Encoding(
        explicit=explicit,
        little=little,
        short_header=struct.Struct(f"{order}I2sH").unpack_from,
        plain_header=struct.Struct(f"{order}II").unpack_from,
        length32=struct.Struct(f"{order}I").unpack_from,
        tag=_little_tag if little else _big_tag,
        group_mask=0xFFFF if little else 0xFFFF0000,
        item_group=ITEM >> 16 if little else ITEM & 0xFFFF0000,
    )


IMPLICIT_LITTLE: Final = _encoding(explicit=False, little=True)
EXPLICIT_LITTLE: Final = _encoding(explicit=True, little=True)
EXPLICIT_BIG: Final = _encoding(explicit=True, little=False)
IMPLICIT_BIG: Final = _encoding(explicit=False, little=False)  # a stray element, never a syntax


def encoding_of(transfer_syntax: Uid) -> Encoding:
    """The encoding of a data set, once inflated; every syntax not named here is explicit little endian."""
    if transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN:
        return IMPLICIT_LITTLE
    if transfer_syntax == EXPLICIT_VR_BIG_ENDIAN:
        return EXPLICIT_BIG
    return EXPLICIT_LITTLE
