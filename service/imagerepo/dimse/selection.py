"""What a retrieval's identifier names, and the versions that are sent for it.

Source: PS3.4 C.4.2.1.4 and C.4.3.1.3 (identifiers of C-MOVE and C-GET), C.4.2.2.1 (levels), C.5.2.1 (relational).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from imagerepo.dicom.identifier import Identifier
from imagerepo.dimse.levels import LEVELS, UNIQUE_KEYS, level_of, require_above, unique_values
from imagerepo.dimse.query_retrieve import RELATIONAL, Model, agreed
from imagerepo.flows.search import Search
from imagerepo.model.query import Equals, Found, Key, Level, Match, OneOf, Query
from imagerepo.model.scope import Scope

_ALL: Final = 1 << 40  # entities: whatever matches


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be sent."""

    scopes: tuple[Scope, ...]
    count: int  # instances in them, when it was looked


def query_of(identifier: Identifier, model: Model, extended: bytes, institution: str) -> Query:
    """The search for what an identifier names; patients are named by all their studies.

    Args:
        identifier: of the request.
        model: of the SOP class.
        extended: what was negotiated about it.
        institution: whose instances are retrieved.

    Raises:
        IdentifierError: level or unique keys are not as they have to be.
    """
    level = level_of(identifier, model)
    if not agreed(extended, RELATIONAL):
        require_above(identifier, model, level)
    named = dict(_above(identifier, model, level))
    key = UNIQUE_KEYS[level]
    values = unique_values(identifier, level)
    named[key] = OneOf(values) if key.vr == "UI" else Equals(values[0])
    return Query(institution, Level.STUDY if level is Level.PATIENT else level, tuple(named.items()), _ALL)


def _above(identifier: Identifier, model: Model, level: Level) -> Iterator[tuple[Key, Match]]:
    for above in LEVELS[model]:
        if above is level:
            return
        key = UNIQUE_KEYS[above]
        value = identifier.text(key.tag)
        if value:
            yield key, Equals(value)


def select(search: Search, query: Query) -> Selection:
    """Find what is named. What is named and not there is no error: it is not sent.

    Raises:
        UnavailableError, TooLargeError: it cannot be found out.
    """
    scopes: list[Scope] = []
    count = 0
    for page in search.pages(query):
        for found in page:
            scopes.append(_scope(query.institution, found))
            count += _instances(found)
    return Selection(tuple(scopes), count)


def _scope(institution: str, found: Found) -> Scope:
    series, instance = found.series, found.instance
    return Scope(
        institution,
        found.study.uid,
        None if series is None else series.uid,
        None if instance is None else instance.uid,
    )


def _instances(found: Found) -> int:
    if found.instance is not None:
        return 1
    return found.study.instance_count if found.series is None else found.series.instance_count
