"""A pass over all copies: one that cannot be read becomes a task of its own, and keeps nobody from those behind it."""

import json
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime

import pytest
from blake3 import blake3

from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.errors import DamagedError, UnavailableError
from imagerepo.flows.upkeep.scrub import Scrub, standing
from imagerepo.model import checksum
from imagerepo.model.instance import Range
from imagerepo.ports.tasks import Selection
from imagerepo.ports.upkeep import Kept, Position
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Upkeep

BODY = b"what was stored"


class Rows:
    """Copies that are all well (ports.upkeep.Copies)."""

    def __init__(self, kept: Sequence[Kept]) -> None:
        self.kept = kept
        self.good: list[Position] = []

    def page(self, after: Position, limit: int) -> Sequence[Kept]:
        return [one for one in self.kept if one.position > after][:limit]

    def find(self, position: Position) -> Kept | None:
        return next((one for one in self.kept if one.position == position), None)

    def verified(self, positions: Sequence[Position], at: datetime) -> None:
        del at
        self.good += positions


class Bytes:
    """Objects, some of which nobody answers for (ports.objects.Objects, as far as it is asked here)."""

    def __init__(self, silent: Iterable[str]) -> None:
        self._silent = set(silent)
        self.asked: list[str] = []

    def expect(self, ranges: Iterable[Range]) -> None:
        del ranges

    def read(self, where: Range) -> bytes:
        self.asked.append(where.key)
        if where.key in self._silent:
            raise UnavailableError(f"no answer about {where.key}")
        return BODY


def kept(number: int, *ranges: Range) -> Kept:
    return Kept((number, 1, 0), "default", f"1.{number}", 1, 0, blake3(BODY).digest(), checksum.crc32(BODY, 0), ranges)


def lies(key: str) -> Range:
    return Range("bucket", key, 0, len(BODY))


def scrubbed(rows: Rows, objects: Bytes) -> MemoryTasks:
    """One step of the pass; the tasks that are there then."""
    tasks = MemoryTasks()
    tasks.add(standing(Settings()))
    (task,) = tasks.page(Selection(), 0, 1)
    Scrub(rows, lambda: objects, tasks, Upkeep())(task, threading.Event())
    return tasks


def found(tasks: MemoryTasks) -> list[int]:
    page = tasks.page(Selection(queue="default"), 0, 100)
    return [json.loads(one.payload)["copy"][0] for one in page]


def test_an_object_that_nobody_answers_for_is_looked_at_by_tasks_and_those_behind_it_at_once() -> None:
    rows = Rows([kept(1, lies("a")), *(kept(number, lies("b")) for number in range(2, 9)), kept(9, lies("c"))])
    objects = Bytes(["b"])
    assert found(scrubbed(rows, objects)) == list(range(2, 9))
    assert rows.good == [(1, 1, 0), (9, 1, 0)]
    assert objects.asked == ["a", "b", "c"]


def test_a_store_that_does_not_answer_makes_no_tasks_without_end() -> None:
    rows = Rows([kept(number, lies(str(number))) for number in range(1, 50)])
    with pytest.raises(UnavailableError):
        scrubbed(rows, Bytes(map(str, range(50))))
    assert rows.good == []


def test_a_copy_without_ranges_is_reported_and_the_pass_goes_on() -> None:
    rows = Rows([kept(1), kept(2, lies("a"))])
    tasks = scrubbed(rows, Bytes([]))
    assert found(tasks) == [1]
    assert rows.good == [(2, 1, 0)]
    (task,) = tasks.page(Selection(queue="default"), 0, 1)
    with pytest.raises(DamagedError, match="rows are missing"):
        Scrub(rows, lambda: Bytes([]), tasks, Upkeep())(task, threading.Event())
