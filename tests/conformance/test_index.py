"""ports.index.Index: names and pages."""

from dataclasses import replace

import pytest

from imagerepo.errors import NotFoundError
from imagerepo.model.query import Level, Query
from imagerepo.model.scope import Scope
from imagerepo.model.tier import Tier
from imagerepo.model.uids import Uid
from tests.harness.archive import Archive
from tests.harness.dicom_file import ct, uid
from tests.harness.requests import store


def pages(archive: Archive, scope: Scope, limit: int) -> list[list[str]]:
    found, after = [], 0
    while page := archive.index.versions(scope, after, limit):
        after = page[-1][0]
        found.append([version.instance_uid for _, version in page])
    return found


def in_default(**names: str | int) -> Scope:
    return Scope("default", **{name: one if isinstance(one, int) else Uid(one) for name, one in names.items()})


def test_a_version_says_all_that_was_committed(archive: Archive) -> None:
    request = store(ct(1))
    archive.commits.commit([request])
    version = archive.index.version(in_default(instance_uid=ct(1).instance))
    assert (version.study_uid, version.series_uid) == (ct(1).study, ct(1).series)
    assert (version.digest, version.crc32, version.size) == (request.digest, request.crc32, request.payload.size)
    assert (version.layout, version.transfer_syntax) == (request.layout, request.transfer_syntax)
    assert version.received_at == request.received_at
    assert sum(where.length for where in version.copy.ranges) == version.size


@pytest.mark.parametrize(
    "names",
    [
        {"instance_uid": uid(7)},
        {"instance_uid": ct(1).instance, "version": 2},
        {"instance_uid": ct(1).instance, "study_uid": uid(2)},
        {"instance_uid": ct(1).instance, "study_uid": ct(1).study, "series_uid": uid(1, 2)},
    ],
)
def test_an_instance_is_found_under_its_own_names_alone(archive: Archive, names: dict[str, str | int]) -> None:
    archive.commits.commit([store(ct(1))])
    assert archive.index.version(in_default(instance_uid=ct(1).instance, study_uid=ct(1).study)).number == 1
    with pytest.raises(NotFoundError):
        archive.index.version(in_default(**names))


def test_another_institution_finds_nothing(archive: Archive) -> None:
    archive.commits.commit([store(ct(1)), store(ct(5, study=5), "other")])
    for scope in (Scope("other", instance_uid=Uid(ct(1).instance)), Scope("nobody", instance_uid=Uid(ct(1).instance))):
        with pytest.raises(NotFoundError):
            archive.index.version(scope)
        with pytest.raises(NotFoundError):
            archive.index.study_of(scope)
    assert archive.index.search(Query("nobody", Level.STUDY, (), 10)) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_hold_every_instance_once_each_series_in_order_of_storing(archive: Archive, limit: int) -> None:
    files = [ct(number, series=1 + number % 2) for number in range(7)]
    for file in files:
        archive.commits.commit([store(file)])
    archive.commits.commit([store(ct(1, study=2))])
    found = pages(archive, in_default(study_uid=uid(1)), limit)
    assert all(len(page) <= limit for page in found)
    flat = [one for page in found for one in page]
    for series in (1, 2):
        assert [one for one in flat if one.startswith(uid(1, series, ""))] == [
            file.instance for file in files if file.series == uid(1, series)
        ]
    assert len(flat) == len(files)


def test_pages_of_a_study_come_series_by_series(archive: Archive) -> None:
    files = [ct(number, series=1 + number % 3) for number in range(9)]
    archive.commits.commit([store(file) for file in files])
    series = [one.rpartition(".")[0] for page in pages(archive, in_default(study_uid=uid(1)), 2) for one in page]
    assert series == [
        one for at, one in enumerate(series) if at == 0 or series[at - 1] == one or one not in series[:at]
    ]


def test_pages_hold_current_versions_only(archive: Archive) -> None:
    archive.commits.commit([store(ct(1)), store(ct(1, variant=1)), store(ct(2))])
    found = archive.index.versions(in_default(study_uid=uid(1)), 0, 10)
    assert [(version.instance_uid, version.number) for _, version in found] == [
        (ct(1).instance, 2),
        (ct(2).instance, 1),
    ]


def test_pages_of_a_series_named_without_its_study(archive: Archive) -> None:
    archive.commits.commit([store(ct(1)), store(ct(2, series=2))])
    assert pages(archive, in_default(series_uid=uid(1, 2)), 10) == [[ct(2, series=2).instance]]


def test_the_study_of_a_series_and_of_an_instance(archive: Archive) -> None:
    archive.commits.commit([store(ct(1)), store(ct(3, study=2))])
    assert archive.index.study_of(in_default(series_uid=uid(2, 1))) == uid(2)
    assert archive.index.study_of(in_default(instance_uid=ct(1).instance)) == uid(1)


@pytest.mark.parametrize("names", [{"study_uid": uid(8)}, {"series_uid": uid(8)}, {"instance_uid": uid(8)}])
def test_what_is_not_there_is_not_found(archive: Archive, names: dict[str, str]) -> None:
    archive.commits.commit([store(ct(1))])
    with pytest.raises(NotFoundError):
        archive.index.study_of(in_default(**names))
    with pytest.raises(NotFoundError):
        archive.index.versions(in_default(**names), 0, 10)


def test_holdings_count_each_thing_once_and_all_versions_bytes(archive: Archive) -> None:
    files = [ct(1), ct(1, variant=1), ct(2, series=2), ct(3, study=2)]
    archive.commits.commit([store(file) for file in [*files, ct(1)]])
    archive.commits.commit([store(ct(1), "other")])
    holdings = archive.index.holdings()
    assert sorted(holdings) == ["default", "other"]
    ours = holdings["default"]
    assert (ours.studies, ours.series, ours.instances) == (2, 3, 3)
    assert ours.bytes_by_tier[Tier.HOT] == sum(len(file.part10) for file in files)
    assert ours.bytes_by_tier.get(Tier.COLD, 0) == 0


def test_an_empty_place_can_be_read(archive: Archive) -> None:
    archive.index.check()
    assert archive.index.holdings() == {}
    assert archive.index.search(Query("default", Level.INSTANCE, (), 10)) == []


def test_a_study_says_its_modalities_and_counts_and_its_first_instance_describes_it(archive: Archive) -> None:
    other = replace(ct(2, series=2), attributes={0x00080060: ("CS", "MR"), 0x00081030: ("LO", "LATER")})
    archive.commits.commit([store(ct(1)), store(other)])
    (found,) = archive.index.search(Query("default", Level.STUDY, (), 10))
    assert found.study.modalities == ("CT", "MR")
    assert (found.study.series_count, found.study.instance_count) == (2, 2)
    assert (found.study.description, found.study.date) == ("", "20240131")


def test_arrivals_of_all_institutions_come_in_their_order_each_in_its_current_version(archive: Archive) -> None:
    assert archive.index.last_arrival() == 0
    assert list(archive.index.arrivals(0, 10)) == []
    archive.commits.commit([store(ct(1)), store(ct(2))])
    archive.commits.commit([store(ct(3, study=3), "other"), store(ct(1, variant=1))])
    found, after = [], 0
    while page := archive.index.arrivals(after, 2):
        after = page[-1][0]
        found += [(one.institution, one.instance_uid, one.number) for _, one in page]
    third = ct(3, study=3)
    assert found == [("default", ct(1).instance, 2), ("default", ct(2).instance, 1), ("other", third.instance, 1)]
    assert after == archive.index.last_arrival()
    assert archive.read(archive.index.arrivals(0, 1)[0][1]) == ct(1, variant=1).part10
