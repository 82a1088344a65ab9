"""Data sets as people and programs write them: DICOM JSON, or keywords and plain values beside it.

`{"PatientName": "Doe^Jane"}` and `{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}}` are the same.
Values are checked against their VR, since whoever is answered with them, a modality, may rely on it.

Source: PS3.18 section F.2 (DICOM JSON Model), PS3.5 section 6.2 (VR).
"""

import json
import math
import re
import sys
from calendar import monthrange
from collections.abc import Mapping
from typing import Any, Final, cast

from imagerepo.dicom import attributes
from imagerepo.errors import BadRequestError
from imagerepo.model.header import Attribute, Header, Value
from imagerepo.model.uids import is_uid

_FIRST_TAG: Final = "00080000"
_CHARACTER_SET: Final = "00080005"  # JSON is Unicode, and who asks gets its own
_NESTING_LIMIT: Final = 8
_VALUES_LIMIT: Final = 1000  # of one attribute
_SHOWN: Final = 40  # characters of a wrong value
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
# Characters of a value; of a name, of each component group (PS3.5 Table 6.2-1).
_LONGEST: Final = {
    "AE": 16,
    "CS": 16,
    "SH": 16,
    "LO": 64,
    "PN": 64,
    "AS": 4,
    "DS": 16,
    "IS": 12,
    "ST": 1024,
    "LT": 10240,
}
_PATTERNS: Final = {
    "AE": (re.compile(r"[ -\[\]-~]*\Z"), "printable ASCII without backslash"),
    "CS": (re.compile(r"[A-Z0-9 _]*\Z"), "capital letters, digits, space and underscore"),
    "DA": (re.compile(r"[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])\Z"), "YYYYMMDD"),
    "TM": (
        re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,6})?)?)?\Z"),
        "HHMMSS.FFFFFF or its beginning",
    ),
    "AS": (re.compile(r"[0-9]{3}[DWMY]\Z"), "three digits and D, W, M or Y"),
    "DS": (re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z"), "a decimal number"),
    "DT": (re.compile(r"[0-9]{4}(?:[0-9]{2}){0,5}(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})?\Z"), "YYYYMMDDHHMMSS.FFFFFF&ZZXX"),
    "IS": (re.compile(r"[+-]?[0-9]+\Z"), "a whole number"),
}
# Of numbers the least and the greatest, of reals the greatest (PS3.5 Table 6.2-1).
_INTEGERS: Final = {
    "US": (0, (1 << 16) - 1),
    "SS": (-1 << 15, (1 << 15) - 1),
    "UL": (0, (1 << 32) - 1),
    "SL": (-1 << 31, (1 << 31) - 1),
    "UV": (0, (1 << 64) - 1),
    "SV": (-1 << 63, (1 << 63) - 1),
}
_REALS: Final = {"FL": 3.4028234663852886e38, "FD": sys.float_info.max}
_NO_TEXT: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})


def parse(document: bytes) -> Header:
    """The data set that a JSON object tells, by tag, in order.

    Raises:
        BadRequestError: it is no such object; names the attribute and what is wrong with it.
    """
    try:
        found: object = json.loads(document)
    except RecursionError:
        raise BadRequestError("the body is nested too deep") from None
    except ValueError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadRequestError("the body is not a JSON object of attributes")
    return _data_set(cast("dict[str, Any]", found), "", 0)


def typed(header: Header) -> Header:
    """A data set that was read as text, with its numbers as numbers. Raises ValueError: JSON has no such number."""
    return {
        tag: Attribute(one.vr, tuple(_typed(value, one.vr) for value in one.values)) for tag, one in header.items()
    }


def _typed(value: Value, vr: str) -> Value:
    if isinstance(value, Mapping):
        return typed(value)
    if vr in _INTEGERS and isinstance(value, str) and value:
        return int(value)
    if vr in _REALS and isinstance(value, str) and value:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(value)
        return number
    return value


def _data_set(members: Mapping[str, Any], above: str, depth: int) -> Header:
    if depth > _NESTING_LIMIT:
        raise BadRequestError(f"{above}: sequences nested more than {_NESTING_LIMIT} deep")
    found: dict[str, Attribute] = {}
    for name, member in members.items():
        shown = f"{above}{name[:_SHOWN]}"
        known = attributes.lookup(name)
        if known is None:
            raise BadRequestError(f"{shown} is no attribute of the standard: write a keyword, or a tag of 8 digits")
        tag, vr = known
        if tag < _FIRST_TAG or tag == _CHARACTER_SET:
            raise BadRequestError(f"{shown} is not an attribute that an item is put with")
        if tag in found:
            raise BadRequestError(f"{shown} is written twice")
        found[tag] = _attribute(shown, vr, member, depth)
    return dict(sorted(found.items()))


