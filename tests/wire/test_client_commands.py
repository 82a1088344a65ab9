"""`imagerepo echo|find|send|get|move|node` against dcmtk's servers and our own."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pynetdicom import AE, evt
from typer.testing import CliRunner, Result

from imagerepo.cli.main import command_line
from imagerepo.cli.target import resolve
from imagerepo.dicom.part10 import read_meta
from imagerepo.errors import BadRequestError, NotFoundError, PeerError
from tests.harness.dcmtk_peers import dcmqrscp, free_port, storescp
from tests.harness.raw_acceptor import Accepting, accepting
from tests.wire.dimse_serving import Served, serving

CT = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


@dataclass(frozen=True)
class Archive:
    target: str
    received: Path  # what its move destination has got


def sample(name: str) -> str:
    path = get_testdata_file(name)
    assert path, name
    return str(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command_line(), arguments)


def said(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("archive")
    with storescp(folder / "received", "DEST") as to, dcmqrscp(folder / "qr", "QR", {"DEST": to}) as port:
        target = f"QR@127.0.0.1:{port}"
        said("send", target, sample("CT_small.dcm"), sample("MR_small.dcm"))
        yield Archive(target, folder / "received")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


def test_echo_tells_who_answers(archive: Archive) -> None:
    assert "answers (OFFIS_DCMTK" in said("echo", archive.target)
    told = json.loads(said("echo", archive.target, "--json"))
    assert told["node"] == "QR"
    assert told["seconds"] > 0


def test_find_prints_a_line_for_each_match(archive: Archive) -> None:
    names, *lines = said("find", archive.target).splitlines()
    assert names.split("\t")[0] == "StudyInstanceUID"
    assert sorted(line.split("\t")[5] for line in lines) == ["CompressedSamples^CT1", "CompressedSamples^MR1"]


def test_find_prints_dicom_json(archive: Archive) -> None:
    found = said("find", archive.target, "PatientName=*CT1", "--level", "patient", "--model", "patient", "--json")
    (told,) = [json.loads(line) for line in found.splitlines()]
    assert told["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "CompressedSamples^CT1"}]}
    assert told["00100020"] == {"vr": "LO", "Value": ["1CT1"]}


def test_find_ends_at_a_limit(archive: Archive) -> None:
    result = run("find", archive.target, "--limit", "1", "--json")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1


def test_get_writes_files_with_what_was_sent(archive: Archive, tmp_path: Path) -> None:
    told = json.loads(said("get", archive.target, f"StudyInstanceUID={CT}", "--to", str(tmp_path / "new"), "--json"))
    (file,) = (tmp_path / "new").iterdir()
    assert (told["stored"], told["completed"], told["failed"]) == (1, 1, 0)
    assert told["bytes"] == file.stat().st_size
    got, sent = pydicom.dcmread(file), pydicom.dcmread(sample("CT_small.dcm"))
    assert file.name == f"{sent.SOPInstanceUID}.dcm"
    assert got.PixelData == sent.PixelData
    assert got.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert got.file_meta.SourceApplicationEntityTitle == "QR"


def test_get_of_a_patient_goes_through_all_levels(archive: Archive, tmp_path: Path) -> None:
    said("get", archive.target, "PatientID=4MR1", "--level", "patient", "--model", "patient", "--to", str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_move_has_the_peer_send_to_another(archive: Archive) -> None:
    assert "1 instances, 0 with warnings, 0 failed" in said(
        "move", archive.target, f"StudyInstanceUID={CT}", "--to", "DEST"
    )
    assert any(path.name.startswith("CT.") for path in archive.received.iterdir())


def test_a_destination_that_the_peer_does_not_know_is_told(archive: Archive) -> None:
    result = run("move", archive.target, f"StudyInstanceUID={CT}", "--to", "NOWHERE")
    assert isinstance(result.exception, PeerError)
    assert "it does not know the move destination (A801H)" in str(result.exception)


def test_a_retrieval_without_its_unique_key_is_refused(archive: Archive) -> None:
    result = run("move", archive.target, "PatientName=X", "--to", "DEST")
    assert isinstance(result.exception, BadRequestError)
    assert "StudyInstanceUID=" in str(result.exception)


def test_send_says_what_was_refused_and_why(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("no DICOM")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "one.dcm").write_bytes(Path(sample("CT_small.dcm")).read_bytes())
    result = run("send", archive.target, str(tmp_path), sample("MR_small_RLE.dcm"), "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    reasons = {Path(one["path"]).name: one["reason"] for one in told["refused"]}
    assert told["stored"] == 1
    assert set(reasons) == {"letter.txt", "empty.dcm", "MR_small_RLE.dcm"}
    assert "no DICM" in reasons["letter.txt"]
    assert "in transfer syntax 1.2.840.10008.1.2.5" in reasons["MR_small_RLE.dcm"]


def test_send_of_what_does_not_exist_sends_nothing(archive: Archive) -> None:
    result = run("send", archive.target, "no/such/file")
    assert isinstance(result.exception, BadRequestError)


def test_node_check_tells_what_an_archive_accepts(archive: Archive) -> None:
    told = said("node", "check", archive.target)
    assert told.count("\n") == 1
    assert "C-ECHO in" in told
    assert "C-MOVE study root" in told
    assert "not storage commitment" in told


def test_node_check_tells_what_a_receiver_accepts(tmp_path: Path) -> None:
    with storescp(tmp_path / "in", "STORE", "+xa") as port:
        told = json.loads(said("node", "check", f"STORE@127.0.0.1:{port}", "--json"))
    assert not any(told["services"].values())
    assert "1.2.840.10008.5.1.4.1.1.2" in told["storage"]
    assert "1.2.840.10008.1.2.4.90" in told["compressed_transfer_syntaxes"]


def test_a_node_is_named_in_the_settings(tmp_path: Path, served: Served) -> None:
    config = tmp_path / "imagerepo.yaml"
    config.write_text(
        f"ae_title: OURS\nnodes: [{{name: here, ae_title: IMAGEREPO, host: 127.0.0.1, port: {served.port}}}]\n"
    )
    assert said("node", "list", "--config", str(config)) == f"here (IMAGEREPO at 127.0.0.1:{served.port})\n"
    assert "IMAGEREPO_1: C-ECHO in" in said("node", "check", "here", "--config", str(config))
    result = run("echo", "there", "--config", str(config))
    assert isinstance(result.exception, NotFoundError)
    assert "known: here" in str(result.exception)


@pytest.mark.parametrize("written", ["PACS@host", "PACS@host:0", "PACS@host:70000", "@host:104", "A\\B@host:104"])
def test_a_target_that_is_written_wrongly_is_told(written: str) -> None:
    result = run("echo", written)
    assert isinstance(result.exception, BadRequestError)
    assert "is not AETITLE@HOST:PORT" in str(result.exception)


@pytest.mark.parametrize("title", ["SEVENTEEN LETTERS", "Ä", "", "A\\B"])
def test_an_ae_title_that_is_none_is_told(title: str) -> None:
    for arguments in (
        ("echo", "PACS@127.0.0.1:104", "--ae-title", title),
        ("move", "PACS@127.0.0.1:104", "StudyInstanceUID=1", "--to", title),
    ):
        result = run(*arguments)
        assert isinstance(result.exception, BadRequestError)
        assert "no AE title" in str(result.exception)


def test_our_ae_title_is_the_option_s_then_the_node_s_then_ours(tmp_path: Path) -> None:
    config = tmp_path / "imagerepo.yaml"
    node = "{name: n, ae_title: N, host: '::1', calling_ae_title: THEIRS}"
    config.write_text(f"ae_title: OURS\nnodes: [{node}]\n")
    ends = resolve("n", config, "OPTION")
    assert (ends.calling, ends.peer.calling_ae_title, str(ends.peer)) == ("OPTION", None, "n (N at [::1]:104)")
    assert resolve("n", config, None).calling == "THEIRS"
    assert resolve("N@[::1]:104", config, None).calling == "OURS"


def test_an_unknown_key_is_told_before_anybody_is_asked() -> None:
    result = run("find", f"PACS@127.0.0.1:{free_port()}", "PatientNme=X")
    assert isinstance(result.exception, BadRequestError)
    assert "'PatientNme'" in str(result.exception)


SENT = (
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "JPEG2000.dcm",
    "MR_small_RLE.dcm",
    "test-SR.dcm",
)


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent_arrives_as_it_stands(name: str, served: Served) -> None:
    said("send", f"IMAGEREPO@127.0.0.1:{served.port}", sample(name))
    content = Path(sample(name)).read_bytes()
    meta = read_meta(content)
    stored = served.stored(meta.sop_instance_uid)
    assert stored[read_meta(stored).data_set_offset :] == content[meta.data_set_offset :]
    assert read_meta(stored).transfer_syntax == meta.transfer_syntax


@contextmanager
def receiver(folder: Path, handle: Callable[[Any], int], most: int) -> Iterator[tuple[str, str]]:
    """A node that is set to 3 associations and takes `most`; its settings file, and a folder with 6 files."""
    files = folder / "files"
    files.mkdir()
    for number in range(6):
        (files / f"{number}.dcm").write_bytes(Path(sample("CT_small.dcm")).read_bytes())
    ae = AE("PEER")
    ae.maximum_associations = most
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)])
    config = folder / "imagerepo.yaml"
    port = server.socket.getsockname()[1]
    config.write_text(f"nodes: [{{name: n, ae_title: PEER, host: 127.0.0.1, port: {port}, associations: 3}}]\n")
    try:
        yield str(config), str(files)
    finally:
        server.shutdown()


def test_files_go_over_as_many_associations_as_the_node_is_set_to(tmp_path: Path) -> None:
    opened: set[int] = set()
    together = threading.Barrier(3)

    def handle(event: Any) -> int:
        opened.add(id(event.assoc))
        together.wait(20)  # until all have one
        return 0

    with receiver(tmp_path, handle, 10) as (config, files):
        told = json.loads(said("send", "n", files, "--config", config, "--json"))
    assert (told["stored"], len(opened)) == (6, 3)


def test_a_node_that_takes_fewer_associations_gets_all_files(tmp_path: Path) -> None:
    with receiver(tmp_path, lambda _: 0, 1) as (config, files):
        told = json.loads(said("send", "n", files, "--config", config, "--json"))
    assert (told["stored"], told["refused"]) == (6, [])


def test_a_receiver_that_dies_ends_the_sending_with_what_was_stored(tmp_path: Path) -> None:
    def die(one: Accepting) -> None:
        one.accept(syntax="1.2.840.10008.1.2.1")
        one.receive()
        one.reset()

    with accepting(die) as port:
        result = run("send", f"PACS@127.0.0.1:{port}", sample("CT_small.dcm"), sample("CT_small.dcm"))
    assert isinstance(result.exception, PeerError)
    assert "0 of 2 files were stored before this" in result.stderr
