"""What the values of a key ask for: from text as an identifier has it to a match.

Source: PS3.4 section C.2.2.2 (Attribute Matching), PS3.5 section 6.2 (DA, TM).
"""

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final

from imagerepo.errors import BadRequestError
from imagerepo.model.query import MOST_VALUES, Between, Equals, Match, OneOf, Wildcard
from imagerepo.model.uids import is_uid

_LONGEST: Final = 1024  # characters of a value; the standard's longest have 64
_LISTED: Final = frozenset({"AE", "CS", "DA", "IS", "SH", "UI"})  # compared as they are, whatever their case
_DATE: Final = re.compile(r"[0-9]{8}\Z")
_OLD_DATE: Final = re.compile(r"([0-9]{4})\.([0-9]{2})\.([0-9]{2})")  # of ACR-NEMA; to be understood (PS3.5 6.2)
_TIME: Final = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?\Z")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,12}\Z")


def match_of(name: str, vr: str, values: Sequence[str]) -> Match | None:
    """The match that a key's values ask for; None: any (universal matching, C.2.2.2.3).

    Ranges are in the order in which they were given: see `check_order`.

    Several values are a list, of which one has to match: the standard has that for UIDs, senders for codes too.

    Args:
        name: of the attribute, for messages.
        vr: of the attribute.
        values: without padding.

    Raises:
        BadRequestError: a value is not what its VR allows to match.
    """
    wanted = tuple(dict.fromkeys(value for value in values if value.strip("*")))
    if not wanted or len(wanted) < len(set(values)):  # one that matches any makes the list do so
        return None
    for value in wanted:
        _check(name, value)
    if len(wanted) == 1:
        return _SINGLE.get(vr, text)(name, wanted[0])
    if vr not in _LISTED:
        raise BadRequestError(f"{name} lists {len(wanted)} values; only UIDs, codes, dates and numbers may be lists")
    if len(wanted) > MOST_VALUES:
        raise BadRequestError(f"{name} lists {len(wanted)} values; {MOST_VALUES} at the most are searched at once")
    singles = [_SINGLE.get(vr, text)(name, value) for value in wanted]
    equal = tuple(one.value for one in singles if isinstance(one, Equals))
    if len(equal) < len(singles):
        raise BadRequestError(f"{name} lists several values, of which some are ranges or have wildcards")
    return OneOf(equal)


def _check(name: str, value: str) -> None:
    if len(value) > _LONGEST:
        raise BadRequestError(f"{name}: its value has more than {_LONGEST} characters")
    if not value.isprintable():
        raise BadRequestError(f"{name}: its value {value[:40]!r} has characters that are not printable")


def text(name: str, value: str) -> Match:
    """A value, or a pattern with wildcards."""
    del name
    return Wildcard(value) if "*" in value or "?" in value else Equals(value)


def whole(name: str, value: str) -> Match:
    """A whole number. Raises BadRequestError."""
    if _INTEGER.match(value) is None:
        raise BadRequestError(f"{name} {value[:40]!r} is not a whole number")
    return Equals(value)


def _uid(name: str, value: str) -> Match:
    if not is_uid(value):
        raise BadRequestError(f"{name} {value[:70]!r} is not a UID: digits and dots, at most 64 characters")
    return Equals(value)


def _dates(name: str, value: str) -> Match:
    return _range(name, _OLD_DATE.sub(r"\1\2\3", value), check_date)


def _times(name: str, value: str) -> Match:
    return _range(name, value.replace(":", ""), check_time)


_SINGLE: Final = {"DA": _dates, "TM": _times, "IS": whole, "UI": _uid}


def _range(name: str, value: str, check: Callable[[str, str], None]) -> Match:
    low, hyphen, high = (part.strip(" ") for part in value.partition("-"))
    for end in (low, high):
        if end:
            check(name, end)
    if not low and not high:
        raise BadRequestError(f"{name} {value[:40]!r} is a range without ends")
    if not hyphen:
        # A time without seconds takes in all of its minute.
        return Equals(low) if check is check_date else Between(low, low)
    return Between(low, high)


def check_order(name: str, match: Match) -> None:
    """Refuse a range that ends before it begins: of times that may be meant, together with a range of days."""
    if isinstance(match, Between) and match.high and match.low > match.high:
        raise BadRequestError(f"{name} {f'{match.low}-{match.high}'!r} is a range that ends before it begins")


def check_date(name: str, value: str) -> None:
    """Refuse what is no date. Raises BadRequestError."""
    try:
        if _DATE.match(value) is None:
            raise ValueError  # noqa: TRY301 - said in one place
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        raise BadRequestError(f"{name} {value[:40]!r} is not a date, YYYYMMDD, or a range of them") from None


def check_time(name: str, value: str) -> None:
    """Refuse what is no time. Raises BadRequestError."""
    if _TIME.match(value) is None:
        raise BadRequestError(
            f"{name} {value[:40]!r} is not a time, HHMMSS.FFFFFF or its beginning, or a range of them"
        )
