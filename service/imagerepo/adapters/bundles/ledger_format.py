"""The bytes of a ledger object (docs/format.md): a segment's header, what the object is, then a record a commit.

A commit's record has the journal's lines of one commit and institution as they are in the database. An object is
written once and read whole, so that whatever is not as it should be is damage.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from blake3 import blake3

from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.format import RECORD_HEADER, SEGMENT_HEADER, Kind
from imagerepo.errors import DamagedError
from imagerepo.model import checksum

_NAME: Final = "ledger"  # for the header's writer, and in keys
_KEY: Final = re.compile(rf"([a-z0-9-]+)/{_NAME}/(\d{{6}})-(\d{{12}})\Z")

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Which of an institution's ledger objects: the epoch, and the number, which goes on through all epochs."""

    epoch: int  # from 1; a new one begins where the database has been set back
    number: int  # from 1, without gaps


@dataclass(frozen=True, slots=True)
class Tip:
    """An object that others follow."""

    place: Place
    digest: str  # BLAKE3 of its bytes, hexadecimal


BEGIN: Final = Tip(Place(1, 0), lines.ORIGIN)
"""What the first object of all follows."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A row of the journal: the lines of one commit and institution."""

    commit: int
    institution: str
    writer: str
    first: int  # number of the first line in its chain
    stored: int  # as the row has it: versions that whoever follows is told of
    place: int  # how many versions the same commit stored for institutions that come before in order of names
    lines: bytes  # joined by line feeds, none at the end

    @property
    def last(self) -> int:
        """Number of the last line in its chain."""
        return self.first + self.lines.count(b"\n")

    @property
    def digest(self) -> str:
        """What the next line of the chain says as `prev`."""
        return digest_of_last(self.lines)


@dataclass(frozen=True, slots=True)
class LedgerObject:
    """An object that was read."""

    institution: str
    place: Place
    after: Tip  # the object that it follows
    digest: str  # BLAKE3 of its bytes
    entries: Sequence[LedgerEntry]  # in the order in which they became visible

    @property
    def key(self) -> str:
        """Where it lies in the institution's bucket."""
        return key_of(self.institution, self.place)

    @property
    def tip(self) -> Tip:
        """For what follows."""
        return Tip(self.place, self.digest)


def digest_of_last(body: bytes) -> str:
    """What the next line of a chain says as `prev`, behind lines that are joined by line feeds."""
    return lines.digest_of(body.rpartition(b"\n")[2])


def key_of(institution: str, place: Place) -> str:
    """Where it lies in the institution's bucket. No Study Instance UID is a word."""
    return f"{prefix_of(institution)}{place.epoch:06d}-{place.number:012d}"


def prefix_of(institution: str) -> str:
    """What all keys of an institution's ledger begin with."""
    return f"{institution}/{_NAME}/"


def is_ledger(key: str) -> bool:
    """Whether a key is of the ledger, not of instances."""
    return key.partition("/")[2].startswith(f"{_NAME}/")


def place_in(key: str) -> Place | None:
    """The place that a key names; None: the ledger has no such key."""
    found = _KEY.match(key)
    return None if found is None else Place(int(found[2]), int(found[3]))


def encoded(institution: str, place: Place, after: Tip, entries: Sequence[LedgerEntry]) -> bytes:
    """The object's bytes; those of the same content made twice differ in their seals."""
    seal = segment_format.new_seal()
    head = {
        "ledger": institution,
        "epoch": place.epoch,
        "number": place.number,
        "after": [after.place.epoch, after.place.number],
        "prev": after.digest,
        "commits": len(entries),
    }
    parts = [segment_format.segment_header(_NAME, place.number, seal), *_record(seal, 0, _to_json(head).encode())]
    for one in entries:
        said: dict[str, Any] = {
            "commit": one.commit,
            "writer": one.writer,
            "voids": [],
            "first": one.first,
            "stored": one.stored,
            "place": one.place,
        }
        parts += _record(seal, one.commit, _to_json(said).encode() + b"\n" + one.lines)
    return b"".join(parts)


def _record(seal: bytes, number: int, body: bytes) -> tuple[bytes, bytes]:
    crc32 = checksum.crc32(body, 0)
    return segment_format.record_header(Kind.COMMIT, seal, len(body), number, crc32), body


def decoded(body: bytes, key: str) -> LedgerObject:
    """An object's content.

    Args:
        body: all of its bytes.
        key: where it lay.

    Raises:
        DamagedError: it is not whole, of another version, or of another key.
    """
    try:
        head, *commits = _records(body, key)
        said: dict[str, Any] = json.loads(head[1])
        found = LedgerObject(
            said["ledger"],
            Place(said["epoch"], said["number"]),
            Tip(Place(*said["after"]), said["prev"]),
            blake3(body).hexdigest(),
            [_entry(said["ledger"], number, record) for number, record in commits],
        )
        if found.key != key or len(commits) != said["commits"]:
            raise DamagedError(f"ledger object {key} is not the one that was put there")
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"ledger object {key} cannot be read: {error}") from error
    return found


def _records(body: bytes, key: str) -> list[tuple[int, bytes]]:
    """Commit number and payload of each."""
    if not segment_format.is_whole_header(body[:SEGMENT_HEADER]):
        raise DamagedError(f"ledger object {key}: its header is damaged")
    seal = segment_format.check_segment_header(body[:SEGMENT_HEADER], f"ledger object {key}")
    found: list[tuple[int, bytes]] = []
    at = SEGMENT_HEADER
    while at < len(body):
        record = segment_format.parse_record(body[at : at + RECORD_HEADER], seal, at)
        payload = b"" if record is None else body[record.payload : record.end]
        if record is None or record.end > len(body) or checksum.crc32(payload, 0) != record.crc32:
            raise DamagedError(f"ledger object {key} is damaged at byte {at}")
        found.append((record.number, payload))
        at = record.end
    return found


def _entry(institution: str, number: int, payload: bytes) -> LedgerEntry:
    head, _, body = payload.partition(b"\n")
    said: dict[str, Any] = json.loads(head)
    if said["commit"] != number:
        raise ValueError(f"the record of commit {number} has the head of {said['commit']}")
    return LedgerEntry(number, institution, said["writer"], said["first"], said["stored"], said["place"], body)
