"""Our client against our server: what went in comes back by C-GET and C-MOVE, every byte of each data set."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from imagerepo.cli.main import command_line
from imagerepo.dicom.part10 import read_meta
from imagerepo.errors import PeerError
from imagerepo.settings import Settings
from imagerepo.settings_nodes import Node
from tests.wire.dimse_serving import Served, serving

# One study of each, so that a retrieval has one SOP Instance UID once.
FILES = (
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "examples_ybr_color.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "JPEG2000.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
)


@dataclass(frozen=True)
class Pair:
    """A server, and a second one that it may send to."""

    first: Served
    second: Served

    @property
    def target(self) -> str:
        return f"IMAGEREPO@127.0.0.1:{self.first.port}"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with serving(Settings(ae_title="SECOND")) as second:
        to = Node(name="second", ae_title="SECOND", host="127.0.0.1", port=second.port)
        with serving(Settings(nodes=(to,))) as first:
            yield Pair(first, second)


def said(*arguments: str) -> str:
    result = CliRunner().invoke(command_line(), arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def data_set(content: bytes) -> bytes:
    return content[read_meta(content).data_set_offset :]


def sample(name: str) -> Path:
    path = get_testdata_file(name)
    assert path, name
    return Path(path)


def study_of(pair: Pair, instance_uid: str) -> str:
    version, _ = pair.first.memory.instances["default", instance_uid].current
    return version.study_uid


@pytest.mark.parametrize("name", FILES)
def test_a_study_comes_back_by_get_and_goes_on_by_move(name: str, pair: Pair, tmp_path: Path) -> None:
    content = sample(name).read_bytes()
    meta = read_meta(content)
    said("send", pair.target, str(sample(name)))
    key = f"StudyInstanceUID={study_of(pair, meta.sop_instance_uid)}"
    said("get", pair.target, key, "--to", str(tmp_path))
    got = (tmp_path / f"{meta.sop_instance_uid}.dcm").read_bytes()
    assert data_set(got) == data_set(content)
    assert read_meta(got).transfer_syntax == meta.transfer_syntax
    told = json.loads(said("move", pair.target, key, "--to", "SECOND", "--json"))
    assert told["failed_uids"] == []
    assert data_set(pair.second.stored(meta.sop_instance_uid)) == data_set(content)


def test_find_tells_what_was_sent(pair: Pair) -> None:
    said("send", pair.target, str(sample("CT_small.dcm")))
    found = said("find", pair.target, "PatientName=compressed*ct1", "ModalitiesInStudy", "--json")
    (told,) = [json.loads(line) for line in found.splitlines()]
    assert told["00100020"]["Value"] == ["1CT1"]
    assert told["00080061"]["Value"] == ["CT"]


def test_a_destination_that_is_not_in_the_settings_is_told(pair: Pair) -> None:
    result = CliRunner().invoke(command_line(), ["move", pair.target, "StudyInstanceUID=1.2", "--to", "NOWHERE"])
    assert isinstance(result.exception, PeerError)
    assert "it does not know the move destination (A801H)" in str(result.exception)


def test_node_check_knows_what_we_are(pair: Pair) -> None:
    told = json.loads(said("node", "check", pair.target, "--json"))
    assert all(told["services"][name] for name in ("C-FIND study root", "C-MOVE study root", "C-GET study root"))
    assert len(told["compressed_transfer_syntaxes"]) == 4
