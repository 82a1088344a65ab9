"""`imagerepo delete` and `imagerepo hold`, on a folder and by a server."""

import hashlib
import json
from pathlib import Path
from typing import Protocol

import pytest
import yaml

from imagerepo.cli.main import main
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct, uid
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.requests import store
from tests.harness.server import Server
from tests.harness.stored import walk


class Run(Protocol):
    """Runs a command; what it says."""

    def __call__(self, *arguments: object, status: int = 0) -> str: ...


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Within this process: most of a command's time is its start."""

    def command(*arguments: object, status: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["imagerepo", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == status, said.err
        return said.out if status == 0 else said.err

    return command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with five instances of two studies."""
    with in_segments(tmp_path / "data") as archive:
        archive.commits.commit([store(ct(number, series=number % 2, size=50_000)) for number in range(4)])
        archive.commits.commit([store(ct(9, study=2))])
    return tmp_path / "data"


def test_on_a_folder_what_is_named_goes_and_its_bytes_at_once(data: Path, run: Run) -> None:
    def used() -> int:
        return sum(path.stat().st_blocks * 512 for path in (data / "segments").iterdir())

    before = used()
    options = ("--data", data, "--reason", "wrong patient")
    instance = ("--series", uid(1, 1), "--instance", uid(1, 1, 1))
    assert run("delete", uid(1), *instance, *options) == "deleted: 1 instances\n"
    said = json.loads(run("delete", uid(1), "--series", uid(1, 0), *options, "--json"))
    assert said == {"deleted": uid(1, 0), "instances": 2}
    assert "no instance" in run("delete", uid(1), *instance, *options, status=1)
    assert {name for _, name, _ in walk(data).data_sets} == {uid(1, 1, 3), uid(2, 1, 9)}
    assert run("delete", uid(1), *options) == "deleted: 1 instances\n"
    assert used() < before - 4 * 40_000
    entries = [json.loads(line) for line in run("audit", "export", "--data", data).splitlines()]
    deletions = [one for one in entries if one["action"] == "delete"]
    assert [one["instances"] for one in deletions] == [1, 2, 1]
    assert {(one["protocol"], one["reason"]) for one in deletions} == {("cli", "wrong patient")}
    assert all(one["caller"].startswith("cli:") for one in deletions)
    run("audit", "verify", "--bytes", "--data", data)


def test_on_a_folder_a_hold_is_set_listed_obeyed_and_lifted(data: Path, run: Run) -> None:
    assert run("hold", "set", uid(1), "--data", data, "--reason", "Smith v. Jones") == "held\n"
    assert "Smith v. Jones" in run("hold", "list", "--data", data)
    assert [one["study"] for one in json.loads(run("hold", "list", "--data", data, "--json"))] == [uid(1)]
    assert "Smith v. Jones" in run("delete", uid(1), "--data", data, "--reason", "x", status=1)
    assert run("hold", "lift", uid(1), "--data", data, "--reason", "settled") == "lifted\n"
    assert "not held" in run("hold", "lift", uid(1), "--data", data, "--reason", "settled", status=1)
    assert run("delete", uid(1), "--data", data, "--reason", "x") == "deleted: 4 instances\n"


def test_a_running_server_does_it_by_its_url_and_a_token(tmp_path: Path, run: Run) -> None:
    config, token = tmp_path / "imagerepo.yaml", tmp_path / "token"
    token.write_text("secret\n")
    known = {"name": "ops", "sha256": hashlib.sha256(b"secret").hexdigest(), "roles": ["admin"]}
    config.write_text(yaml.safe_dump({"institutions": [{"id": "north", "tokens": [known]}]}))
    with Server(tmp_path / "data", "--config", str(config), workers=1, storage__reserve=0) as server:
        with DimseClient(server.dimse) as client:
            for number in range(3):
                assert client.store(ct(number).instance, ct(number).data_set) == SUCCESS
        options = ("--to", server.url, "--token-file", token)
        why = ("--reason", "consent & privacy")
        assert "another imagerepo runs" in run("delete", uid(1), "--data", tmp_path / "data", *why, status=1)
        assert "token" in run("delete", uid(1), "--to", server.url, *why, status=1)
        assert run("hold", "set", uid(1), *options, *why) == "held\n"
        assert "consent & privacy" in run("hold", "list", *options)
        assert "is held" in run("delete", uid(1), *options, *why, status=1)
        assert run("hold", "lift", uid(1), *options, *why) == "lifted\n"
        assert run("delete", uid(1), *options, *why, "--institution", "north") == "deleted\n"
        assert server.stop() == 0
    assert walk(tmp_path / "data").data_sets == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("delete", "1.2"), "--reason"),
        (("delete", "1.x", "--reason", "x"), "not a UID"),
        (("delete", "1.2", "--instance", "1.3", "--reason", "x"), "--series"),
        (("delete", "1.2", "--reason", "x", "--to", "host:80"), "http://"),
        (("delete", "1.2", "--reason", "x", "--to", "http://127.0.0.1:9"), "cannot ask"),
        (("delete", "1.2", "--reason", "x", "--to", "http://127.0.0.1:9", "--token-file", "/none"), "--token-file"),
        (("delete", "1.2", "--reason", "x", "--data", "/none"), "no data folder"),
        (("hold", "set", "1.2", "--reason", "x", "--data", "/none"), "no data folder"),
        (("hold", "set", "1.2", "--reason", "x", "--institution", "y"), "no institution"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: tuple[str, ...], said: str, run: Run) -> None:
    error = run(*arguments, status=1)
    assert said in error
    assert error.count("\n") == 1
