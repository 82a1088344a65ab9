"""What proves the journal: lines that follow each other, and bytes that are what their lines say."""

from collections.abc import Callable
from typing import Any, Final

from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.lines import Link, StoreLine
from imagerepo.errors import DamagedError
from imagerepo.model.instance import Range
from imagerepo.model.integrity import Integrity

_PIECE: Final = 4 << 20  # bytes


def follow(link: Link, line: bytes, fields: dict[str, Any], chain: str, place: str) -> Link:
    """Where a chain stands behind one more line. Raises DamagedError, which begins with `place`."""
    expected = link.sequence + 1
    if fields["seq"] != expected:
        raise DamagedError(f"{place}: chain {chain} goes from entry {link.sequence} to {fields['seq']}")
    if fields["prev"] != link.digest:
        raise DamagedError(
            f"{place}: chain {chain} is broken between entries {link.sequence} and {expected}: one of them was changed"
        )
    return lines.follow(link, line)


def wrong_bytes(stored: StoreLine, read: Callable[[Range], bytes]) -> str | None:
    """What is wrong with the bytes of an instance; `read` raises DamagedError for what is missing."""
    integrity = Integrity(stored.data_set_offset)
    try:
        for where in stored.ranges:
            for start in range(0, where.length, _PIECE):
                length = min(_PIECE, where.length - start)
                integrity.add(read(Range(where.store, where.key, where.offset + start, length)))
    except DamagedError as error:
        return str(error)
    if not integrity.holds(stored.digest, stored.crc32):
        return f"the bytes of instance {stored.instance_uid} were changed"
    return None
