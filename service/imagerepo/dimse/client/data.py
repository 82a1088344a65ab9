"""Data sets that we send: identifiers from memory, instances from files.

Source: PS3.8 section 9.3.5 (P-DATA-TF), Annex E (PDV encoding).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imagerepo.dimse.pdu import LAST, Framing, data_pdus, pdus, step
from imagerepo.errors import DamagedError
from imagerepo.model.arrival import Buffer

_AT_ONCE: Final = 256 * 1024
"""Bytes read and written at a time: many PDUs of a peer that takes small ones only."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """A data set in memory."""

    data: bytes

    def fragments(self, framing: Framing) -> Iterator[Sequence[Buffer]]:
        """All of it at once."""
        yield (data_pdus(framing.context_id, self.data, 0, framing.max_length),)


@dataclass(frozen=True, slots=True)
class FileData:
    """The data set of a Part 10 file, never whole in memory."""

    path: Path
    offset: int  # bytes; where it begins
    size: int  # bytes of the whole file

    def fragments(self, framing: Framing) -> Iterator[Sequence[Buffer]]:
        """PDUs in batches, from one buffer that is used again; fragments but the last one are of even length.

        Raises:
            DamagedError: the file has become shorter since, or cannot be read.
        """
        size = step(framing, _AT_ONCE)
        left = self.size - self.offset
        room = memoryview(bytearray(min(max(_AT_ONCE // size, 1) * size, left)))
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset)
                while left:
                    batch = room[: min(len(room), left)]
                    _fill(file.readinto, batch)
                    left -= len(batch)
                    yield pdus(batch, framing, LAST if not left else 0)
        except (OSError, EOFError) as error:
            raise DamagedError(f"{self.path} cannot be read: {error}") from error


def _fill(read: Callable[[memoryview], int | None], room: memoryview) -> None:
    while room:
        count = read(room)
        if not count:
            raise EOFError("it ends early")
        room = room[count:]
