"""Journal lines: what a commit record holds, one JSON object a line.

The first line says which commit it is. Every other line is a journal entry, chained to the one before it of the
same institution and writer: `prev` is the BLAKE3 of that line's bytes. A line is never changed once written.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blake3 import blake3

from imagerepo.adapters.index_sql.holds import HoldEntry
from imagerepo.errors import DamagedError
from imagerepo.model.caller import Caller
from imagerepo.model.events import Action, ChangeRequest, JournalRequest, StoreRequest
from imagerepo.model.instance import Range

ORIGIN = "0" * 64  # `prev` of a chain's first line

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _encode(fields: dict[str, Any]) -> bytes:
    # A lone surrogate, such as a query may bring, has no UTF-8: it becomes the escape that JSON has for it.
    return _to_json(fields).encode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands: the last line's number and BLAKE3."""

    sequence: int
    digest: str  # hexadecimal


START = Link(0, ORIGIN)


@dataclass(frozen=True, slots=True)
class StoreLine:
    """What a line of action `store` says; the rest of the index is read from the bytes themselves."""

    institution: str
    commit: int
    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str
    transfer_syntax: str
    version: int
    digest: bytes
    crc32: int
    size: int
    received_at: datetime
    data_set_offset: int
    header_length: int
    trailer_offset: int
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class DeleteLine:
    """What a line of action `delete`, a tombstone, says: all of this that earlier commits stored is gone."""

    institution: str
    commit: int
    at: datetime
    study_uid: str
    series_uid: str | None  # None: the whole study
    instance_uid: str | None  # None: the whole series
    commits: tuple[int, ...]  # that count although bytes which they stored may be gone


def store_line(request: StoreRequest, version: int, where: Sequence[Range], commit: int, link: Link) -> bytes:
    """The line that names an instance's version and where its bytes lie."""
    attributes, layout = request.attributes, request.layout
    return _encode(
        {
            **_head(request.caller, Action.STORE, request.received_at, commit, link),
            "study": attributes.study_uid,
            "series": attributes.series_uid,
            "instance": attributes.instance_uid,
            "class": attributes.sop_class_uid,
            "syntax": request.transfer_syntax,
            "version": version,
            "digest": request.digest.hex(),
            "crc32": request.crc32,
            "size": request.payload.size,
            "layout": [layout.data_set_offset, layout.header_length, layout.trailer_offset],
            "ranges": [[one.store, one.key, one.offset, one.length] for one in where],
        }
    )


def moved_line(fields: dict[str, Any], version: int, commit: int, where: Sequence[Range]) -> bytes:
    """A line that says what a `store` line did, of bytes that lie elsewhere now; and which version they became."""
    ranges = [[one.store, one.key, one.offset, one.length] for one in where]
    return _encode({**fields, "version": version, "commit": commit, "ranges": ranges})


def journal_line(request: JournalRequest, commit: int, link: Link) -> bytes:
    """The line of an entry that changes nothing stored."""
    return _encode({**_head(request.caller, request.action, request.at, commit, link), **dict(request.detail)})


def change_line(request: ChangeRequest, extent: tuple[int, list[int]], commit: int, link: Link) -> bytes:
    """The line of a deletion, or of a hold that is set or lifted.

    Args:
        request: what is to be done.
        extent: of a deletion: instances that it removes, and which of their commits are the last of their segments.
        commit: the number of the commit that the line stands in.
        link: where the chain stands.
    """
    detail: dict[str, Any] = {"study": request.study_uid}
    if request.series_uid is not None:
        detail["series"] = request.series_uid
    if request.instance_uid is not None:
        detail["instance"] = request.instance_uid
    detail["reason"] = request.reason
    if request.action is Action.DELETE:
        detail["instances"], detail["commits"] = extent
    return _encode({**_head(request.caller, request.action, request.at, commit, link), **detail})


def _head(caller: Caller, action: Action, at: datetime, commit: int, link: Link) -> dict[str, Any]:
    return {
        "action": action.value,
        "institution": caller.institution,
        "commit": commit,
        "seq": link.sequence + 1,
        "prev": link.digest,
        "at": at.isoformat(timespec="microseconds"),
        "caller": caller.name,
        "address": caller.address,
        "protocol": caller.protocol.value,
    }


def digest_of(line: bytes) -> str:
    """What the next line of the chain says as `prev`."""
    return blake3(line).hexdigest()


def follow(link: Link, line: bytes) -> Link:
    """Where the chain stands after `line`."""
    return Link(link.sequence + 1, digest_of(line))


def commit_body(number: int, writer: str, voids: Sequence[int], lines: Sequence[bytes]) -> bytes:
    """The payload of a commit record.

    `voids` are commits of this writer whose flush failed: they were never acknowledged, their lines do not count.
    """
    head = _encode({"commit": number, "writer": writer, "voids": list(voids)})
    return b"\n".join([head, *lines])


@dataclass(frozen=True, slots=True)
class CommitHead:
    """The first line of a commit."""

    number: int
    writer: str
    voids: tuple[int, ...]


def parse_body(body: bytes, place: str) -> tuple[CommitHead, list[bytes]]:
    """Head and lines of a commit. Raises DamagedError that names `place`."""
    head, *lines = body.split(b"\n")
    try:
        fields = json.loads(head)
        return CommitHead(fields["commit"], fields["writer"], tuple(fields["voids"])), lines
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"the commit at {place} cannot be read: {error}") from error


def parse_line(line: bytes, place: str) -> dict[str, Any]:
    """A line's fields. Raises DamagedError that names `place`."""
    try:
        fields: dict[str, Any] = json.loads(line)
        for needed in ("action", "institution", "commit", "seq", "prev"):
            fields[needed]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"a journal line at {place} cannot be read: {error}") from error
    return fields


def stores(fields: dict[str, Any], commit: int) -> Iterator[StoreLine]:
    """The stored version that a line names, if it names one."""
    if fields["action"] == Action.STORE:
        data_set_offset, header_length, trailer_offset = fields["layout"]
        yield StoreLine(
            institution=fields["institution"],
            commit=commit,
            study_uid=fields["study"],
            series_uid=fields["series"],
            instance_uid=fields["instance"],
            sop_class_uid=fields["class"],
            transfer_syntax=fields["syntax"],
            version=fields["version"],
            digest=bytes.fromhex(fields["digest"]),
            crc32=fields["crc32"],
            size=fields["size"],
            received_at=datetime.fromisoformat(fields["at"]),
            data_set_offset=data_set_offset,
            header_length=header_length,
            trailer_offset=trailer_offset,
            ranges=tuple(Range(*one) for one in fields["ranges"]),
        )


def deletes(fields: dict[str, Any], commit: int) -> Iterator[DeleteLine]:
    """The tombstone that a line is, if it is one."""
    if fields["action"] == Action.DELETE:
        yield DeleteLine(
            institution=fields["institution"],
            commit=commit,
            at=datetime.fromisoformat(fields["at"]),
            study_uid=fields["study"],
            series_uid=fields.get("series"),
            instance_uid=fields.get("instance"),
            commits=tuple(fields.get("commits", ())),
        )


def holds(fields: dict[str, Any], commit: int) -> Iterator[HoldEntry]:
    """The hold that a line sets or lifts, if it does."""
    if fields["action"] in {Action.HOLD, Action.RELEASE}:
        yield HoldEntry(
            institution=fields["institution"],
            commit=commit,
            study_uid=fields["study"],
            held=fields["action"] == Action.HOLD,
            at=datetime.fromisoformat(fields["at"]),
            caller=fields["caller"],
            reason=fields["reason"],
        )
