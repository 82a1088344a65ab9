"""Lines that signed roots name: all are kept, in little room."""

import tracemalloc

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.adapters.bundles.signed_lines import SignedLines
from imagerepo.adapters.segments.lines import Link


def link(sequence: int, what: str = "") -> Link:
    return Link(sequence, blake3(f"{sequence} {what}".encode()).hexdigest())


LINKS = st.builds(link, st.integers(1, 12), st.sampled_from(["", "other"]))


@given(st.lists(st.tuples(st.booleans(), LINKS)))
def test_they_are_what_was_added_and_not_discarded(steps: list[tuple[bool, Link]]) -> None:
    found, expected = SignedLines(), set[Link]()
    for adds, one in steps:
        if adds:
            found.add(one)
            expected.add(one)
        else:
            assert found.discard(one) == (one in expected)
            expected.discard(one)
    assert len(found) == len(expected)
    latest = list(found.latest_first())
    assert set(latest) == expected
    assert [one.sequence for one in latest] == sorted((one.sequence for one in expected), reverse=True)


@given(st.sets(LINKS), st.integers(0, 14))
def test_the_first_that_does_not_come_is_missing(signed: set[Link], end: int) -> None:
    lines = SignedLines()
    for one in signed:
        lines.add(one)
    chain = [link(sequence) for sequence in range(1, end + 1)]
    followed = lines.followed()
    for one in chain:
        followed.come(one)
    assert followed.missing == min((one.sequence for one in signed - set(chain)), default=None)


def test_each_takes_forty_bytes() -> None:
    tracemalloc.start()
    try:
        lines = SignedLines()
        for number in range(5_000):
            lines.add(link(number))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 60 * 5_000
