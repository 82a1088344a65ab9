"""adapters.bundles.together: what one call stores to a study is handed on at once, in order; nothing is forgotten."""

import random
from collections.abc import Sequence

import pytest

from imagerepo.adapters.bundles.item import Item, made_of
from imagerepo.adapters.bundles.together import Together, keep
from imagerepo.errors import UnavailableError
from tests.harness.dicom_file import ct
from tests.harness.requests import store


def call(*places: tuple[int, int, int]) -> list[Item]:
    """Items of one call: study, series, number of each."""
    items = made_of([store(ct(number, study=study, series=series)) for study, series, number in places], 0.0)
    keep(items)
    return items


def names(lots: Sequence[Sequence[Item]]) -> list[list[int]]:
    return [[item.number for item in lot] for lot in lots]


def test_a_study_s_series_wait_for_each_other_and_go_in_the_call_s_order() -> None:
    first, second, third = call((1, 1, 1), (1, 2, 1), (1, 1, 2))
    together = Together()
    assert together.arrived([second]) == []
    assert names(together.arrived([first, third])) == names([[first, second, third]])


def test_studies_and_calls_do_not_wait_for_each_other() -> None:
    one, other_study = call((1, 1, 1), (2, 1, 1))
    (other_call,) = call((1, 1, 2))
    together = Together()
    for item in (other_call, other_study, one):
        assert names(together.arrived([item])) == names([[item]])


def test_calls_that_share_an_object_go_together() -> None:
    first, second = call((1, 1, 1), (1, 2, 1))
    third, fourth = call((1, 1, 2), (1, 3, 1))
    together = Together()
    assert together.arrived([first, third]) == []
    assert together.arrived([second]) == []
    assert names(together.arrived([fourth])) == names([[first, second, third, fourth]])


def test_what_has_failed_is_not_waited_for() -> None:
    first, second = call((1, 1, 1), (1, 2, 1))
    together = Together()
    assert together.arrived([first]) == []
    second.fail(UnavailableError("no store"))
    assert names(together.arrived([second])) == names([[first]])


@pytest.mark.parametrize("seed", range(40))
def test_everything_is_handed_on_once_whatever_arrives_when(seed: int) -> None:
    chance = random.Random(seed)
    calls = [
        call(*((chance.randrange(3), chance.randrange(3), 100 * number + k) for k in range(chance.randrange(1, 8))))
        for number in range(8)
    ]
    items = [item for one in calls for item in one]
    objects: dict[tuple[str, int], list[Item]] = {}
    for item in items:
        objects.setdefault((item.request.attributes.series_uid, chance.randrange(2)), []).append(item)
    arriving = list(objects.values())
    chance.shuffle(arriving)
    together = Together()
    handed: list[list[Item]] = []
    failed: list[Item] = []
    for one in arriving:
        if chance.random() < 0.2:
            for item in one:
                item.fail(UnavailableError("no store"))
            failed += one
        handed += together.arrived(one)
    flat = [item for lot in handed for item in lot]
    assert sorted(item.number for item in flat) == sorted({item.number for item in items} - {i.number for i in failed})
    where = {id(item): number for number, lot in enumerate(handed) for item in lot}
    for one in calls:
        for study in {item.request.attributes.study_uid for item in one}:
            of_study = [item for item in one if item.request.attributes.study_uid == study and id(item) in where]
            assert len({where[id(item)] for item in of_study}) <= 1
    assert all([item.number for item in lot] == sorted(item.number for item in lot) for lot in handed)
