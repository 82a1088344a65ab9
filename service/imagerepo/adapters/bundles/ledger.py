"""The ledger: the journal's copy in S3, read in order.

Its objects follow each other by number and by the digest of the one before. Where the database was set back to an
earlier time, the ledger was gone on with in a new epoch, above all that there were. So the last epoch counts, and of
each one that another counts on what goes up to the object that the other's first one follows; the rest, and epochs
that none counts on, are of times that were given up.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

__all__ = ["LedgerEntry", "OnDamage", "is_ledger", "last_epoch", "object_at", "objects", "read"]

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


def last_epoch(store: S3Store, institution: str, known: int) -> int:
    """The last epoch that has an object, if it is later than `known`; else that. Raises UnavailableError."""
    later = _epochs(store, institution, known)
    return later[-1].place.epoch if later else known


def _bytes(store: S3Store, bucket: str, listed: Listed) -> bytes:
    return store.read(Range(bucket, listed.key, 0, listed.size))


@dataclass(frozen=True, slots=True)
class _First:
    """The first object that an epoch has."""

    place: Place
    listed: Listed


@dataclass(frozen=True, slots=True)
class _Counting:
    """What counts of an epoch."""

    epoch: int
    end: int | None  # number of the last object; None: of the last epoch all that is there


def _listed(store: S3Store, bucket: str, institution: str) -> Iterator[tuple[Place, Listed]]:
    for counting in _counting(store, bucket, institution):
        for listed in store.list(bucket, f"{prefix_of(institution)}{counting.epoch:06d}-", ""):
            place = place_in(listed.key)
            if place is None:
                continue
            if counting.end is not None and place.number > counting.end:
                break
            yield place, listed


def _counting(store: S3Store, bucket: str, institution: str) -> list[_Counting]:
    """Epochs that count, in order: from the last one back, each up to what the next one follows."""
    firsts = _epochs(store, institution, 0)
    found: list[_Counting] = []
    end: int | None = None
    while firsts:
        first = firsts.pop()
        found.append(_Counting(first.place.epoch, end))
        after = _followed(store, bucket, first)
        if after.number == BEGIN.place.number:
            break
        if after.epoch not in {one.place.epoch for one in firsts}:
            # What it follows is gone, or cannot be told: likely it was the last epoch that has lower numbers.
            firsts = [one for one in firsts if one.place.number < after.number]
            end = after.number - 1
        else:
            firsts = [one for one in firsts if one.place.epoch <= after.epoch]
            end = after.number
    return found[::-1]


def _followed(store: S3Store, bucket: str, first: _First) -> Place:
    """What an epoch's first object follows; itself, if it cannot be read."""
    try:
        return ledger_format.decoded(_bytes(store, bucket, first.listed), first.listed.key).after.place
    except DamagedError:  # told of when it is its turn
        return first.place


def _epochs(store: S3Store, institution: str, known: int) -> list[_First]:
    """The first object of each epoch that is later than `known`."""
    bucket, prefix = store.bucket(institution), prefix_of(institution)
    found: list[_First] = []
    after = _end_of(prefix, known)
    while True:
        listed = store.list(bucket, prefix, after)
        first = next((_First(place, one) for one in listed if (place := place_in(one.key))), None)
        if first is None:
            return found
        found.append(first)
        after = _end_of(prefix, first.place.epoch)


def _end_of(prefix: str, epoch: int) -> str:
    return f"{prefix}{epoch:06d}-{_BEHIND}"
