"""adapters.objects_s3.ahead: what was expected is fetched once, several at a time, within bounds."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagerepo.adapters.objects_s3.ahead import Bounds, ReadAhead
from imagerepo.errors import DamagedError, UnavailableError
from imagerepo.model.instance import Range

KIB = 1 << 10
BODY = bytes(range(251)) * 4200  # more than 1 MiB
BOUNDS = Bounds(memory=256 * KIB, in_flight=4, request=64 * KIB, gap=4 * KIB)


def at(start: int, length: int, key: str = "one") -> Range:
    return Range("bucket", key, start, length)


def body(where: Range) -> bytes:
    return BODY[where.offset : where.offset + where.length]


class Store:
    """Bytes that come when they are let."""

    def __init__(self) -> None:
        self.asked: list[Range] = []
        self.open = threading.Event()
        self.open.set()
        self.fails: dict[str, Exception] = {}
        self.most = 0  # requests at once
        self._now = 0
        self._lock = threading.Lock()

    def fetch(self, where: Range) -> memoryview:
        with self._lock:
            self.asked.append(where)
            self._now += 1
            self.most = max(self.most, self._now)
        self.open.wait()
        with self._lock:
            self._now -= 1
        if where.key in self.fails:
            raise self.fails[where.key]
        return memoryview(body(where))


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.open.set()


def filled(ahead: ReadAhead, where: Range) -> bytes:
    room = bytearray(where.length)
    return bytes(room[: ahead.fill(where, memoryview(room))])


def at_once(ahead: ReadAhead, where: Range) -> bytes | None:
    room = bytearray(where.length)
    return bytes(room) if ahead.fill_at_once(where, memoryview(room)) else None


def test_what_was_expected_is_there_and_fetched_once(store: Store) -> None:
    ahead = ReadAhead(store.fetch, BOUNDS)
    wanted = [at(start, 10 * KIB) for start in range(0, 100 * KIB, 20 * KIB)]
    for _ in range(2):
        ahead.expect(wanted)
    ahead.wait(wanted)
    for where in wanted:
        assert filled(ahead, where) == body(where)
        assert at_once(ahead, where) == body(where)
    assert sorted(store.asked, key=lambda where: where.offset) == wanted


def test_what_was_not_expected_is_not_waited_for(store: Store) -> None:
    ahead = ReadAhead(store.fetch, BOUNDS)
    assert filled(ahead, at(0, 10)) == b""
    assert at_once(ahead, at(0, 10)) is None
    assert store.asked == []


def test_what_is_on_its_way_is_not_at_hand_and_is_waited_for(store: Store) -> None:
    ahead = ReadAhead(store.fetch, BOUNDS)
    store.open.clear()
    ahead.expect([at(0, 100)])
    assert at_once(ahead, at(0, 100)) is None
    threading.Timer(0.05, store.open.set).start()
    assert filled(ahead, at(0, 100)) == body(at(0, 100))


def test_what_lies_close_together_and_waits_is_one_request(store: Store) -> None:
    ahead = ReadAhead(store.fetch, BOUNDS)
    store.open.clear()
    ahead.expect([at(0, 10, f"busy-{number}") for number in range(BOUNDS.in_flight)])
    wanted = [at(start, 5 * KIB) for start in range(0, 120 * KIB, 6 * KIB)]
    ahead.expect(wanted)
    store.open.set()
    ahead.wait(wanted)
    requests = [where for where in store.asked if where.key == "one"]
    assert len(requests) == 2
    assert all(where.length <= BOUNDS.request for where in requests)
    assert all(filled(ahead, where) == body(where) for where in wanted)


def test_so_many_requests_are_in_flight_and_no_more(store: Store) -> None:
    ahead = ReadAhead(store.fetch, BOUNDS)
    wanted = [at(0, KIB, f"object-{number}") for number in range(50)]
    store.open.clear()
    ahead.expect(wanted)
    while len(store.asked) < BOUNDS.in_flight:
        pass
    store.open.set()
    ahead.wait(wanted)
    assert len(store.asked) == 50
    assert store.most == BOUNDS.in_flight


def test_what_nobody_has_read_yet_stays_and_no_more_is_fetched(store: Store) -> None:
    ahead = ReadAhead(store.fetch, BOUNDS)
    first = [at(0, 60 * KIB, f"first-{number}") for number in range(4)]
    ahead.expect(first)
    ahead.wait(first)
    second = [at(0, 60 * KIB, f"second-{number}") for number in range(4)]
    ahead.expect(second)
    assert filled(ahead, second[0]) == b""
    assert all(at_once(ahead, where) == body(where) for where in first)
    ahead.expect(second)
    ahead.wait(second)
    assert all(at_once(ahead, where) == body(where) for where in second)
    assert len(store.asked) == 8


def test_what_is_larger_than_all_room_is_left_to_who_reads_it(store: Store) -> None:
    ahead = ReadAhead(store.fetch, BOUNDS)
    ahead.expect([at(0, BOUNDS.memory + 1), at(0, 100, "small")])
    ahead.wait([at(0, 100, "small")])
    assert store.asked == [at(0, 100, "small")]


def test_one_that_is_damaged_leaves_the_others_to_who_reads_them(store: Store) -> None:
    store.fails["bad"] = DamagedError("too short")
    ahead = ReadAhead(store.fetch, BOUNDS)
    ahead.expect([at(0, 100, "bad"), at(0, 100)])
    assert filled(ahead, at(0, 100, "bad")) == b""
    assert filled(ahead, at(0, 100)) == body(at(0, 100))


def test_who_waited_for_an_answer_that_did_not_come_does_not_wait_again(store: Store) -> None:
    store.fails["silent"] = UnavailableError("no answer")
    ahead = ReadAhead(store.fetch, BOUNDS)
    store.open.clear()
    ahead.expect([at(0, 100, "silent")])
    threading.Timer(0.05, store.open.set).start()
    with pytest.raises(UnavailableError, match="no answer"):
        filled(ahead, at(0, 100, "silent"))


_ranges = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), st.integers(0, 1 << 20), st.integers(0, 100 * KIB)), max_size=40
)


@settings(deadline=None)
@given(_ranges, _ranges, st.integers(0, 20))
def test_whatever_is_expected_and_read_the_bytes_are_right_and_room_is_kept(
    expected: list[tuple[str, int, int]], read: list[tuple[str, int, int]], step: int
) -> None:
    store = Store()
    ahead = ReadAhead(store.fetch, replace(BOUNDS, in_flight=2))
    wanted = [at(start, min(length, len(BODY) - start), key) for key, start, length in expected]
    others = [at(start, min(length, len(BODY) - start), key) for key, start, length in read]
    for number, where in enumerate(wanted + others):
        if number % (step + 1) == 0:
            ahead.expect(wanted[number : number + step + 1])
        found = filled(ahead, where)
        assert found == body(where)[: len(found)]
        got = at_once(ahead, where)
        assert got is None or got == body(where)
        assert ahead.held <= BOUNDS.memory
