"""A tombstone in the journal is honoured wherever the index is made anew, by this version of the format already."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagerepo.adapters.index_sql.engine import INDEX
from imagerepo.model.caller import Caller, Protocol, Role
from imagerepo.model.events import Action, JournalRequest
from imagerepo.model.query import Level, Query
from imagerepo.model.tier import Tier
from tests.harness.archive import Archive, in_segments
from tests.harness.dicom_file import ct, uid
from tests.harness.requests import store

ADMIN = Caller("default", "token:admin", "127.0.0.1", Protocol.HTTP, frozenset({Role.ADMIN}))


def instances(archive: Archive) -> set[str]:
    found = archive.index.search(Query("default", Level.INSTANCE, (), 100))
    return {one.instance.uid for one in found if one.instance is not None}


@pytest.mark.parametrize(
    ("scope", "left"),
    [
        ((("study", uid(1)),), {(2, 1, 4)}),
        ((("study", uid(1)), ("series", uid(1, 1))), {(1, 2, 3), (2, 1, 4)}),
        ((("study", uid(1)), ("series", uid(1, 1)), ("instance", uid(1, 1, 1))), {(1, 1, 2), (1, 2, 3), (2, 1, 4)}),
    ],
)
def test_what_a_tombstone_names_does_not_come_back(
    tmp_path: Path, scope: tuple[tuple[str, str], ...], left: set[tuple[int, ...]]
) -> None:
    kept = ct(4, study=2)
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(one) for one in (ct(1), ct(2), ct(3, series=2), kept)])
        archive.commits.commit([store(ct(1, variant=1))])
        archive.commits.commit(
            [JournalRequest(ADMIN, Action.DELETE, datetime.now(UTC), (*scope, ("reason", "consent")))]
        )
    for path in tmp_path.glob(f"{INDEX}*"):
        path.unlink()
    with in_segments(tmp_path) as archive:
        assert instances(archive) == {uid(*one) for one in left}
        holdings = archive.index.holdings()["default"]
        assert holdings.instances == len(left)
        assert holdings.studies == len({study for study, *_ in left})
        assert holdings.bytes_by_tier[Tier.HOT] == len(kept.part10) * len(left)


def test_what_is_stored_after_a_tombstone_is_there(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        archive.commits.commit([JournalRequest(ADMIN, Action.DELETE, datetime.now(UTC), (("study", uid(1)),))])
        archive.commits.commit([store(ct(2))])
    for path in tmp_path.glob(f"{INDEX}*"):
        path.unlink()
    with in_segments(tmp_path) as archive:
        assert instances(archive) == {uid(1, 1, 2)}
