"""Matches of what a data set says itself, where no index knows it (PS3.4 section C.2.2.2)."""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from imagerepo.dicom import names
from imagerepo.dicom.names import fold_name
from imagerepo.model.header import Header, Value
from imagerepo.model.query import Between, BetweenMoments, Equals, Fuzzy, Match, OneOf, Path, Wildcard

_COMPARED: Final = 1024  # characters of a value that a pattern is compared with; a pattern has no more itself


def holds(header: Header, keys: Iterable[tuple[Path, Match]]) -> bool:
    """Whether a data set has all that is asked; one item of a sequence all that is asked within it (C.2.2.2.6).

    An attribute that is absent or empty matches nothing that is asked here.
    """
    inside: dict[str, list[tuple[Path, Match]]] = {}
    for path, match in keys:
        tag, *below = path
        if below:
            inside.setdefault(tag, []).append((tuple(below), match))
        elif not _has(header, tag, match):
            return False
    return all(any(holds(item, wanted) for item in _items(header, tag)) for tag, wanted in inside.items())


def _items(header: Header, tag: str) -> Sequence[Header]:
    attribute = header.get(tag)
    return [one for one in attribute.values if isinstance(one, Mapping)] if attribute else ()


def _has(header: Header, tag: str, match: Match) -> bool:
    """One of several values is enough."""
    attribute = header.get(tag)
    if attribute is None:
        return False
    return any(_matches(one, attribute.vr, match) for one in attribute.values if one != "")


def _matches(value: Value, vr: str, match: Match) -> bool:  # noqa: PLR0911 - one a kind
    if isinstance(value, Mapping):
        return False
    text = fold_name(str(value)) if vr == "PN" else str(value)
    match match:
        case Equals(wanted):
            return _is_equal(value, text, vr, wanted)
        case OneOf(wanted):
            return text in wanted
        case Between(low, high):
            return _is_between(text, low, high)
        case BetweenMoments(low, high):
            return _is_between(text, low[:8], high[:8])
        case Wildcard(pattern):
            return _is_like(text, names.patterns(pattern) if vr == "PN" else (pattern.replace("[", "[[]"),))
        case Fuzzy(name):
            return all(_is_like(text, names.word_patterns(word)) for word in names.words(name))


def _is_equal(value: str | float, text: str, vr: str, wanted: str) -> bool:
    if vr == "PN":
        return _is_like(text, names.patterns(fold_name(wanted)))
    if isinstance(value, str):
        return text == wanted
    try:
        return value == float(wanted)
    except ValueError:
        return False


def _is_between(text: str, low: str, high: str) -> bool:
    # A time or moment with more digits is within its shorter end.
    return text >= low and (not high or text[: len(high)] <= high)


def _is_like(text: str, patterns: Iterable[str]) -> bool:
    # A text may be as long as the header is allowed to be, and each asterisk may go through it again.
    return any(re.match(fnmatch.translate(one), text[:_COMPARED]) is not None for one in patterns)
