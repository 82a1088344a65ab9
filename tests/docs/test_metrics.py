"""docs/metrics.md has every metric as it is scraped, with type and labels."""

from pathlib import Path
from typing import cast

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from imagerepo import telemetry
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.segments import folder
from imagerepo.adapters.work_sql import schema
from imagerepo.adapters.work_sql.tasks import SqlTasks
from imagerepo.model.arrival import OutcomeKind
from imagerepo.processes import metrics
from imagerepo.web.door import Ending
from tests.docs.reading import DOCS, PACKAGE, code, rows, section

PAGE = DOCS / "metrics.md"


def documented() -> dict[str, tuple[str, list[str]]]:
    """Type and labels by name."""
    found = rows(PAGE.read_text(encoding="utf-8"), "metric")
    return {code(row["metric"])[0]: (row["type"], code(row["labels"])) for row in found}


def counted() -> dict[str, tuple[str, list[str]]]:
    """What telemetry.py has."""
    made: dict[str, tuple[str, list[str]]] = {}
    for one in vars(telemetry).values():
        if isinstance(one, MetricWrapperBase):
            (described,) = one.describe()
            name = f"{described.name}_total" if described.type == "counter" else described.name
            labels = cast("tuple[str, ...]", vars(one)["_labelnames"])  # no other way before a first sample
            made[name] = (described.type, list(labels))
    return made


def scraped(data: Path) -> list[Metric]:
    """What /metrics says of a folder where nothing is stored."""
    made, _ = folder.make_ready(data, ())
    schema.upgrade(data)
    text = metrics.render(made.metrics, SqlIndex(data), SqlTasks(data), lambda: None)
    return list(text_string_to_metric_families(text.decode()))


def test_every_counted_metric_is_documented_with_type_and_labels() -> None:
    page = documented()
    for name, described in counted().items():
        assert page.get(name) == described, name


def test_nothing_is_documented_that_is_not_scraped(tmp_path: Path) -> None:
    from_index = {one.name: one.type for one in scraped(tmp_path / "data")}
    page = documented()
    assert set(page) == {*counted(), *from_index}
    assert {name: page[name][0] for name in from_index} == from_index


def test_every_metric_has_its_unit_in_the_name_where_it_has_one() -> None:
    for row in rows(PAGE.read_text(encoding="utf-8"), "metric"):
        if row["unit"] in {"seconds", "bytes"}:
            assert row["unit"] in code(row["metric"])[0]


def test_every_outcome_is_documented() -> None:
    found = rows(section(PAGE, "Outcomes"), "outcome")
    assert {code(row["outcome"])[0] for row in found} == set(OutcomeKind)


def test_every_reason_to_end_a_connection_is_documented() -> None:
    found = rows(section(PAGE, "Reasons to end a connection"), "reason")
    assert {code(row["reason"])[0] for row in found} == set(Ending)


def test_every_step_of_ingest_is_documented() -> None:
    found = {code(row["step"])[0] for row in rows(section(PAGE, "Steps of ingest"), "step")}
    source = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    called = set(source.split("telemetry.ingest_step(")[1:])
    assert found == {call.split('"')[1] for call in called}
