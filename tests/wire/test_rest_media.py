"""An archive that is a file-set: pydicom and dcmtk find in its DICOMDIR every file, under what it is."""

import io
import re
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom.fileset import FileSet
from pydicom.uid import generate_uid

from tests.unit.dicom.references import quietly
from tests.wire.dicomweb_samples import make, read, storable
from tests.wire.dicomweb_serving import Served, serving, stow

STUDY = "1.2.3.90"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as one:
        yield one


def unpacked(response: httpx.Response, folder: Path) -> zipfile.ZipFile:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.testzip() is None
    archive.extractall(folder)
    return archive


@contextmanager
def file_set(*path: Path) -> Iterator[FileSet]:
    """pydicom's, with its temporary folder removed."""
    with quietly():
        found = FileSet(*path)
        try:
            yield found
        finally:
            found._stage["t"].cleanup()


def gathered(study: str) -> dict[str, bytes]:
    """A file of every SOP class that there are samples of, as if of one study."""
    found: dict[str, bytes] = {}
    for _, content in storable():
        with quietly():
            data_set = read(content)
            kind = str(data_set.SOPClassUID)
            if kind in found:
                continue
            data_set.StudyInstanceUID, data_set.SeriesInstanceUID = study, f"{study}.{len(found) + 1}"
            data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            data_set.PatientName, data_set.PatientID = "Yamada^Tarou=山田^太郎=やまだ^たろう", "P90"
            data_set.SpecificCharacterSet = "ISO_IR 192"
            out = io.BytesIO()
            data_set.save_as(out)
        found[kind] = out.getvalue()
    return found


def test_every_file_is_listed_under_what_it_is(client: httpx.Client, tmp_path: Path) -> None:
    files = gathered(STUDY)
    for content in files.values():
        assert stow(client, [content]).status_code in {200, 202}
    stored = {str(read(one).SOPInstanceUID): one for one in files.values()}
    archive = unpacked(client.get(f"/study/{STUDY}?media=dicomdir"), tmp_path)
    with file_set(tmp_path / "DICOMDIR") as found:
        listed = {instance.SOPInstanceUID: instance for instance in found}
        assert sorted(listed) == sorted(stored)
        for uid, instance in listed.items():
            assert Path(instance.path).read_bytes() == stored[uid]
            assert instance.ReferencedSOPClassUIDInFile == read(stored[uid]).SOPClassUID
            assert instance.PatientName == "Yamada^Tarou=山田^太郎=やまだ^たろう"
            assert (instance.PatientID, instance.StudyInstanceUID) == ("P90", STUDY)
            assert instance.SeriesInstanceUID == read(stored[uid]).SeriesInstanceUID
            assert instance.InstanceNumber is not None
    names = archive.namelist()
    assert len(names) == len(stored) + 1
    assert all(re.fullmatch(r"DICOMDIR|DICOM/S[0-9]{7}/I[0-9]{7}", name) for name in names)


def test_a_record_is_of_the_type_that_pydicom_gives_it(client: httpx.Client, tmp_path: Path) -> None:
    files = gathered("1.2.3.91")
    expected = {}
    with file_set() as reference:
        for content in files.values():
            assert stow(client, [content]).status_code in {200, 202}
            data_set = read(content)
            data_set.StudyDate = data_set.ContentDate = "20200101"
            data_set.StudyTime = data_set.ContentTime = "1200"
            data_set.SeriesNumber = data_set.InstanceNumber = 1
            data_set.StudyID = "1"
            data_set.Modality = data_set.get("Modality") or "OT"
            try:
                added = reference.add(data_set)
            except (ValueError, AttributeError, NotImplementedError):
                continue  # a class without a record in its tables, or keys that the sample lacks
            expected[str(data_set.SOPInstanceUID)] = added.node.record_type
        unpacked(client.get("/study/1.2.3.91?media=dicomdir"), tmp_path)
        records = pydicom.dcmread(tmp_path / "DICOMDIR").DirectoryRecordSequence
        got = {
            str(one.ReferencedSOPInstanceUIDInFile): one.DirectoryRecordType
            for one in records
            if "ReferencedSOPInstanceUIDInFile" in one
        }
    assert len(expected) > 8
    assert {uid: got[uid] for uid in expected} == expected


def test_dcmtk_reads_the_directory(client: httpx.Client, tmp_path: Path) -> None:
    for number in range(3):
        stow(client, [make(study="1.2.3.92", series=f"1.2.3.92.{number % 2}", size=8)])
    unpacked(client.get("/study/1.2.3.92?media=dicomdir"), tmp_path)
    done = subprocess.run(["dcmdump", "+L", "DICOMDIR"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("[IMAGE]") == 3
    assert done.stdout.count("[SERIES]") == 2
    # dcmtk's own maker of directories reads ours to add to it, which it does only if it is sound.
    (tmp_path / "MORE").write_bytes(make(study="1.2.3.93", size=8))
    added = subprocess.run(
        ["dcmmkdir", "--append", "--general-purpose", "--no-xfer-check", "MORE"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    with file_set(tmp_path / "DICOMDIR") as found:
        assert len(found) == 4


def test_what_an_instance_lacks_is_made_up(client: httpx.Client, tmp_path: Path) -> None:
    data_set = read(make(study="1.2.3.94", size=8))
    for keyword in ("PatientID", "PatientName", "StudyDate", "StudyTime", "StudyID", "SeriesNumber", "InstanceNumber"):
        data_set[keyword].value = None
    out = io.BytesIO()
    data_set.save_as(out)
    assert stow(client, [out.getvalue()]).status_code in {200, 202}
    unpacked(client.get("/study/1.2.3.94?media=dicomdir"), tmp_path)
    with file_set(tmp_path / "DICOMDIR") as found:
        (instance,) = found
        assert (instance.PatientID, instance.PatientName, instance.StudyID) == ("UNKNOWN", "", "1")
        assert (instance.SeriesNumber, instance.InstanceNumber, instance.StudyDate) == (1, 1, "19000101")


def test_the_same_files_have_the_same_bytes_and_a_tag(client: httpx.Client) -> None:
    stow(client, [make(study="1.2.3.95", size=8), make(study="1.2.3.95", size=8)])
    first = client.get("/study/1.2.3.95?media=dicomdir")
    assert client.get("/study/1.2.3.95?media=dicomdir").content == first.content
    tag = {"If-None-Match": first.headers["etag"]}
    assert client.get("/study/1.2.3.95?media=dicomdir", headers=tag).status_code == 304
    assert client.get("/study/1.2.3.95", headers=tag).status_code == 200
    assert client.head("/study/1.2.3.95?media=dicomdir").status_code == 200


def test_a_series_is_a_file_set_too(client: httpx.Client, tmp_path: Path) -> None:
    stow(client, [make(study="1.2.3.96", series=f"1.2.3.96.{number}", size=8) for number in range(2)])
    unpacked(client.get("/series/1.2.3.96.1?media=dicomdir"), tmp_path)
    with file_set(tmp_path / "DICOMDIR") as found:
        assert [one.SeriesInstanceUID for one in found] == ["1.2.3.96.1"]


@pytest.mark.parametrize(("query", "status"), [("media=cdrom", 400), ("media=", 400)])
def test_another_medium_is_refused(client: httpx.Client, query: str, status: int) -> None:
    assert client.get(f"/study/{STUDY}?{query}").status_code == status
