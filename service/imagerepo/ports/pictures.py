"""Pictures from stored pixel data."""

from collections.abc import Iterable
from typing import Protocol

from imagerepo.model.picture import Sheet, View


class Painter(Protocol):
    """Makes pictures. Safe to call from any number of threads.

    Whatever the bytes are, the caller's process goes on: decoders are other people's code, and the bytes a stranger's.
    """

    def paint(self, sheet: Sheet, pieces: Iterable[bytes], view: View) -> bytes:
        """One picture in `view.coding`; blocks, for no longer than its limit of time.

        Args:
            sheet: what comes in `pieces`.
            pieces: header, head of the pixel data element, pixel data, one after another; read once, and not held.
            view: how it is to look.

        Raises:
            NotAcceptableError: no picture can be made of it; says why.
            UnavailableError: none can be made at the moment.
        """
        ...

    def close(self) -> None:
        """Let go of what was started; nothing may be under way."""
        ...
