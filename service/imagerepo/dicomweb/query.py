"""A QIDO-RS request's parameters, checked, as a `Query`.

Source: PS3.18 sections 8.3.4 (Search Query Parameters), 10.6.1.2 (Query Parameters); PS3.4 section C.2.2.2.
"""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Final

from imagerepo.dicom import attributes
from imagerepo.dicom.names import words
from imagerepo.dicomweb.matches import checked, match_by, match_of
from imagerepo.errors import BadRequestError
from imagerepo.model.query import (
    TIME_OF,
    Between,
    Equals,
    Fuzzy,
    Key,
    Level,
    Match,
    Path,
    Query,
    Wildcard,
    together,
)
from imagerepo.model.uids import Uid

_LARGEST_OFFSET: Final = 100_000_000
_UINT: Final = re.compile(r"[0-9]{1,9}\Z")
_KEYS: Final = {key.tag: key for key in Key}
# Of a study one may ask for the modality of any of its series.
_OF_ANY_SERIES: Final = frozenset({Key.MODALITY, Key.MODALITIES_IN_STUDY})
# What stands in every answer of a level beside what can be matched; of lower levels too, there it is an ancestor's.
_ALWAYS: Final = {
    Level.STUDY: frozenset({"00080056", "00080201", "00081190", "00201206", "00201208"}),
    Level.SERIES: frozenset({"00080201", "00081190", "0020000D", "00201209"}),
    Level.INSTANCE: frozenset(
        {"00080056", "00080201", "00081190", "0020000D", "0020000E", "00083002", "00280008", "00280010"}
        | {"00280011", "00280100"}
    ),
}
_PLURALS: Final = {
    Level.PATIENT: "patients",
    Level.STUDY: "studies",
    Level.SERIES: "series",
    Level.INSTANCE: "instances",
}
_IGNORED: Final = frozenset({"accept", "charset"})  # PS3.18 8.3.3.1: of any request
# Ways of matching that an origin server may leave out, but has to know (PS3.18 Table 8.3.4-1).
_UNSUPPORTED: Final = frozenset({"emptyvaluematching", "multiplevaluematching"})
_SWITCH: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Fields:
    """What of stored headers an answer has, besides what is always there."""

    all: bool = False  # of the level that is searched
    tags: frozenset[str] = frozenset()  # asked for by name
    matched: frozenset[str] = frozenset()  # which the answer shows, since what was found was found by them

    def __bool__(self) -> bool:
        return self.all or bool(self.tags) or bool(self.matched)


NO_FIELDS: Final = Fields()


@dataclass(frozen=True, slots=True)
class Search:
    """What a request asks for."""

    query: Query  # its limit is what is answered at the most
    fields: Fields
    unsupported: tuple[str, ...]  # ways of matching that were asked for and are not done


@dataclass(frozen=True, slots=True)
class Within:
    """What the path of a search names."""

    institution: str
    level: Level
    study_uid: Uid | None = None
    series_uid: Uid | None = None


@dataclass(slots=True)
class _Asked:
    """A request's parameters, as far as they are read."""

    limit: int
    offset: int = 0
    fuzzy: bool = False
    all_fields: bool = False
    fields: set[str] = field(default_factory=set[str])
    matches: dict[Key, list[str]] = field(default_factory=dict[Key, list[str]])
    optional: dict[Path, tuple[str, str, list[str]]] = field(default_factory=dict[Path, tuple[str, str, list[str]]])
    unsupported: list[str] = field(default_factory=list[str])


def parse(parameters: Iterable[tuple[str, str]], within: Within, most: int, optional: Container[Path] = ()) -> Search:
    """Check a request's parameters.

    Args:
        parameters: decoded, in order.
        within: what the path names.
        most: entities answered at the most, asked or not.
        optional: what is matched in stored headers.

    Raises:
        BadRequestError: names the parameter.
    """
    asked = _Asked(most)
    for name, value in parameters:
        match name.lower():
            case "limit":
                asked.limit = min(_uint(name, value), most)
            case "offset":
                asked.offset = _uint(name, value)
                if asked.offset > _LARGEST_OFFSET:
                    raise BadRequestError(
                        f"offset {asked.offset} exceeds {_LARGEST_OFFSET}; narrow the search instead"
                    )
            case "fuzzymatching":
                asked.fuzzy = _switch(name, value)
            case way if way in _UNSUPPORTED:
                asked.unsupported += [way] * _switch(name, value)
            case "includefield":
                _add_fields(asked, value)
            case ignored if ignored in _IGNORED:
                pass
            case _:
                _add_match(asked, name, value, within.level, optional)
    return _search(asked, within)


