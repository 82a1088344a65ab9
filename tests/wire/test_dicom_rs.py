"""dicom-rs's clients: storescu, findscu, movescu. They run with our server in a network namespace of its own: movescu
brings a receiver that listens on every address. The destination is dcmtk's, since that receiver often begins too late.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from tests.harness.server import COMMAND

TOOLS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "imagerepo" / "dicom-rs-0.10.1" / "bin"
FILES = ("CT_small.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm")
STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"  # CT_small's
SCRIPT = """
set -e
ip link set lo up
"$IMAGEREPO" serve --data "$FOLDER/data" --config "$FOLDER/settings.yaml" --workers 1 >"$FOLDER/log" 2>&1 &
server=$!
mkdir "$FOLDER/moved"
storescp -od "$FOLDER/moved" -aet DEST 10400 &
destination=$!
trap 'kill $server $destination; wait || true' EXIT
for _ in $(seq 300); do curl -sf 127.0.0.1:8080/readyz >/dev/null && break; sleep 0.1; done
at=127.0.0.1:11112
"$TOOLS/dicom-storescu" "$at" --called-ae-title IMAGEREPO --never-transcode --fail-first "$FOLDER"/files/*.dcm \
    >"$FOLDER/stored"
"$TOOLS/dicom-findscu" "$at" --called-ae-title IMAGEREPO -S -q QueryRetrieveLevel=STUDY -q "PatientName=*compressed*" \
    -q StudyInstanceUID= -q ModalitiesInStudy= >"$FOLDER/found"
"$TOOLS/dicom-movescu" "$at" --called-ae-title IMAGEREPO --move-destination DEST -p 10401 -o "$FOLDER" -S \
    -q QueryRetrieveLevel=STUDY -q "StudyInstanceUID=$STUDY" >"$FOLDER/told"
"""


@dataclass(frozen=True)
class Walked:
    """What the clients said and wrote."""

    folder: Path

    def said(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    assert (TOOLS / "dicom-findscu").exists(), "dicom-rs's tools are not built: run tests/setup"
    folder = tmp_path_factory.mktemp("dicom-rs")
    (folder / "files").mkdir()
    for name in FILES:
        path = get_testdata_file(name)
        assert path, name
        (folder / "files" / name).write_bytes(Path(path).read_bytes())
    node = {"name": "dest", "ae_title": "DEST", "host": "127.0.0.1", "port": 10400}
    (folder / "settings.yaml").write_text(json.dumps({"nodes": [node]}))
    given = {"IMAGEREPO": str(COMMAND), "FOLDER": str(folder), "TOOLS": str(TOOLS), "STUDY": STUDY}
    ended = subprocess.run(
        ["unshare", "--net", "bash", "-c", SCRIPT],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr + (folder / "log").read_text()
    return Walked(folder)


def test_storescu_stores_files_as_they_are(walked: Walked) -> None:
    assert len(list((walked.folder / "data" / "segments").iterdir())) > 0
    assert "rror" not in walked.said("stored")


def test_findscu_finds_studies_by_part_of_the_patient_s_name(walked: Walked) -> None:
    assert STUDY in walked.said("found")


def test_movescu_receives_the_study_with_its_pixels(walked: Walked) -> None:
    (moved,) = (walked.folder / "moved").iterdir()
    sent = pydicom.dcmread(walked.folder / "files" / "CT_small.dcm")
    received = pydicom.dcmread(moved)
    assert received.SOPInstanceUID == sent.SOPInstanceUID
    assert received.PixelData == sent.PixelData
