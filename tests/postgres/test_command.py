"""`imagerepo schema`: what it says, and what a person has to do next."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import databases
from tests.harness.server import COMMAND
from tests.testbed.shared import shared_postgres


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    password = shared_postgres().plan.postgres.password
    with databases.empty() as url:
        yield written(tmp_path, url.replace(f":{password}@", "@"), password)


def written(folder: Path, url: str, password: str) -> Path:
    (folder / "password").write_text(password)
    file = folder / "imagerepo.yaml"
    file.write_text(
        f"cluster:\n  database: {{url: '{url}', password_file: {folder / 'password'}}}\n"
        f"  store: {{endpoints: ['http://127.0.0.1:1'], access_key: K, secret_key_file: {folder / 'password'}}}\n"
    )
    return file


def run(verb: str, config: Path) -> tuple[int, str, str]:
    arguments = [COMMAND, "schema", verb, "--config", config]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def test_a_schema_is_made_told_of_and_left_as_it_is(config: Path) -> None:
    assert run("check", config) == (
        1,
        "",
        "imagerepo: the database has no schema yet: run `imagerepo schema upgrade`",
    )
    status, said, problem = run("upgrade", config)
    assert (status, problem) == (0, "")
    assert said.splitlines()[0].startswith("index: nothing -> 0")
    assert run("check", config) == (0, "the schema is this program's", "")
    assert run("upgrade", config) == (0, "the schema is this program's already", "")


@pytest.mark.parametrize("verb", ["check", "upgrade"])
def test_what_keeps_it_from_the_database_is_one_sentence(verb: str, config: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("another")
    status, _, said = run(verb, config)
    assert status == 1
    assert said.startswith("imagerepo: cluster.database: the database does not let us in: ")
    assert "password authentication failed" in said
    (tmp_path / "password").unlink()
    assert "imagerepo: cluster.database.password_file: cannot read" in run(verb, config)[2]


def test_settings_without_a_cluster_are_told_what_does_it_for_them(tmp_path: Path) -> None:
    file = tmp_path / "imagerepo.yaml"
    file.write_text("ae_title: ME\n")
    status, _, said = run("upgrade", file)
    assert status == 1
    assert said.endswith("without one `imagerepo serve` upgrades its data folder")
