"""The values of a QIDO-RS request's parameters, checked, as matches.

Source: PS3.18 section 8.3.4.1 (Attribute Matching); PS3.4 section C.2.2.2.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

from imagerepo.dicom import attributes
from imagerepo.dicom.match_values import check_date, check_time, text, whole
from imagerepo.errors import BadRequestError
from imagerepo.model.query import MOST_VALUES, Between, Equals, Key, Level, Match, OneOf
from imagerepo.model.uids import is_uid

_LONGEST: Final = 1024  # characters of a value; the standard's longest have 64
_LIST: Final = re.compile(r"[,\\]")
_MODALITIES: Final = 100
"""Modalities in one list: there are not so many."""


def checked(name: str, value: str) -> str:
    """A value without padding. Raises BadRequestError."""
    if len(value) > _LONGEST and "," not in value and "\\" not in value:
        raise BadRequestError(f"{name}: its value has more than {_LONGEST} characters")
    if not value.isprintable():
        raise BadRequestError(f"{name}: its value {value[:40]!r} has characters that are not printable")
    return value.strip(" ")


def match_of(key: Key, values: list[str], level: Level) -> Match | None:
    """The match that values ask for; None: any (PS3.4 C.2.2.2.3). Raises BadRequestError."""
    if key is Key.MODALITIES_IN_STUDY or (key is Key.MODALITY and level is Level.STUDY):
        name = attributes.keyword(key.tag) or key.tag
        several = _list(name, (code for value in values for code in _LIST.split(value) if code), _MODALITIES)
        if len(several) > 1:
            return OneOf(several)
        values = list(several) or [""]
    return match_by(attributes.keyword(key.tag) or key.tag, key.vr, values)


def match_by(name: str, vr: str, values: list[str]) -> Match | None:
    """Likewise for an attribute of that VR."""
    if vr == "UI":
        return _uids(name, [uid for value in values for uid in _LIST.split(value)])
    if len(values) > 1:
        raise BadRequestError(f"{name} is given {len(values)} times; only UIDs may be lists")
    value = values[0]
    if not value.strip("*"):
        return None
    return _SINGLE.get(vr, text)(name, value)


def _dates(name: str, value: str) -> Match:
    return _range(name, value, check_date)


def _times(name: str, value: str) -> Match:
    return _range(name, value, check_time)


_SINGLE: Final = {"DA": _dates, "TM": _times, "IS": whole}


def _uids(name: str, values: list[str]) -> Match | None:
    wanted = [value.strip(" ") for value in values]
    if not any(value.strip("*") for value in wanted):
        return None
    for value in wanted:
        if not is_uid(value):
            raise BadRequestError(
                f"{name} {value[:70]!r} is not a UID: digits and dots, 1 to 64 characters (PS3.5 9.1)"
            )
    several = _list(name, wanted, MOST_VALUES)
    return Equals(several[0]) if len(several) == 1 else OneOf(several)


def _list(name: str, values: Iterable[str], most: int) -> tuple[str, ...]:
    """Each value once."""
    several = tuple(dict.fromkeys(values))
    if len(several) > most:
        raise BadRequestError(f"{name} lists {len(several)} values; {most} at the most are searched at once")
    return several


def _range(name: str, value: str, check: Callable[[str, str], None]) -> Match:
    low, hyphen, high = value.partition("-")
    for end in (low, high):
        if end:
            check(name, end)
    if not low and not high:
        raise BadRequestError(f"{name} {value[:40]!r} is a range without ends")
    if not hyphen:
        # A time without seconds takes in all of its minute.
        return Equals(value) if check is check_date else Between(value, value)
    if low and high and low > high:
        raise BadRequestError(f"{name} {value[:40]!r} is a range that ends before it begins")
    return Between(low, high)
