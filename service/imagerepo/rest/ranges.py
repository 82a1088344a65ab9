"""One range of bytes.

Source: RFC 9110 section 14.2 (Range), 13.1.5 (If-Range).
"""

import re
from typing import Final

from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import RangeError

_ONE: Final = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*\Z")


def asked_range(exchange: Exchange, size: int, tag: str) -> tuple[int, int] | None:
    """The range that is asked for, as (offset, length); None: everything.

    Several ranges are answered with everything, as RFC 9110 allows.

    Raises:
        RangeError: it begins beyond the end.
    """
    found = _ONE.match(exchange.header(b"range"))
    if found is None or found[0].endswith("=-") or exchange.header(b"if-range") not in {"", tag}:
        return None
    first, last = found[1], found[2]
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size - int(last)), size
        if not int(last):
            raise RangeError(size)
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size:
        raise RangeError(size)
    return start, end - start
