"""Elements of the DICOM JSON Model, for answers that are made of attributes rather than of a data set.

A data set is a dict from tag ("00100010") to element; `json.dumps` makes it what Annex F asks for.

Source: PS3.18 F.2 (DICOM JSON Model).
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

Json: TypeAlias = "str | int | float | list[Json] | dict[str, Json] | None"
Element: TypeAlias = dict[str, Json]
DataSet: TypeAlias = dict[str, Element]

_COMPONENT_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def _element(vr: str, values: list[Json]) -> Element:
    if all(value is None for value in values):
        return {"vr": vr}  # PS3.18 F.2.5: an empty value has no Value
    return {"vr": vr, "Value": values}


def text(vr: str, *values: str) -> Element:
    """An element of a text VR; empty values among others are null."""
    return _element(vr, [value or None for value in values])


def joined_text(vr: str, value: str) -> Element:
    """The same of a value as the index keeps it: several values joined by a backslash."""
    return text(vr, *value.split("\\"))


def person_name(value: str) -> Element:
    """A PN element from names joined by a backslash, each of up to three component groups."""
    return _element("PN", [_groups(name) for name in value.split("\\")])


def _groups(name: str) -> Json:
    groups: dict[str, Json] = {
        key: group for key, group in zip(_COMPONENT_GROUPS, name.split("="), strict=False) if group
    }
    return groups or None


def number(vr: str, *values: float | None) -> Element:
    """An element of a number's VR; None is an unknown value."""
    return _element(vr, list(values))


def integer_text(vr: str, value: str) -> Element:
    """An IS element from text as the index keeps it; what is not a number stays text."""
    values: list[Json] = []
    for part in value.split("\\"):
        digits = part.strip()
        sound = digits.lstrip("+-").isdecimal() and digits.isascii() and len(digits) <= 12
        try:
            values.append(int(digits) if sound else digits or None)
        except ValueError:  # signs repeated
            values.append(digits)
    return _element(vr, values)


def sequence(items: Iterable[Mapping[str, Element]]) -> Element:
    """A sequence of data sets."""
    values: list[Json] = [dict[str, Json](item) for item in items]
    return {"vr": "SQ", "Value": values} if values else {"vr": "SQ"}
