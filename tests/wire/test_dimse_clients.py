"""Real clients: pynetdicom and dcmtk."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.sop_class import Verification

from imagerepo.settings import MIB, Dimse, Settings
from tests.wire.dimse_peer import CT, EXPLICIT, IMPLICIT, data_set
from tests.wire.dimse_serving import Served, serving

FILES = (
    "CT_small.dcm",  # explicit VR little endian
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",  # deflated
    "examples_ybr_color.dcm",  # JPEG baseline
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",  # JPEG lossless
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_jp2klossless.dcm",
    "JPEG2000.dcm",
    "MR_small_RLE.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Settings(dimse=Dimse(max_pdu=2 * MIB))) as one:
        yield one


def data_set_bytes(path: Path) -> bytes:
    """What follows group 2 in a file."""
    return path.read_bytes()[144 + read_file_meta_info(path).FileMetaInformationGroupLength :]


def sample(name: str) -> Path:
    path = get_testdata_file(name)
    assert path, name
    return Path(path)


def test_pynetdicom_echoes(served: Served) -> None:
    ae = AE()
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", served.port, ae_title="IMAGEREPO")
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()
    assert association.is_released


@pytest.mark.parametrize("name", FILES)
def test_pynetdicom_stores_what_comes_back_byte_for_byte(
    served: Served, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)  # the file's bytes, not encoded anew
    path = sample(name)
    meta = read_file_meta_info(path)
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", served.port, ae_title="IMAGEREPO")
    assert association.is_established
    assert association.send_c_store(path).Status == 0
    association.release()
    stored = served.stored(str(meta.MediaStorageSOPInstanceUID))
    assert stored.endswith(data_set_bytes(path))
    kept = pydicom.dcmread(DicomBytesIO(stored), stop_before_pixels=True)
    assert kept.file_meta.TransferSyntaxUID == meta.TransferSyntaxUID
    assert kept.file_meta.SourceApplicationEntityTitle == "SENDER"


@pytest.mark.parametrize("max_length", [4096, 16382, 2 * MIB])
def test_pynetdicom_sends_pdus_as_large_as_we_accept(max_length: int) -> None:
    with serving(Settings(dimse=Dimse(max_pdu=max_length))) as served:
        ae = AE()
        ae.add_requested_context(CT, EXPLICIT)
        association = ae.associate("127.0.0.1", served.port, ae_title="IMAGEREPO")
        assert association.acceptor.maximum_length == max_length
        assert association.send_c_store(whole(data_set(pixels=1_000_000))).Status == 0
        association.release()
        assert served.stored("1.2.3.4.5").endswith(data_set(pixels=1_000_000))


def whole(encoded: bytes) -> Dataset:
    ds = pydicom.dcmread(DicomBytesIO(encoded), force=True)
    ds.file_meta.TransferSyntaxUID = EXPLICIT
    return ds


def test_pynetdicom_is_told_why_a_store_fails(served: Served) -> None:
    ae = AE()
    ae.add_requested_context(CT, EXPLICIT)
    association = ae.associate("127.0.0.1", served.port, ae_title="IMAGEREPO")
    ds = whole(data_set())
    del ds.StudyInstanceUID
    status = association.send_c_store(ds)
    assert status.Status == 0xC000
    assert "0020,000D" in status.ErrorComment
    association.release()


def test_pynetdicom_gets_all_128_contexts_it_may_propose(served: Served) -> None:
    ae = AE()
    ae.requested_contexts = AllStoragePresentationContexts[:128]
    association = ae.associate("127.0.0.1", served.port, ae_title="IMAGEREPO")
    assert len(association.accepted_contexts) == 128
    association.release()


def test_pynetdicom_is_rejected_under_an_unknown_title(served: Served) -> None:
    # What it received is asked, not `is_rejected`: when the answer comes before pynetdicom looks
    # whether it is connected (1 in 100), it takes the closed connection for a failed one.
    received: list[object] = []
    ae = AE()
    ae.add_requested_context(Verification)
    ae.associate(
        "127.0.0.1",
        served.port,
        ae_title="NOBODY",
        evt_handlers=[(evt.EVT_PDU_RECV, lambda event: received.append(event.pdu))],
    )
    [answer] = received
    assert isinstance(answer, A_ASSOCIATE_RJ)
    assert answer.reason_str == "Called AE title not recognised"


def dcmtk(program: str, *arguments: str) -> str:
    """Run one of dcmtk's programs; without it the test fails, since `tests/setup` installs it."""
    found = shutil.which(program)
    assert found, f"{program} is not installed: run tests/setup"
    done = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


