"""README's first study, run as written: on the default ports, in a network of its own."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom import FileDataset

from tests.docs import walk
from tests.docs.reading import ROOT, blocks, section

TITLE = "First study in five minutes"
FOREIGN = ("IMAGEREPO_", "MAKE", "MFLAGS", "DATA", "SAMPLES", "RUN_FLAGS", "PYTHON")  # what a user's shell has not
NAMESPACE = ["unshare", "--net", "--map-root-user", "--kill-child"]


@dataclass(frozen=True, slots=True)
class Walked:
    """What came of it."""

    folder: Path
    printed: list[str]  # by each block after the first
    server: str  # what the first one printed


def can_have_network_of_its_own() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """A folder like a fresh checkout after its set-up, and all blocks run in it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (".venv", "Makefile"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
        os.utime(folder / name, (0, 0))  # the set-up is newer: nothing is installed again
    found = [block.text for block in blocks(section(ROOT / "README.md", TITLE), "sh")]
    # Where no namespace can be had, the ports have to be free.
    alone = can_have_network_of_its_own()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    done = subprocess.run(
        [*(NAMESPACE if alone else []), sys.executable, walk.__file__],
        input=json.dumps({"blocks": found, "folder": str(folder)}),
        capture_output=True,
        text=True,
        env={**environment, **({"OWN_NETWORK": "1"} if alone else {})},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == 0, f"{result['errors']}\nserver:\n{result['server']}"
    assert result["errors"] == ""
    assert len(result["printed"]) == len(found) - 1
    return Walked(folder, result["printed"], result["server"])


def read(path: Path) -> FileDataset:
    return pydicom.dcmread(path)  # pyright: ignore[reportUnknownMemberType] - pydicom's own signature


def printed(walked: Walked, word: str) -> str:
    """What the block that has `word` in it printed."""
    texts = [block.text for block in blocks(section(ROOT / "README.md", TITLE), "sh")][1:]
    (found,) = [out for text, out in zip(texts, walked.printed, strict=True) if word in text]
    return found


def test_make_run_says_where_it_serves_and_what_to_try_next(walked: Walked) -> None:
    assert "http://127.0.0.1:8080/" in walked.server
    assert "IMAGEREPO at 127.0.0.1:11112" in walked.server
    assert "Try next" in walked.server


def test_both_scanners_tools_say_nothing(walked: Walked) -> None:
    assert printed(walked, "storescu") == ""


def test_storing_over_http_answers_what_was_stored(walked: Walked) -> None:
    answer = json.loads(printed(walked, "examples_rgb_color.dcm;"))
    (stored,) = answer["00081199"]["Value"]
    sent = read(walked.folder / "examples_rgb_color.dcm")
    assert stored["00081155"]["Value"] == [sent.SOPInstanceUID]
    assert "00081198" not in answer


def test_search_finds_all_studies_and_the_named_patient_s(walked: Walked) -> None:
    decoder = json.JSONDecoder()
    text = printed(walked, "PatientName").strip()
    everything, end = decoder.raw_decode(text)
    named = json.loads(text[end:])
    assert len(everything) == 3
    assert [one["00100010"]["Value"][0]["Alphabetic"] for one in named] == ["CompressedSamples^MR1"]


def test_our_own_client_tells_what_the_node_accepts_and_has(walked: Walked) -> None:
    accepts, names, *studies = printed(walked, "node check").splitlines()
    assert "C-MOVE study root" in accepts
    assert names.startswith("StudyInstanceUID\t")
    assert len(studies) == 3


def test_metadata_are_those_of_the_study_sent(walked: Walked) -> None:
    (one,) = json.loads(printed(walked, "/metadata"))
    sent = read(walked.folder / "CT_small.dcm")
    assert one["00080018"]["Value"] == [sent.SOPInstanceUID]
    assert one["00280010"]["Value"] == [sent.Rows]


def test_what_is_fetched_is_what_was_sent(walked: Walked) -> None:
    sent = read(walked.folder / "CT_small.dcm")
    del sent[0xFFFC, 0xFFFC]  # trailing padding, which dcmtk does not send
    assert read(walked.folder / "fetched.dcm") == sent
    with zipfile.ZipFile(walked.folder / "fetched.zip") as archive:
        (name,) = archive.namelist()
        assert archive.testzip() is None
        assert archive.read(name) == (walked.folder / "fetched.dcm").read_bytes()
        assert name in printed(walked, "zipfile")
