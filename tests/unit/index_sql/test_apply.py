"""Rows of versions: the same whatever the order of commits, and none of what was never acknowledged."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imagerepo.adapters.index_sql.apply import Applier, Stored
from imagerepo.adapters.index_sql.engine import INDEX, connect, transaction
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.segments import folder
from imagerepo.model.instance import Range
from imagerepo.model.query import Level, Query
from imagerepo.model.scope import Scope
from imagerepo.model.tier import Tier
from imagerepo.model.uids import Uid
from tests.harness.dicom_file import DicomFile, ct
from tests.harness.requests import store


def stored(file: DicomFile, commit: int, key: str, number: int = 1) -> Stored:
    request = store(file)
    return Stored(
        institution="default",
        attributes=request.attributes,
        layout=request.layout,
        transfer_syntax=request.transfer_syntax,
        number=number,
        digest=request.digest,
        crc32=request.crc32,
        size=request.payload.size,
        received_at=request.received_at,
        commit=commit,
        place=0,
        ranges=(Range("data", key, 0, request.payload.size),),
    )


def apply(data: Path, *batches: list[Stored], write: Callable[[Applier, list[Stored]], object] = Applier.replay):
    """An index with these batches, written one after another."""
    folder.make_ready(data, ())
    connection = connect(data / INDEX)
    for batch in batches:
        with transaction(connection):
            write(Applier(connection), batch)
    connection.close()
    return SqlIndex(data)


def moved(one: Stored, study: str, series: str) -> Stored:
    return replace(one, attributes=replace(one.attributes, study_uid=Uid(study), series_uid=Uid(series)))


@pytest.mark.parametrize("first", ["acknowledged", "failed"])
@pytest.mark.parametrize("place", ["same study", "elsewhere"])
def test_of_two_commits_with_one_version_number_the_later_counts(tmp_path: Path, first: str, place: str) -> None:
    failed = stored(ct(1, variant=1), 7, "failed")
    if place == "elsewhere":
        failed = moved(failed, "1.2.3.99", "1.2.3.98")
    acknowledged = stored(ct(1), 8, "acknowledged")
    order = [[acknowledged], [failed]] if first == "acknowledged" else [[failed], [acknowledged]]
    index = apply(tmp_path, *order)
    version = index.version(Scope("default", instance_uid=acknowledged.attributes.instance_uid))
    assert version.copy.ranges == tuple(acknowledged.ranges)
    assert version.digest == acknowledged.digest
    (study,) = index.search(Query("default", Level.STUDY, (), 10))
    assert (study.study.uid, study.study.series_count, study.study.instance_count) == (
        acknowledged.attributes.study_uid,
        1,
        1,
    )
    holdings = index.holdings()["default"]
    assert (holdings.studies, holdings.series, holdings.instances) == (1, 1, 1)
    assert holdings.bytes_by_tier[Tier.HOT] == acknowledged.size


def test_attributes_are_those_of_the_earliest_commit_whatever_the_order(tmp_path: Path) -> None:
    early, late = stored(ct(1), 1, "a"), stored(ct(2), 2, "b")
    late = replace(late, attributes=replace(late.attributes, study_description="LATER"))
    for name, order in (("forth", [[early], [late]]), ("back", [[late], [early]])):
        index = apply(tmp_path / name, *order)
        (found,) = index.search(Query("default", Level.STUDY, (), 10))
        assert found.study.description == early.attributes.study_description
        assert found.study.instance_count == 2
