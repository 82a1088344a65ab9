"""adapters.bundles.compaction_plan: few objects in the end, no byte copied too often, never the same plan twice."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from imagerepo.adapters.bundles.compaction_plan import INSTANCES, Lying, plan, small

MOST = 32 << 20


def lying(number: int, held: int, versions: int = 1, *, is_torn: bool = False) -> Lying:
    return Lying(number, "bucket", f"key-{number}", held + 1000, held, versions, number << 10, number << 10, is_torn)


def compacted(objects: list[Lying], most: int = MOST) -> tuple[list[Lying], int]:
    """The objects when nothing is left to do, and how many bytes were copied."""
    copied = 0
    number = max((one.id for one in objects), default=0)
    for _ in range(len(objects) + 1):
        targets = plan(objects, most)
        if not targets:
            return objects, copied
        for target in targets:
            number += 1
            made = lying(number, sum(one.held for one in target), sum(one.versions for one in target))
            copied += made.held
            objects = [one for one in objects if one not in target] + [made]
    raise AssertionError("it does not come to an end")


sizes = st.lists(st.integers(1, 40 << 20), max_size=60)


@settings(max_examples=200, deadline=None)
@given(sizes, st.integers(1 << 20, 64 << 20))
def test_it_comes_to_an_end_and_nothing_is_lost(held: list[int], most: int) -> None:
    before = [lying(number, size) for number, size in enumerate(held)]
    after, _ = compacted(before, most)
    assert sum(one.held for one in after) == sum(held)
    assert sum(one.versions for one in after) == len(held)
    assert all(one.held <= most or one in before for one in after)
    assert plan(after, most) == []


@settings(max_examples=200, deadline=None)
@given(sizes)
def test_no_two_that_are_small_are_left_unless_one_outweighs_the_others(held: list[int]) -> None:
    after, _ = compacted([lying(number, size) for number, size in enumerate(held)])
    few = sorted(one.held for one in after if one.held < small(MOST))
    assert all(larger > 8 * smaller for smaller, larger in pairwise(few))


def test_a_series_stored_singly_becomes_as_few_objects_as_its_bytes_need() -> None:
    after, copied = compacted([lying(number, 20 << 10) for number in range(2000)])
    assert len(after) == 2
    assert copied == 2000 * (20 << 10)


def test_a_series_that_came_at_once_is_left_as_it_is() -> None:
    assert plan([lying(number, 512 * (20 << 10), 512) for number in range(4)], MOST) == []


def test_a_series_that_grows_by_one_now_and_then_has_few_objects_and_is_not_copied_over_and_over() -> None:
    objects: list[Lying] = []
    copied = 0
    for number in range(2000):
        objects, more = compacted([*objects, lying(10_000 * number, 20 << 10)])
        copied += more
        assert len(objects) <= 8
    assert copied < 40 * 2000 * (20 << 10)


def test_what_nobody_needs_any_more_is_left_behind_however_large_the_object_is() -> None:
    torn = lying(1, 30 << 20, is_torn=True)
    assert plan([torn, lying(2, 30 << 20)], MOST) == [[torn]]


def test_an_object_has_no_more_versions_than_a_transaction_can_change() -> None:
    after, _ = compacted([lying(number, 100, 512) for number in range(20)])
    assert max(one.versions for one in after) <= INSTANCES
    assert len(after) == 3


def test_objects_of_two_stores_stay_apart() -> None:
    here, there = lying(1, 100), Lying(2, "other", "key", 1100, 100, 1, 0, 0, is_torn=False)
    assert plan([here, there], MOST) == []


def test_what_is_read_for_one_object_is_bounded_however_little_of_it_is_needed() -> None:
    """As of a thousand objects of which one instance each is left: whoever reads them has them in memory."""
    torn = [
        Lying(number, "bucket", f"{number}", 16 << 20, 20 << 10, 1, number, number, is_torn=True)
        for number in range(1000)
    ]
    targets = plan(torn, MOST)
    assert sum(map(len, targets)) == 1000
    assert max(sum(one.size for one in target) for target in targets) <= 2 * MOST
