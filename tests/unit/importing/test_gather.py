"""Requests are of one series where files come that way, and bounded however they come."""

import random

from hypothesis import given
from hypothesis import strategies as st

from imagerepo.flows.importing import gather
from imagerepo.flows.importing.gather import MOST_BYTES, MOST_PARTS, Gathering, Request
from imagerepo.model.imports import Candidate, Names

MIB = 1 << 20


def candidate(number: int, series: int, size: int = 1000, instance: int | None = None) -> Candidate:
    names = Names("1", f"1.{series}", f"1.{series}.{number if instance is None else instance}")
    return Candidate(f"{series}/{number}", f"{series}/{number}".encode(), names, size, b"", size)


def gathered(candidates: list[Candidate]) -> list[Request]:
    gathering = Gathering()
    ready = [request for one in candidates for request in gathering.add(one)]
    return [*ready, *gathering.rest()]


def series_of(request: Request) -> set[str]:
    return {one.names.series for one in request if one.names is not None}


def test_a_series_that_comes_in_turns_with_another_is_a_request() -> None:
    requests = gathered([candidate(number, number % 2, 50_000) for number in range(200)])
    assert [len(series_of(one)) for one in requests] == [1, 1]


def test_small_series_share_a_request() -> None:
    assert len(gathered([candidate(0, series) for series in range(100)])) == 1


def test_what_is_large_or_nameless_is_alone_and_at_once() -> None:
    gathering = Gathering()
    large = candidate(1, 1, MOST_BYTES + 1)
    nameless = Candidate("x", b"x", None, 10, b"", 10)
    assert list(gathering.add(large)) == [[large]]
    assert list(gathering.add(nameless)) == [[nameless]]


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 9 * MIB) | st.integers(1, 5000), st.integers(0, 30)), max_size=300
    )
)
def test_all_come_once_in_order_within_bounds(drawn: list[tuple[int, int, int]]) -> None:
    candidates = [candidate(number, series, size, instance) for number, (series, size, instance) in enumerate(drawn)]
    requests = gathered(candidates)
    assert sorted(one.place for request in requests for one in request) == sorted(one.place for one in candidates)
    for request in requests:
        assert len(request) <= MOST_PARTS
        assert len(request) == 1 or sum(one.size for one in request) <= MOST_BYTES
        names = [one.names for one in request]
        assert len(set(names)) == len(names)  # an instance stands once in a request


def test_what_waits_is_bounded() -> None:
    gathering, rng = Gathering(), random.Random(1)
    waiting = 0
    for number in range(5000):
        one = candidate(number, rng.randrange(2000), rng.randrange(1, MIB))
        waiting += one.size - sum(other.size for request in gathering.add(one) for other in request)
        assert waiting <= gather._WAITING_BYTES