def _attribute(shown: str, vr: str, member: Any, depth: int) -> Attribute:  # noqa: ANN401 - whatever JSON has
    values: object = member
    if isinstance(member, dict) and ("vr" in member or "Value" in member):
        members = cast("dict[str, Any]", member)
        if members.get("vr", vr) != vr:
            raise BadRequestError(f"{shown} is written as {str(members['vr'])[:4]!r}; its VR is {vr}")
        others = sorted(members.keys() - {"vr", "Value"})
        if others:
            raise BadRequestError(f"{shown} has {others[0][:_SHOWN]!r}; what is taken of an attribute is its Value")
        values = members.get("Value", [])
    if values is None:
        values = []
    listed = cast("list[Any]", values) if isinstance(values, list) else [values]
    if len(listed) > _VALUES_LIMIT:
        raise BadRequestError(f"{shown} has more than {_VALUES_LIMIT} values")
    if vr in _NO_TEXT and listed:
        raise BadRequestError(f"{shown}: values of VR {vr} are not taken")
    if vr == "SQ":
        return Attribute(vr, tuple(_item(shown, one, depth) for one in listed))
    found = tuple(_value(shown, vr, one) for one in listed)
    return Attribute(vr, found if any(one != "" for one in found) else ())


def _item(shown: str, item: Any, depth: int) -> Header:  # noqa: ANN401 - whatever JSON has
    if not isinstance(item, dict):
        raise BadRequestError(f"{shown} is a sequence: its items are JSON objects of attributes")
    return _data_set(cast("dict[str, Any]", item), f"{shown}.", depth + 1)


def _value(shown: str, vr: str, value: Any) -> Value:  # noqa: ANN401 - whatever JSON has, one a kind
    if value is None:
        return ""
    if vr in _INTEGERS or vr in _REALS:
        return _number(shown, vr, value)
    if vr == "PN" and isinstance(value, dict):
        groups = cast("dict[str, Any]", value)
        parts = [groups.get(group) or "" for group in _GROUPS]
        if not all(isinstance(part, str) for part in parts):
            raise BadRequestError(f"{shown}: the component groups of a name are text")
        value = "=".join(parts).rstrip("=")
    if vr in {"DS", "IS"} and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadRequestError(f"{shown}: {str(value)[:_SHOWN]!r} is not text")
    text = value.strip(" ")
    _check(shown, vr, text)
    return text


def _number(shown: str, vr: str, value: Any) -> Value:  # noqa: ANN401 - whatever JSON has
    if isinstance(value, bool) or not isinstance(value, int if vr in _INTEGERS else int | float):
        raise BadRequestError(f"{shown}: {str(value)[:_SHOWN]!r} is not a number")
    low, high = _INTEGERS.get(vr) or (-_REALS[vr], _REALS[vr])
    if not low <= value <= high:  # nor is NaN, which Python's JSON takes
        raise BadRequestError(f"{shown}: {value!r:.40} is not a number that VR {vr} can hold")
    return value


def _check(shown: str, vr: str, text: str) -> None:
    if not text:
        return
    parts = text.split("=") if vr == "PN" else [text]
    most = _LONGEST.get(vr)
    if most is not None and any(len(part) > most for part in parts):
        raise BadRequestError(f"{shown}: {text[:_SHOWN]!r} has more than the {most} characters of VR {vr}")
    if "\\" in text and vr not in {"LT", "ST", "UT"}:
        raise BadRequestError(f"{shown}: write several values as a JSON array, not with a backslash")
    if not text.isprintable() and vr not in {"LT", "ST", "UT"}:
        raise BadRequestError(f"{shown} has characters that are not printable")
    if any("\ud800" <= one <= "\udfff" for one in text):
        raise BadRequestError(f"{shown} has half of a surrogate pair, which is no character")
    if vr == "UI" and not is_uid(text):
        raise BadRequestError(f"{shown}: {text[:70]!r} is not a UID: digits and dots, at most 64 characters")
    pattern, wanted = _PATTERNS.get(vr, (None, ""))
    if pattern is not None and pattern.match(text) is None:
        raise BadRequestError(f"{shown}: {text[:_SHOWN]!r} is not {wanted}, as its VR {vr} demands")
    if vr == "DA" and not _is_day(text):
        raise BadRequestError(f"{shown}: there is no day {text}")


def _is_day(text: str) -> bool:
    """Whether the calendar has a day, YYYYMMDD."""
    return 1 <= int(text[6:]) <= monthrange(max(int(text[:4]), 1), int(text[4:6]))[1]
