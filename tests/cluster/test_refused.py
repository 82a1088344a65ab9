"""Whatever is wrong with what replicas share, a start says so in one sentence and changes nothing."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.cluster.replicas import Replicas, replicas
from tests.harness.server import NotStartedError, Server
from tests.testbed.bed import Bed

pytestmark = pytest.mark.timeout(300)

Change = Callable[[dict[str, Any], Path], object]


@pytest.fixture(scope="module")
def made(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with replicas(bed, tmp_path_factory.mktemp("refused")) as one:
        yield one


def refused(made: Replicas, folder: Path, change: Change) -> str:
    """What a start with changed settings says."""
    values = yaml.safe_load(made.settings.read_text())
    change(values, folder)
    file = folder / "imagerepo.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(NotStartedError, match="status 1") as error:
        Server(folder / "data", "--config", str(file))
    said = str(error.value)
    assert "Traceback" not in said
    (sentence,) = re.findall(r"\bimagerepo: (.*)$", said, re.MULTILINE)
    return sentence


def put(folder: Path, text: str) -> str:
    """A file with that text."""
    path = folder / "secret"
    path.write_text(text)
    return str(path)


def at(values: dict[str, Any], place: str, value: object) -> None:
    """Change a setting by its dotted name."""
    *path, last = place.split(".")
    for step in path:
        values = values[step]
    values[last] = value


WRONG: dict[str, tuple[Change, str]] = {
    "password": (
        lambda values, folder: at(values, "cluster.database.password_file", put(folder, "wrong")),
        "database",
    ),
    "no password file": (
        lambda values, folder: at(values, "cluster.database.password_file", str(folder / "none")),
        "password_file",
    ),
    "no database": (
        lambda values, _: at(values, "cluster.database.url", "postgresql://imagerepo@127.0.0.1:1/x"),
        "database",
    ),
    "secret": (lambda values, folder: at(values, "cluster.store.secret_key_file", put(folder, "wrong")), "secret_key"),
    "access key": (lambda values, _: at(values, "cluster.store.access_key", "NOBODY"), "access_key"),
    "no gateway": (lambda values, _: at(values, "cluster.store.endpoints", ["http://127.0.0.1:1"]), "endpoints"),
    "data": (lambda _, folder: (folder / "data" / "segments").mkdir(parents=True), "data"),
    "anchor": (
        lambda values, folder: at(values, "audit", {"anchor": str(folder), "key": put(folder, "")}),
        "audit.anchor",
    ),
    "key": (lambda values, folder: at(values, "audit", {"key": put(folder, "")}), "audit.key"),
}
"""What is changed, and what the sentence names."""


@pytest.fixture(scope="module")
def sentences(made: Replicas, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All starts at once, since one waits for a gateway for as long as it may."""
    with ThreadPoolExecutor(len(WRONG)) as pool:
        starts = {
            name: pool.submit(refused, made, tmp_path_factory.mktemp("wrong"), change)
            for name, (change, _) in WRONG.items()
        }
    return {name: start.result() for name, start in starts.items()}


@pytest.mark.parametrize("name", WRONG)
def test_a_start_names_what_cannot_be_used(sentences: dict[str, str], name: str) -> None:
    assert WRONG[name][1] in sentences[name]


def test_a_start_without_a_schema_names_the_command_that_makes_it(made: Replicas, bed: Bed, tmp_path: Path) -> None:
    with bed.postgres.database() as empty:
        url = yaml.safe_load(made.settings.read_text())["cluster"]["database"]["url"].rpartition("/")[0]
        sentence = refused(made, tmp_path, lambda values, _: at(values, "cluster.database.url", f"{url}/{empty}"))
        assert "imagerepo schema upgrade" in sentence
        password = bed.plan.postgres.password
        with psycopg.connect(f"{url}/{empty}", password=password) as connection:
            assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
