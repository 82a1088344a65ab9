"""`imagerepo import` within a test's process: most of a command's time is its start."""

import json
from pathlib import Path
from typing import Any, Protocol

import pytest

from imagerepo.cli.main import main


class Run(Protocol):
    """Runs the command; what it says."""

    def __call__(self, *arguments: object, status: int = 0) -> str: ...


@pytest.fixture
def importer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """With a home folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def command(*arguments: object, status: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["imagerepo", "import", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == status, said
        return said.out + (said.err if status else "")

    return command


def imported(run: Run, *arguments: object, status: int = 0) -> dict[str, Any]:
    """What it says for programs."""
    return json.loads(run(*arguments, "--json", status=status).splitlines()[0])
