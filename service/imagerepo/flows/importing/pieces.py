"""The bytes of a candidate, a piece at a time."""

from collections.abc import Iterator
from typing import Final

from imagerepo.errors import BadDicomError
from imagerepo.model.imports import Candidate

_PIECE: Final = 640 << 10  # bytes


def pieces(candidate: Candidate) -> Iterator[bytes]:
    """Its bytes, of which there are `candidate.size`.

    Raises:
        BadDicomError: it cannot be read, or has changed since it was found.
    """
    content = candidate.content
    if isinstance(content, bytes):
        yield content
        return
    left = candidate.size
    try:
        with content.open() as stream:
            while left > 0 and (piece := stream.read(min(_PIECE, left))):
                left -= len(piece)
                yield piece
    except OSError as error:
        raise BadDicomError(f"it cannot be read: {error.strerror}") from error
    if left:
        raise BadDicomError("it changed while it was read; import it again")
