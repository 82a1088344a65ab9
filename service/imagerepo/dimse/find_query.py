"""An identifier of C-FIND as a `Query`, and which of its keys are answered.

Keys of other levels are matched whatever was negotiated: devices ask for the modality of studies, or for the patient's
name of series. What has neither a column nor a setting that allows it is neither matched nor answered, with a warning.

Source: PS3.4 C.2.2.1 (Attribute Types), C.2.2.2 (Attribute Matching), C.4.1 (C-FIND Operation), C.5.1.1.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from imagerepo.dicom import attributes
from imagerepo.dicom.identifier import Identifier
from imagerepo.dicom.match_values import check_order, match_of
from imagerepo.dimse.find_answers import ANSWERED, OF_ANSWER
from imagerepo.dimse.levels import LEVEL_NAMES, UnmatchableError, level_of, require_above
from imagerepo.dimse.query_retrieve import DATE_TIME, FUZZY, RELATIONAL, Model, agreed
from imagerepo.errors import BadRequestError
from imagerepo.model.header import Attribute, Header
from imagerepo.model.query import TIME_OF, Between, Equals, Fuzzy, Key, Level, Match, Path, Query, together

_KEYS: Final = {key.tag: key for key in Key}


@dataclass(frozen=True, slots=True)
class Asked:
    """What an identifier asks for."""

    query: Query
    keys: tuple[str, ...]  # tags answered from the index
    selected: Header  # attributes answered from stored headers, as the identifier has them
    unsupported: tuple[str, ...]  # tags that are neither matched nor answered
    text: str  # for the journal


def read(
    identifier: Identifier,
    model: Model,
    extended: bytes,
    institution: str,
    limit: int,
    optional: Container[Path],
) -> Asked:
    """Check an identifier and make the query of it.

    Args:
        identifier: of the request.
        model: of the SOP class.
        extended: what was negotiated about the SOP class.
        institution: whose instances are searched.
        limit: entities found at the most.
        optional: paths that may be matched in stored headers.

    Raises:
        IdentifierError: its level or the unique keys above it are not as they have to be.
        UnmatchableError: a value is not what its attribute can be matched by.
    """
    level = level_of(identifier, model)
    if not agreed(extended, RELATIONAL):
        require_above(identifier, model, level)
    given = {tag: one for tag, one in identifier.attributes.items() if tag not in OF_ANSWER}
    matches = {key: match for tag in given if (key := _KEYS.get(tag)) and (match := match_of_key(tag, given[tag]))}
    if agreed(extended, DATE_TIME):
        matches = _with_moments(matches)
    for key, match in matches.items():
        _check_order(key.tag, match)
    if agreed(extended, FUZZY):
        matches = {key: _fuzzy(key, match) for key, match in matches.items()}
    keys = tuple(tag for tag in given if tag in ANSWERED and level in ANSWERED[tag].levels)
    others = {tag: one for tag, one in given.items() if tag not in ANSWERED and tag not in _KEYS}
    selected = dict(_allowed(others, (), optional))
    query = Query(
        institution,
        level,
        tuple(matches.items()),
        limit,
        optional=tuple(_optional_matches(selected, ())),
        with_header=bool(selected),
    )
    served = {*keys, *selected, *(key.tag for key in matches)}
    return Asked(query, keys, selected, tuple(given.keys() - served), _text(level, given))


def match_of_key(tag: str, attribute: Attribute) -> Match | None:
    """What a key of an identifier asks for; None: any. Raises UnmatchableError."""
    values = [str(one) for one in attribute.values if not isinstance(one, Mapping)]
    known = attributes.lookup(tag)
    name = attributes.keyword(tag) or tag
    try:
        return match_of(name, known[1] if known else attribute.vr, values)
    except BadRequestError as error:
        raise UnmatchableError(str(error), tag) from None


def _check_order(tag: str, match: Match) -> None:
    try:
        check_order(attributes.keyword(tag) or tag, match)
    except BadRequestError as error:
        raise UnmatchableError(str(error), tag) from None


def _with_moments(matches: Mapping[Key, Match]) -> dict[Key, Match]:
    """Ranges of a date and of its time as one range of moments (PS3.4 C.2.2.2.5.3)."""
    combined = dict(matches)
    for date, time in TIME_OF.items():
        days, hours = matches.get(date), matches.get(time)
        # Of a time that is no range its minute is asked for, whatever the day.
        if isinstance(days, Between) and isinstance(hours, Between) and hours.low != hours.high:
            combined[date] = together(days, hours)
            del combined[time]
    return combined


def _fuzzy(key: Key, match: Match) -> Match:
    return Fuzzy(match.value) if key.vr == "PN" and isinstance(match, Equals) else match


def _allowed(given: Header, above: Path, optional: Container[Path]) -> Iterator[tuple[str, Attribute]]:
    """What of `given` may be asked of stored headers; of a sequence's item what in it may."""
    for tag, one in given.items():
        path = (*above, tag)
        if path in optional:
            yield tag, one
        elif one.vr == "SQ":
            items = [dict(_allowed(item, path, optional)) for item in one.values[:1] if isinstance(item, Mapping)]
            if any(items):
                yield tag, Attribute("SQ", tuple(items))


def _optional_matches(selected: Header, above: Path) -> Iterator[tuple[Path, Match]]:
    for tag, one in selected.items():
        path = (*above, tag)
        if one.vr == "SQ":
            for item in one.values[:1]:
                if isinstance(item, Mapping):
                    yield from _optional_matches(item, path)
        elif match := match_of_key(tag, one):
            _check_order(tag, match)
            yield path, match


def _text(level: Level, given: Header) -> str:
    """The query as the journal keeps it: level and keys that are matched."""
    return " ".join((f"C-FIND {LEVEL_NAMES[level]}", *_shown(given, "")))


def _shown(given: Header, above: str) -> Iterator[str]:
    for tag, one in given.items():
        name = above + (attributes.keyword(tag) or tag)
        for item in one.values:
            if isinstance(item, Mapping):
                yield from _shown(item, f"{name}.")
        value = "\\".join(str(one) for one in one.values if not isinstance(one, Mapping))
        if value:
            yield f"{name}={value}"
