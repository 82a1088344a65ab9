"""Commits of a data folder in lots: nothing left out, nothing twice, and only what follows what was carried."""

import itertools
from collections.abc import Iterator

import pytest

from imagerepo.adapters.bundles import lots
from imagerepo.adapters.bundles.lots import Chain, Lot
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.lines import START, Link
from imagerepo.adapters.segments.replay import Commit
from imagerepo.errors import DamagedError
from imagerepo.model.events import Action, JournalRequest, Request, StoreRequest
from tests.harness.dicom_file import ct
from tests.harness.requests import change, journal, store

_SIZE = 1_000_000  # bytes of an instance


class _Folder:
    """Commits by two writers, as a data folder has them."""

    def __init__(self) -> None:
        self.ends: dict[Chain, Link] = {}
        self.commits: list[Commit] = []
        self._numbers = itertools.count(1)

    def add(self, writer: str, *requests: Request) -> None:
        number, made = next(self._numbers), list[bytes]()
        for one in requests:
            chain = one.caller.institution, writer
            link = self.ends.get(chain, START)
            if isinstance(one, StoreRequest):
                line = lines.store_line(one, 1, (), number, link)
            elif isinstance(one, JournalRequest):
                line = lines.journal_line(one, number, link)
            else:
                line = lines.change_line(one, (1, []), number, link)
            self.ends[chain] = lines.follow(link, line)
            made.append(line)
        self.commits.append(Commit(number, f"{writer}-1.seg", writer, 0, (), tuple(made)))


@pytest.fixture
def folder() -> _Folder:
    made = _Folder()
    requests = [store(ct(number, study=number % 3, size=_SIZE)) for number in range(4)]
    for number in range(100):
        made.add("one" if number % 2 else "two", requests[number % 4], journal(query=str(number)))
        if number % 10 == 0:
            made.add("one", change(Action.DELETE, 1), journal(institution="north", query="x"))
    return made


def taken(found: Iterator[Lot]) -> list[bytes]:
    return [line for lot in found for one in lot.commits for of in one.lines.values() for line in of.lines]


def test_all_lines_are_in_lots_that_are_not_much_larger_than_they_may_be(folder: _Folder) -> None:
    found = list(lots.lots(iter(folder.commits), {}, lambda _: None))
    assert sorted(taken(iter(found))) == sorted(line for one in folder.commits for line in one.journal)
    assert 2 < len(found) < 10
    assert all(lot.size < lots.BYTES + 2 * _SIZE for lot in found)
    assert {chain: link for lot in found for chain, link in lot.end.items()} == folder.ends
    for before, after in itertools.pairwise(found):
        assert all(link == before.end.get(chain, link) for chain, link in after.begin.items())


def test_what_was_carried_is_not_in_lots_and_counted_as_earlier(folder: _Folder) -> None:
    whole = list(lots.lots(iter(folder.commits), {}, lambda _: None))
    heads: dict[Chain, Link] = {}
    for done, lot in enumerate(whole):
        earlier: list[int] = []
        rest = list(lots.lots(iter(folder.commits), heads, earlier.append))
        assert taken(iter(rest)) == taken(iter(whole[done:]))
        assert sum(earlier) == sum(one.size for one in whole[:done])
        heads |= lot.end


def test_a_line_that_does_not_follow_is_found(folder: _Folder) -> None:
    del folder.commits[30]
    with pytest.raises(DamagedError, match="goes from entry"):
        list(lots.lots(iter(folder.commits), {}, lambda _: None))


def test_a_folder_that_is_another_than_that_which_was_carried_is_told(folder: _Folder) -> None:
    heads = dict(folder.ends)
    heads["default", "one"] = Link(7, "0" * 64)
    with pytest.raises(DamagedError, match="copies of one"):
        lots.require_same(iter(folder.commits), heads)


def test_a_folder_that_has_less_than_was_carried_is_told(folder: _Folder) -> None:
    heads = dict(folder.ends)
    lots.require_same(iter(folder.commits), heads)
    with pytest.raises(DamagedError, match="older copy"):
        lots.require_same(iter(folder.commits[:50]), heads)
