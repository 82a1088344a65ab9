"""A QIDO-RS request's parameters, checked, as a `Query`.

Source: PS3.18 sections 8.3.4 (Search Query Parameters), 10.6.1.2 (Query Parameters); PS3.4 section C.2.2.2.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from imagerepo.dicom import attributes
from imagerepo.errors import BadRequestError
from imagerepo.model.query import MOST_VALUES, Between, Equals, Key, Level, Match, OneOf, Query, Wildcard
from imagerepo.model.uids import Uid, is_uid

_LARGEST_OFFSET: Final = 100_000_000
_LONGEST: Final = 1024  # characters of a value; the standard's longest have 64
_UINT: Final = re.compile(r"[0-9]{1,9}\Z")
_DATE: Final = re.compile(r"[0-9]{8}\Z")
_TIME: Final = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?\Z")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,12}\Z")
_LIST: Final = re.compile(r"[,\\]")
_MODALITIES: Final = 100
"""Modalities in one list: there are not so many."""
_KEYS: Final = {key.tag: key for key in Key}
_DEPTH: Final = {Level.STUDY: 0, Level.SERIES: 1, Level.INSTANCE: 2}
# Of a study one may ask for the modality of any of its series.
_OF_ANY_SERIES: Final = frozenset({Key.MODALITY, Key.MODALITIES_IN_STUDY})
_IGNORED: Final = frozenset({"accept", "charset"})  # PS3.18 8.3.3.1: of any request
# Ways of matching that an origin server may leave out, but has to know (PS3.18 Table 8.3.4-1).
_OPTIONAL: Final = frozenset({"fuzzymatching", "emptyvaluematching", "multiplevaluematching"})
_SWITCH: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Search:
    """What a request asks for."""

    query: Query  # its limit is what is answered at the most
    unsupported: tuple[str, ...]  # ways of matching that were asked for and are not done


@dataclass(frozen=True, slots=True)
class Within:
    """What the path of a search names."""

    institution: str
    level: Level
    study_uid: Uid | None = None
    series_uid: Uid | None = None


def parse(parameters: Iterable[tuple[str, str]], within: Within, most: int) -> Search:
    """Check a request's parameters.

    Args:
        parameters: decoded, in order.
        within: what the path names.
        most: entities answered at the most, asked or not.

    Raises:
        BadRequestError: names the parameter.
    """
    matches: dict[Key, list[str]] = {}
    limit, offset = most, 0
    unsupported: list[str] = []
    for name, value in parameters:
        match name.lower():
            case "limit":
                limit = min(_uint(name, value), most)
            case "offset":
                offset = _uint(name, value)
                if offset > _LARGEST_OFFSET:
                    raise BadRequestError(f"offset {offset} exceeds {_LARGEST_OFFSET}; narrow the search instead")
            case optional if optional in _OPTIONAL:
                unsupported += [optional] * _switch(name, value)
            case "includefield":
                _check_fields(value)
            case ignored if ignored in _IGNORED:
                pass
            case _:
                matches.setdefault(_key(name, within.level), []).append(_checked(name, value))
    found = [(key, match) for key, values in matches.items() if (match := _match(key, values, within.level))]
    if within.study_uid is not None:
        found.append((Key.STUDY_INSTANCE_UID, Equals(within.study_uid)))
    if within.series_uid is not None:
        found.append((Key.SERIES_INSTANCE_UID, Equals(within.series_uid)))
    return Search(Query(within.institution, within.level, tuple(found), limit, offset), tuple(unsupported))


def _uint(name: str, value: str) -> int:
    if _UINT.match(value) is None:
        raise BadRequestError(f"{name} {value[:40]!r} is not a number from 0 (PS3.18 8.3.4.4)")
    return int(value)


def _switch(name: str, value: str) -> bool:
    if value not in _SWITCH:
        raise BadRequestError(f"{name} {value[:40]!r} is neither true nor false")
    return _SWITCH[value]


def _check_fields(value: str) -> None:
    for field in value.split(","):
        # Of a field in a sequence, the sequence decides.
        if field.strip().lower() != "all" and attributes.lookup(field.strip().split(".")[0]) is None:
            raise BadRequestError(f"includefield {field[:60]!r} is not the keyword or tag of an attribute")


def _key(name: str, level: Level) -> Key:
    known = attributes.lookup(name)
    key = _KEYS.get(known[0]) if known else None
    if key is None:
        reason = "no attribute of the data dictionary" if known is None else "not an attribute that is searched"
        raise BadRequestError(f"{name[:80]!r} is {reason}; these are: {_searched()}")
    if _DEPTH[key.level] > _DEPTH[level] and key not in _OF_ANY_SERIES:
        raise BadRequestError(f"{name} is an attribute of each {key.level.value}; search for {key.level.value}s by it")
    return key


def _searched() -> str:
    return ", ".join(attributes.keyword(key.tag) or key.tag for key in Key)


def _checked(name: str, value: str) -> str:
    if len(value) > _LONGEST and "," not in value and "\\" not in value:
        raise BadRequestError(f"{name}: its value has more than {_LONGEST} characters")
    if not value.isprintable():
        raise BadRequestError(f"{name}: its value {value[:40]!r} has characters that are not printable")
    return value.strip(" ")


def _match(key: Key, values: list[str], level: Level) -> Match | None:
    """The match that values ask for; None: any (PS3.4 C.2.2.2.3)."""
    name = attributes.keyword(key.tag) or key.tag
    if key.vr == "UI":
        return _uids(name, [uid for value in values for uid in _LIST.split(value)])
    if key is Key.MODALITIES_IN_STUDY or (key is Key.MODALITY and level is Level.STUDY):
        several = _list(name, (code for value in values for code in _LIST.split(value) if code), _MODALITIES)
        if len(several) > 1:
            return OneOf(several)
        values = list(several) or [""]
    if len(values) > 1:
        raise BadRequestError(f"{name} is given {len(values)} times; only UIDs may be lists")
    value = values[0]
    if not value.strip("*"):
        return None
    return _SINGLE.get(key.vr, _text)(name, value)


def _text(name: str, value: str) -> Match:
    del name
    return Wildcard(value) if "*" in value or "?" in value else Equals(value)


def _whole(name: str, value: str) -> Match:
    if _INTEGER.match(value) is None:
        raise BadRequestError(f"{name} {value[:40]!r} is not a whole number")
    return Equals(value)


def _dates(name: str, value: str) -> Match:
    return _range(name, value, _check_date)


def _times(name: str, value: str) -> Match:
    return _range(name, value, _check_time)


_SINGLE: Final = {"DA": _dates, "TM": _times, "IS": _whole}


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
        return Equals(value) if check is _check_date else Between(value, value)
    if low and high and low > high:
        raise BadRequestError(f"{name} {value[:40]!r} is a range that ends before it begins")
    return Between(low, high)


def _check_date(name: str, value: str) -> None:
    try:
        if _DATE.match(value) is None:
            raise ValueError  # noqa: TRY301 - said in one place
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        raise BadRequestError(f"{name} {value[:40]!r} is not a date, YYYYMMDD, or a range of them") from None


def _check_time(name: str, value: str) -> None:
    if _TIME.match(value) is None:
        raise BadRequestError(
            f"{name} {value[:40]!r} is not a time, HHMMSS.FFFFFF or its beginning, or a range of them"
        )