def instances(folder: Path, number: int) -> list[str]:
    """Small files of one series, made with File Meta Information."""
    template = pydicom.dcmread(sample("CT_small.dcm"))
    paths: list[str] = []
    for count in range(number):
        uid = f"1.2.826.0.1.3680043.8.498.{number}.{count}"
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = uid
        template.InstanceNumber = count
        path = folder / f"{count}.dcm"
        template.save_as(path)
        paths.append(str(path))
    return paths


def test_echoscu_is_answered(served: Served) -> None:
    dcmtk("echoscu", "-aec", "IMAGEREPO", "127.0.0.1", str(served.port))


def test_echoscu_is_answered_many_times_in_one_association(served: Served) -> None:
    dcmtk("echoscu", "--repeat", "50", "-aec", "IMAGEREPO", "127.0.0.1", str(served.port))


@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_a_hundred_small_instances_arrive_from_senders_that_leave_nagle_on(
    served: Served, tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TCP_NODELAY", raising=False)
    paths = instances(tmp_path, 100)
    served.memory.instances.clear()
    dcmtk(program, "-aec", "IMAGEREPO", "127.0.0.1", str(served.port), *paths)
    assert served.count == 100
    for path in paths:
        uid = str(read_file_meta_info(path).MediaStorageSOPInstanceUID)
        # dcmtk encodes anew: lengths of sequences, padding at the end.
        assert pydicom.dcmread(DicomBytesIO(served.stored(uid))).PixelData == pydicom.dcmread(path).PixelData


@pytest.mark.parametrize("size", [4096, 131072])
def test_storescu_sends_pdus_of_its_choice(served: Served, tmp_path: Path, size: int) -> None:
    (path,) = instances(tmp_path, 1)
    served.memory.instances.clear()
    dcmtk("storescu", "--max-send-pdu", str(size), "-aec", "IMAGEREPO", "127.0.0.1", str(served.port), path)
    assert served.count == 1


@pytest.mark.parametrize(
    ("name", "option"), [("JPEG-lossy.dcm", "-xx"), ("MR_small_RLE.dcm", "-xr"), ("image_dfl.dcm", "-xd")]
)
def test_storescu_sends_compressed_files_as_they_are(served: Served, name: str, option: str) -> None:
    path = sample(name)
    served.memory.instances.clear()
    dcmtk("storescu", option, "-aec", "IMAGEREPO", "127.0.0.1", str(served.port), str(path))
    uid = str(read_file_meta_info(path).MediaStorageSOPInstanceUID)
    version, _ = served.memory.instances["default", uid].current
    assert version.transfer_syntax == read_file_meta_info(path).TransferSyntaxUID
    assert version.transfer_syntax != IMPLICIT


def test_storescu_takes_an_abort_as_abort_and_the_next_one_is_served(served: Served, tmp_path: Path) -> None:
    (path,) = instances(tmp_path, 1)
    served.memory.instances.clear()
    dcmtk("storescu", "--abort", "-aec", "IMAGEREPO", "127.0.0.1", str(served.port), path)
    dcmtk("echoscu", "-aec", "IMAGEREPO", "127.0.0.1", str(served.port))
    assert served.count == 1
