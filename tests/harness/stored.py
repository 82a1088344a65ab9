"""What a data folder holds once nothing runs on it: every row's bytes, read through the adapters."""

from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.segments import verify
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.model import checksum
from imagerepo.model.scope import Scope
from imagerepo.model.uids import Uid
from imagerepo.ports.index import Index
from imagerepo.ports.objects import Objects
from tests.harness.dicom_file import data_set_of

_AT_ONCE = 8


@dataclass(frozen=True)
class Stored:
    """All versions, by institution, SOP Instance UID and number."""

    data_sets: dict[tuple[str, str, int], bytes]

    def of(self, instances: Container[str]) -> dict[tuple[str, str, int], bytes]:
        """Those of some instances."""
        return {name: one for name, one in self.data_sets.items() if name[1] in instances}

    def versions_of(self, instance: str, institution: str = "default") -> list[bytes]:
        """An instance's data sets by version; numbers have no gap, from 1 unless something was deleted."""
        found = {
            number: one
            for (owner, uid, number), one in self.data_sets.items()
            if (owner, uid) == (institution, instance)
        }
        first = min(found, default=1)
        assert sorted(found) == list(range(first, first + len(found))), (instance, sorted(found))
        return [found[number] for number in sorted(found)]


def walk(data: Path) -> Stored:
    """Read every version; one whose bytes are not those of its row fails the test, as does a broken journal."""
    index, objects = SqlIndex(data), LocalObjects(data)
    connection = connect(data / INDEX)
    rows = connection.execute(
        "SELECT n.name, i.uid, i.current, t.uid, coalesce(g.number, 0) FROM instance i "
        "JOIN institution n ON n.id = i.institution_id JOIN study t ON t.id = i.study_id "
        "LEFT JOIN gone g ON g.institution_id = i.institution_id AND g.uid = i.uid"
    ).fetchall()
    connection.close()
    stored = compared(rows, index, objects)
    assert verify.verify(data, with_bytes=True).damage == []
    return stored


def compared(rows: Sequence[tuple[str, str, int, str, int]], index: Index, objects: Objects) -> Stored:
    """Read the versions of rows: institution, SOP Instance UID, current version, study, the last one deleted."""

    def whole(scope: Scope) -> bytes:
        """A version's file; all that its row says of it is true."""
        version = index.version(scope)
        read = b"".join(objects.read(where) for where in version.copy.ranges)
        assert len(read) == version.size, scope
        assert checksum.crc32(read, 0) == version.crc32, scope
        assert blake3(read[version.layout.data_set_offset :]).digest() == version.digest, scope
        return read

    assert all(current > deleted for _, _, current, _, deleted in rows)
    scopes = [
        Scope(institution, Uid(study), None, Uid(uid), number)
        for institution, uid, current, study, deleted in rows
        for number in range(deleted + 1, current + 1)
    ]
    found: dict[tuple[str, str, int], bytes] = {}
    size: dict[str, int] = {}
    with ThreadPoolExecutor(_AT_ONCE) as reading:
        for scope, read in zip(scopes, reading.map(whole, scopes), strict=True):
            found[scope.institution, str(scope.instance_uid), scope.version or 0] = data_set_of(read)
            size[scope.institution] = size.get(scope.institution, 0) + len(read)
    holdings = index.holdings()
    held = {name: sum(one.bytes_by_tier.values()) for name, one in holdings.items()}
    assert {name: one for name, one in held.items() if one} == size
    assert sum(one.instances for one in holdings.values()) == len(rows)
    return Stored(found)
