"""The ledger: the journal's copy in S3, read in order.

Its objects follow each other by number and by the digest of the one before. Where the database was set back to an
earlier time, the ledger was gone on with in a new epoch; what the epoch before had beyond that counts no more.
"""

from collections.abc import Callable, Iterator
from typing import Final

from imagerepo.adapters.bundles import ledger_format
from imagerepo.adapters.bundles.ledger_format import (
    BEGIN,
    LedgerEntry,
    LedgerObject,
    Place,
    Tip,
    is_ledger,
    key_of,
    place_in,
    prefix_of,
)
from imagerepo.adapters.objects_s3.in_order import in_order
from imagerepo.adapters.objects_s3.store import Listed, S3Store
from imagerepo.errors import DamagedError
from imagerepo.model.instance import Range

__all__ = ["LedgerEntry", "OnDamage", "is_ledger", "object_at", "objects", "read"]

_BEHIND: Final = "~"  # behind all digits

OnDamage = Callable[[DamagedError], None]
"""Told of what is missing or damaged; if it returns, reading goes on behind it."""


def read(store: S3Store, institution: str, on_damage: OnDamage) -> Iterator[LedgerEntry]:
    """An institution's entries in the order in which they became visible, each once. Raises UnavailableError."""
    for one in objects(store, institution, on_damage):
        yield from one.entries


def objects(store: S3Store, institution: str, on_damage: OnDamage) -> Iterator[LedgerObject]:
    """Likewise the objects that have them; their chain is followed. Raises UnavailableError."""
    before: Tip | None = BEGIN  # None: it is damaged
    last = BEGIN.place
    bucket = store.bucket(institution)
    for (place, _), found in in_order(_listed(store, bucket, institution), lambda one: _bytes(store, bucket, one[1])):
        if place.number != last.number + 1:
            missing = key_of(institution, Place(place.epoch, last.number + 1))
            on_damage(DamagedError(f"ledger object {missing} is missing; {key_of(institution, place)} is there"))
            before = None
        last = place
        try:
            one = ledger_format.decoded(found.result(), key_of(institution, place))
        except DamagedError as error:
            on_damage(error)
            before = None
            continue
        if before is not None and one.after != before:
            former = key_of(institution, before.place)
            on_damage(DamagedError(f"ledger object {one.key} does not follow {former}: one of them was changed"))
        before = one.tip
        yield one


def object_at(store: S3Store, institution: str, place: Place) -> LedgerObject | None:
    """One object; None: there is none. Raises DamagedError, UnavailableError."""
    key, bucket = key_of(institution, place), store.bucket(institution)
    found = next((one for one in store.list(bucket, key, "") if one.key == key), None)
    return None if found is None else ledger_format.decoded(_bytes(store, bucket, found), key)


def _bytes(store: S3Store, bucket: str, listed: Listed) -> bytes:
    return store.read(Range(bucket, listed.key, 0, listed.size))


def _listed(store: S3Store, bucket: str, institution: str) -> Iterator[tuple[Place, Listed]]:
    firsts = _epochs(store, bucket, institution)
    for at, first in enumerate(firsts):
        end = min((later.number for later in firsts[at + 1 :]), default=None)
        for listed in store.list(bucket, f"{prefix_of(institution)}{first.epoch:06d}-", ""):
            place = place_in(listed.key)
            if place is None:
                continue
            if end is not None and place.number >= end:
                break
            yield place, listed


def _epochs(store: S3Store, bucket: str, institution: str) -> list[Place]:
    """The first object of each epoch."""
    prefix = prefix_of(institution)
    found: list[Place] = []
    after = ""
    while True:
        first = next((place for one in store.list(bucket, prefix, after) if (place := place_in(one.key))), None)
        if first is None:
            return found
        found.append(first)
        after = f"{prefix}{first.epoch:06d}-{_BEHIND}"
