"""A stored header as values, for who answers from it: whatever an instance has beside pixel data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a data set."""

    vr: str
    values: tuple["Value", ...] = ()  # '' for an empty one among several; none: the attribute is empty or given below
    uri: str = ""  # where a value is that is too long to stand here
    inline: str = ""  # base 64: the bytes of OB, OW, UN and their like


Header: TypeAlias = Mapping[str, Attribute]
"""By tag, "00100010", in order of tags."""

Value: TypeAlias = str | int | float | Header
"""Text, of a name its component groups joined by `=`; a number; an item of a sequence."""
