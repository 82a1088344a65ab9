"""What a data folder holds once nothing runs on it: every row's bytes, read through the adapters."""

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
from tests.harness.dicom_file import data_set_of


@dataclass(frozen=True)
class Stored:
    """All versions, by institution, SOP Instance UID and number."""

    data_sets: dict[tuple[str, str, int], bytes]

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
    found: dict[tuple[str, str, int], bytes] = {}
    size: dict[str, int] = {}
    for institution, uid, current, study, deleted in rows:
        assert current > deleted
        for number in range(deleted + 1, current + 1):
            version = index.version(Scope(institution, Uid(study), None, Uid(uid), number))
            whole = b"".join(objects.read(where) for where in version.copy.ranges)
            assert len(whole) == version.size, (uid, number)
            assert checksum.crc32(whole, 0) == version.crc32, (uid, number)
            assert blake3(whole[version.layout.data_set_offset :]).digest() == version.digest, (uid, number)
            found[institution, uid, number] = data_set_of(whole)
            size[institution] = size.get(institution, 0) + version.size
    holdings = index.holdings()
    held = {name: sum(one.bytes_by_tier.values()) for name, one in holdings.items()}
    assert {name: one for name, one in held.items() if one} == size
    assert sum(one.instances for one in holdings.values()) == len(rows)
    assert verify.verify(data, with_bytes=True).damage == []
    return Stored(found)
