"""What both stores of scheduled and performed steps promise (ports/worklist.py)."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagerepo.adapters.memory_worklist import MemoryWorklist
from imagerepo.adapters.postgres.worklist import PostgresWorklist
from imagerepo.adapters.work_sql import schema
from imagerepo.adapters.work_sql.worklist import SqlWorklist
from imagerepo.model.header import Attribute
from imagerepo.model.worklist import BEGINNING, Bounds, PerformedStatus, PerformedStep, ScheduledStep, StepState
from imagerepo.ports.worklist import Worklist
from tests.harness import databases

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _sql(folder: Path) -> Worklist:
    schema.upgrade(folder)
    return SqlWorklist(folder)


@contextmanager
def in_memory(_data: Path) -> Iterator[Worklist]:
    yield MemoryWorklist()


@contextmanager
def in_sqlite(data: Path) -> Iterator[Worklist]:
    yield _sql(data)


@contextmanager
def in_postgres(_data: Path) -> Iterator[Worklist]:
    with databases.with_schema() as url, databases.opened(url) as database:
        yield PostgresWorklist(database)


@pytest.fixture(params=[in_memory, in_sqlite, in_postgres])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Worklist]:
    make: Callable[[Path], AbstractContextManager[Worklist]] = request.param
    with make(tmp_path) as made:
        yield made


def scheduled(name: str, day: str, time: str = "0800", institution: str = "default") -> ScheduledStep:
    content = {"00100010": Attribute("PN", ("Müller^Jörg=山田^太郎",)), "00100020": Attribute("LO", (f"P-{name}",))}
    return ScheduledStep(
        institution, name, content, StepState.SCHEDULED, f"1.2.{day}", f"S-{name}", f"P-{name}", day, time, AT
    )


def performed(uid: str, study: str, step_id: str, status: PerformedStatus) -> PerformedStep:
    about = {"0020000D": Attribute("UI", (study,)), "00400009": Attribute("SH", (step_id,))}
    return PerformedStep("default", uid, status, {"00400270": Attribute("SQ", (about,))}, AT)


def names(store: Worklist, bounds: Bounds = Bounds(), institution: str = "default") -> list[str]:  # noqa: B008 - frozen
    return [step.id for step in store.page(institution, bounds, BEGINNING, 100)]


def test_an_item_comes_back_as_it_was_put(store: Worklist) -> None:
    step = scheduled("a", "20260301")
    assert store.put(step)
    assert store.scheduled("default", "a") == step
    assert store.scheduled("other", "a") is None


def test_an_item_put_again_takes_the_place_of_the_first(store: Worklist) -> None:
    store.put(scheduled("a", "20260301"))
    assert not store.put(scheduled("a", "20260302"))
    assert [step.day for step in store.page("default", Bounds(), BEGINNING, 9)] == ["20260302"]


def test_items_are_ordered_by_day_and_time_and_paged(store: Worklist) -> None:
    for name, day, time in (("c", "20260302", ""), ("b", "20260301", "1000"), ("a", "20260301", "0900")):
        store.put(scheduled(name, day, time))
    first = store.page("default", Bounds(), BEGINNING, 2)
    assert [step.id for step in first] == ["a", "b"]
    after = (first[-1].day, first[-1].time, first[-1].id)
    assert [step.id for step in store.page("default", Bounds(), after, 2)] == ["c"]


def test_bounds_and_institutions_keep_items_out(store: Worklist) -> None:
    store.put(scheduled("a", "20260301"))
    store.put(scheduled("b", "20260302"))
    store.put(scheduled("x", "20260302", institution="other"))
    assert names(store, Bounds(first_day="20260302")) == ["b"]
    assert names(store, Bounds(last_day="20260301")) == ["a"]
    assert names(store, Bounds(patient_id="P-b")) == ["b"]
    assert names(store, institution="other") == ["x"]


def test_a_removed_item_is_gone(store: Worklist) -> None:
    store.put(scheduled("a", "20260301"))
    assert store.remove("default", "a")
    assert not store.remove("default", "a")
    assert names(store) == []


def test_a_performed_step_starts_and_ends_what_was_scheduled(store: Worklist) -> None:
    store.put(scheduled("a", "20260301"))
    store.put(scheduled("b", "20260301"))
    step = performed("1.2.3", "1.2.20260301", "S-a", PerformedStatus.IN_PROGRESS)
    assert store.begin(step)
    assert [one.state for one in store.page("default", Bounds(), BEGINNING, 9)] == [
        StepState.STARTED,
        StepState.SCHEDULED,
    ]
    store.change("default", "1.2.3", lambda one: replace(one, status=PerformedStatus.COMPLETED))
    assert names(store) == ["b"]
    ended = store.scheduled("default", "a")
    assert ended is not None
    assert ended.state is StepState.COMPLETED


def test_a_performed_step_begins_once_and_is_found_by_its_study(store: Worklist) -> None:
    step = performed("1.2.3", "1.2.9", "", PerformedStatus.IN_PROGRESS)
    assert store.begin(step)
    assert not store.begin(step)
    assert store.performed("default", "1.2.3") == step
    assert store.performed_of("default", "1.2.9", 9) == [step]
    assert store.performed_of("other", "1.2.9", 9) == []


def test_what_changing_raises_changes_nothing(store: Worklist) -> None:
    store.begin(performed("1.2.3", "1.2.9", "", PerformedStatus.IN_PROGRESS))

    def refuse(_: PerformedStep) -> PerformedStep:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - raised above
        store.change("default", "1.2.3", refuse)
    found = store.performed("default", "1.2.3")
    assert found is not None
    assert found.status is PerformedStatus.IN_PROGRESS
    assert store.change("default", "9.9", refuse) is None


def test_sql_keeps_items_over_a_restart(tmp_path: Path) -> None:
    _sql(tmp_path).put(scheduled("a", "20260301"))
    assert names(_sql(tmp_path)) == ["a"]


def test_an_item_put_again_keeps_what_was_told_of_its_step(store: Worklist) -> None:
    step = scheduled("a", "20260301")
    store.put(step)
    store.begin(performed("1.2.3", step.study_uid, step.step_id, PerformedStatus.IN_PROGRESS))
    store.change("default", "1.2.3", lambda one: replace(one, status=PerformedStatus.COMPLETED))
    store.put(replace(step, time="0900"))
    assert names(store) == []
    store.put(replace(step, step_id="S-again"))
    assert names(store) == ["a"]
