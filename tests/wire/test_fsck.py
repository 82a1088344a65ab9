"""`imagerepo fsck` on a data folder, as people and programs run it."""

import json
from contextlib import closing
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.cli.main import command_line
from imagerepo.processes.assembly.embedded import FolderLock
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct
from tests.harness.requests import store


def fsck(data: Path, *options: str) -> Result:
    return CliRunner().invoke(command_line(["fsck"]), ["fsck", "--data", str(data), *options])


def test_it_says_what_does_not_fit_repairs_counts_and_ends_with_its_status(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(number)) for number in range(3)])
    done = fsck(tmp_path)
    assert done.output.splitlines() == [
        "1 studies, 1 series, 3 instances in 1 objects; 1 objects of 0.0 GB are stored",
        "index and objects fit each other",
    ]
    assert done.exit_code == 0
    with closing(connect(tmp_path / INDEX)) as connection:
        connection.execute("UPDATE study SET instance_count = 7")
    done = fsck(tmp_path, "--json")
    report = json.loads(done.output)
    assert (done.exit_code, report["found"], report["repaired"], report["omitted"]) == (1, {"count": 1}, 0, 0)
    (finding,) = report["findings"]
    assert (finding["fault"], finding["institution"], finding["place"]) == ("count", "default", ct(1).study)
    done = fsck(tmp_path, "--repair")
    assert done.exit_code == 0
    assert "its row says 1 and 7 (repaired)" in done.output
    assert fsck(tmp_path).exit_code == 0


def test_a_folder_that_a_server_uses_is_left_alone(tmp_path: Path) -> None:
    with in_segments(tmp_path), FolderLock(tmp_path):
        done = fsck(tmp_path)
    assert done.exit_code == 1
    assert "another imagerepo runs" in str(done.exception)
