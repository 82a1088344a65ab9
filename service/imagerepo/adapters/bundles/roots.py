"""Signed roots: where chains stood, signed with a key that is kept outside, in a bucket under object lock.

A root names the chains that have moved since the one before, as far as they are in the ledger, so that a database
which is made anew from that has all that was ever signed. Roots are numbered, and each has the digest of the one
before: one that is missing between others is noticed, and one at the end by the database, which knows how many there
are.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from imagerepo.adapters.bundles.signed_lines import SignedLines
from imagerepo.adapters.objects_s3.in_order import in_order
from imagerepo.adapters.objects_s3.locked import LockedBucket
from imagerepo.adapters.segments import anchor
from imagerepo.adapters.segments.lines import ORIGIN, Link
from imagerepo.adapters.segments.verify import ChainId
from imagerepo.errors import DamagedError

BUCKET: Final = "roots"
"""What the bucket's name ends with."""
_KEY: Final = re.compile(r"([0-9]{12})\.json")


@dataclass(frozen=True, slots=True)
class Tip:
    """A root that others follow."""

    number: int  # from 1
    digest: str  # BLAKE3 of what it says, hexadecimal
    locked_until: datetime | None  # aware; None: there is no root yet


BEGIN: Final = Tip(0, ORIGIN, None)


@dataclass(frozen=True, slots=True)
class Root:
    """A signed root."""

    tip: Tip
    after: str  # digest of the root before
    before_locked_until: datetime | None  # when that may go; None: there is none
    at: datetime  # aware
    links: Sequence[tuple[ChainId, Link]]
    lost: Sequence[tuple[ChainId, Link]]  # of earlier roots, that the database has no more since it was set back


@dataclass(slots=True)
class Signed:
    """All roots."""

    links: dict[ChainId, SignedLines] = field(default_factory=dict[ChainId, SignedLines])
    """By chain every line that a root names and the database should have."""
    lost: int = 0  # that it has no more, as the administration has acknowledged
    tip: Tip = BEGIN
    at: datetime | None = None  # of the last one


def key_of(number: int) -> str:
    """Where a root lies in its bucket."""
    return f"{number:012d}.json"


def number_in(key: str) -> int:
    """The number that a key names; 0: it is no root's."""
    found = _KEY.fullmatch(key)
    return 0 if found is None else int(found[1])


@dataclass(frozen=True, slots=True)
class Statement:
    """What a root is to say."""

    links: Sequence[tuple[ChainId, Link]]
    lost: Sequence[tuple[ChainId, Link]] = ()
    reason: str = ""  # why they were lost


def signed(key: Ed25519PrivateKey, tip: Tip, wanted: Statement, locked_until: datetime) -> tuple[bytes, Root]:
    """The root that follows `tip`: its bytes, and what they say."""
    said = {
        "number": tip.number + 1,
        "prev": tip.digest,
        "prev_until": tip.locked_until.isoformat() if tip.locked_until is not None else None,
        "at": datetime.now(UTC).isoformat(),
        "until": locked_until.isoformat(),
        "roots": _named(wanted.links),
        "lost": _named(wanted.lost),
        "reason": wanted.reason,
    }
    line = anchor.signed(key, said).encode()
    return line, _parsed(line, said)


def opened(key: Ed25519PublicKey, body: bytes) -> Root:
    """What a root says. Raises DamagedError if its signature does not hold."""
    try:
        return _parsed(body, anchor.opened(key, body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # anybody may put anything
        raise DamagedError("it cannot be read") from error


def _named(links: Sequence[tuple[ChainId, Link]]) -> list[list[str | int]]:
    return [[one.institution, one.writer, link.sequence, link.digest] for one, link in links]


def _links(named: list[list[Any]]) -> list[tuple[ChainId, Link]]:
    return [(ChainId(institution, writer), Link(*link)) for institution, writer, *link in named]


def _parsed(body: bytes, said: dict[str, Any]) -> Root:
    before = said["prev_until"]
    return Root(
        Tip(said["number"], blake3(json.loads(body)["signed"].encode()).hexdigest(), _moment(said["until"])),
        said["prev"],
        None if before is None else _moment(before),
        _moment(said["at"]),
        _links(said["roots"]),
        _links(said["lost"]),
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def read(bucket: LockedBucket, key: Ed25519PublicKey, known: Tip) -> Signed:
    """All roots.

    Args:
        bucket: where they are.
        key: the public half of the one that signed them.
        known: the last one that the database knows of.

    Raises:
        DamagedError: one is missing, or was signed by another key.
        UnavailableError: no answer.
    """
    found = Signed()
    tips = frozenset({BEGIN.digest})
    foreign = 0  # the first number behind the last root under which somebody has put something else
    for number, roots in valid(bucket, key, ""):
        if not roots:
            foreign = foreign or number
            continue
        # Between two that follow each other may be numbers that were taken (signing.py).
        if not any(one.after in tips for one in roots):
            if number == found.tip.number + 1:
                raise DamagedError(f"bucket {bucket.name}: root {number} does not follow root {number - 1}")
            _require_expired(bucket, found.tip.number + 1, foreign, roots[0].before_locked_until)
        for one in roots:
            for chain, link in one.links:
                found.links.setdefault(chain, SignedLines()).add(link)
            for chain, link in one.lost:
                if chain in found.links and found.links[chain].discard(link):
                    found.lost += 1
        found.tip, found.at, foreign = roots[0].tip, roots[0].at, 0
        tips = frozenset(one.tip.digest for one in roots)
    if found.tip.number < known.number:
        _require_expired(bucket, found.tip.number + 1, foreign, known.locked_until)
    return found


def _require_expired(bucket: LockedBucket, number: int, foreign: int, until: datetime | None) -> None:
    """Raise DamagedError unless what is missing may have gone: its lock, and those of all before it, have ended."""
    if until is None or until > datetime.now(UTC):
        if number == foreign:
            raise DamagedError(f"bucket {bucket.name}: the signature of root {number} does not hold")
        raise DamagedError(f"bucket {bucket.name}: root {number} is missing")


def valid(bucket: LockedBucket, key: Ed25519PublicKey, after: str) -> Iterator[tuple[int, list[Root]]]:
    """Numbers in keys behind `after`, in order, and all versions of each whose signatures hold; there may be none."""
    listed = (one for one in bucket.versions(after) if number_in(one.key))
    read_ahead = in_order(listed, bucket.read)
    for number, versions in groupby(read_ahead, lambda one: number_in(one[0].key)):
        roots: list[Root] = []
        for _, body in versions:
            try:
                root = opened(key, body.result())
            except DamagedError:
                continue  # somebody has put something else under its key, which adds a version
            if root.tip.number == number:
                roots.append(root)
        yield number, roots
