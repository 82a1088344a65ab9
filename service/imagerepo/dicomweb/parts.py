"""Write multipart/related answers: each part's header beside its bytes, and the length known beforehand.

The boundary is made of the digest of what is sent, so no part can contain it but by chance, and the same answer
has the same bytes.

Source: RFC 2046 section 5.1.1, PS3.18 section 8.6.1.2.1 (multipart/related payloads).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from imagerepo.model.uids import Uid

DICOM: Final = "application/dicom"


@dataclass(frozen=True, slots=True)
class Frame:
    """The envelope of one multipart answer."""

    boundary: str
    media_type: str  # of the parts

    @property
    def content_type(self) -> bytes:
        """The answer's Content-Type."""
        return f'multipart/related; type="{self.media_type}"; boundary={self.boundary}'.encode()

    def opening(self, part_type: bytes) -> bytes:
        """What stands before the first part."""
        return b"--" + self.boundary.encode() + part_type

    def between(self, part_type: bytes) -> bytes:
        """What stands before each other part."""
        return b"\r\n--" + self.boundary.encode() + part_type

    @property
    def closing(self) -> bytes:
        """What stands after the last part."""
        return b"\r\n--" + self.boundary.encode() + b"--\r\n"


@lru_cache(maxsize=256)
def part_type(media_type: str, transfer_syntax: Uid) -> bytes:
    """A part's header, from the end of the boundary's line to the empty line."""
    return f"\r\nContent-Type: {media_type}; transfer-syntax={transfer_syntax}\r\n\r\n".encode()


BOUNDARY_LENGTH: Final = 32


def overhead(part: bytes) -> int:
    """Bytes that a part adds to its content, as if it were not the first."""
    return 4 + BOUNDARY_LENGTH + len(part)


def total(content: int) -> int:
    """Bytes of an answer whose parts have `content`, their `overhead` included."""
    return content - 2 + 4 + BOUNDARY_LENGTH + 4