def _search(asked: _Asked, within: Within) -> Search:
    found = {key: match for key, values in asked.matches.items() if (match := match_of(key, values, within.level))}
    if asked.fuzzy:
        found = {key: _fuzzy(match) if key.vr == "PN" else match for key, match in found.items()}
    optional = [
        (path, match)
        for path, (name, vr, values) in asked.optional.items()
        if (match := match_by(name, vr, values)) is not None
    ]
    matches = _joined(found)
    if within.study_uid is not None:
        matches.append((Key.STUDY_INSTANCE_UID, Equals(within.study_uid)))
    if within.series_uid is not None:
        matches.append((Key.SERIES_INSTANCE_UID, Equals(within.series_uid)))
    further = frozenset(tag for tag in asked.fields if not _stands(tag, within))
    fields = Fields(asked.all_fields, further, frozenset(path[0] for path in asked.optional))
    query = Query(
        within.institution,
        within.level,
        tuple(matches),
        asked.limit,
        asked.offset,
        tuple(optional),
        with_header=bool(fields),
    )
    return Search(query, fields, tuple(asked.unsupported))


def _stands(tag: str, within: Within) -> bool:
    """Whether an answer has an attribute anyway, from the index."""
    key = _KEYS.get(tag)
    if tag in _ALWAYS[within.level] or (key is not None and max(key.level, Level.STUDY, key=_depth) is within.level):
        return True
    # An ancestor's, where the path does not name it.
    return key is not None and key.level.depth < within.level.depth and within.study_uid is None


def _depth(level: Level) -> int:
    return level.depth


def _fuzzy(match: Match) -> Match:
    """Words instead of the whole name; what is within a word is still looked for there, as viewers ask (`*mit*`)."""
    text = match.value if isinstance(match, Equals) else match.pattern if isinstance(match, Wildcard) else ""
    bare = text.strip("*")
    if "*" in bare or "?" in bare or (text.startswith("*") and len(words(bare)) == 1):
        return match
    return Fuzzy(bare)


def _joined(found: dict[Key, Match]) -> list[tuple[Key, Match]]:
    """Ranges of a date and of its time are one range (combined date and time matching, PS3.4 C.2.2.2.5)."""
    joined = dict(found)
    for date, time in TIME_OF.items():
        days, hours = found.get(date), found.get(time)
        # Of a time that is no range its minute is asked for, whatever the day.
        if isinstance(days, Between) and isinstance(hours, Between) and hours.low != hours.high:
            joined[date] = together(days, hours)
            del joined[time]
    return list(joined.items())


def _uint(name: str, value: str) -> int:
    if _UINT.match(value) is None:
        raise BadRequestError(f"{name} {value[:40]!r} is not a number from 0 (PS3.18 8.3.4.4)")
    return int(value)


def _switch(name: str, value: str) -> bool:
    if value not in _SWITCH:
        raise BadRequestError(f"{name} {value[:40]!r} is neither true nor false")
    return _SWITCH[value]


def _add_fields(asked: _Asked, value: str) -> None:
    for one in value.split(","):
        if one.strip().lower() == "all":
            asked.all_fields = True
            continue
        # Of a field in a sequence, the sequence decides.
        known = attributes.lookup(one.strip().split(".")[0])
        if known is None:
            raise BadRequestError(f"includefield {one[:60]!r} is not the keyword or tag of an attribute")
        asked.fields.add(known[0])


def _add_match(asked: _Asked, name: str, value: str, level: Level, optional: Container[Path]) -> None:
    known = [attributes.lookup(part) for part in name.split(".")]
    path = tuple(one[0] for one in known if one is not None)
    if len(path) < len(known):
        raise BadRequestError(f"{name[:80]!r} is no attribute of the data dictionary; these are: {_searched()}")
    key = _KEYS.get(path[0]) if len(path) == 1 else None
    if key is None:
        vr = known[-1][1] if known[-1] is not None else ""
        if vr == "SQ" or path not in optional:
            raise BadRequestError(f"{name[:80]!r} is not an attribute that is searched; these are: {_searched()}")
        asked.optional.setdefault(path, (name, vr, []))[2].append(checked(name, value))
        return
    if key.level.depth > level.depth and key not in _OF_ANY_SERIES:
        raise BadRequestError(
            f"{name} is an attribute of each {key.level.value}; search for {_PLURALS[key.level]} by it"
        )
    asked.matches.setdefault(key, []).append(checked(name, value))


def _searched() -> str:
    return ", ".join(attributes.keyword(key.tag) or key.tag for key in Key)
