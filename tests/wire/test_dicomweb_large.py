"""Instances with much beside their pixel data: nothing large is held, nothing is left out."""

import io
import json
import tracemalloc
from collections.abc import Iterator

import httpx
import pytest
from pydicom import Dataset, Sequence, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imagerepo.flows.metadata import SLICE, header_size, slices
from imagerepo.model.scope import Scope
from imagerepo.model.uids import Uid
from tests.wire.dicomweb_serving import Served, serving, stow

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
OCTETS = {"Accept": "application/octet-stream"}


def instance(uid: str, syntax: str = ExplicitVRLittleEndian, **values: object) -> bytes:
    """A document of study 1.5."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ENCAPSULATED_PDF, uid
    meta.TransferSyntaxUID = syntax
    one = Dataset()
    one.file_meta = meta
    one.SOPClassUID, one.SOPInstanceUID = ENCAPSULATED_PDF, uid
    one.StudyInstanceUID, one.SeriesInstanceUID = "1.5", "1.5.1"
    one.PatientName, one.Modality = "DOE^JANE", "DOC"
    for name, value in values.items():
        setattr(one, name, value)
    out = io.BytesIO()
    dcmwrite(out, one, enforce_file_format=True)
    return out.getvalue()


def items(number: int, size: int) -> Sequence:
    """A sequence with nothing in it that could be left out."""
    sequence = Sequence()
    for _ in range(number):
        item = Dataset()
        item.TextValue = "x" * size
        sequence.append(item)
    return sequence


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as one:
        yield one


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian])
def test_a_large_document_is_left_out_and_sent_from_where_it_lies(
    served: Served, client: httpx.Client, syntax: str
) -> None:
    uid = f"1.5.1.{len(syntax)}"
    small, large = b"%PDF" * 20_000, b"%PDF" * (10 << 20)
    answers: list[object] = []
    for document in (small, large):
        content = instance(
            uid,
            syntax,
            EncapsulatedDocument=document,
            MIMETypeOfEncapsulatedDocument="application/pdf",
            ConceptNameCodeSequence=items(1, 10),
            SpecificCharacterSet="ISO_IR 100",
            RTPlanLabel="after",
        )
        assert stow(client, [content]).status_code == 200
        version = served.repository.retrieve.version(Scope("default", Uid("1.5"), None, Uid(uid)))
        tracemalloc.start()
        try:
            made = served.repository.metadata.one(version, "http://a")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 8 << 20
        answers.append(json.loads(made))
        (metadata,) = client.get(f"/dicom-web/studies/1.5/series/1.5.1/instances/{uid}/metadata").json()
        assert metadata["300A0002"]["Value"] == ["after"]
        url = metadata["00420011"]["BulkDataURI"]
        assert client.get(url, headers=OCTETS).content == document
        assert client.head(url, headers=OCTETS).headers["content-length"] == str(len(document))
        assert document in client.get(url).content
        nested = url.replace("00420011", "0040A043/1/0040A160")
        assert client.get(nested, headers=OCTETS).content.strip() == b"x" * 10
        assert client.get(url.replace("00420011", "00420099")).status_code == 404
    assert answers[0] == answers[1]


def test_what_cannot_be_held_is_named_and_stays_in_its_study(client: httpx.Client) -> None:
    held, unheld = instance("1.6.1"), instance("1.6.2", ConceptNameCodeSequence=items(600, 60_000))
    study = "/dicom-web/studies/1.5"
    assert stow(client, [held, unheld]).status_code == 200
    refused = client.get(f"{study}/series/1.5.1/instances/1.6.2/metadata")
    assert refused.status_code == 406
    assert "1.6.2" in refused.text
    assert str(32 << 20) in refused.text
    listed = {one["00080018"]["Value"][0]: one for one in client.get(f"{study}/metadata").json()}
    assert listed["1.6.1"]["00100010"]["Value"] == [{"Alphabetic": "DOE^JANE"}]
    assert set(listed["1.6.2"]) == {"00080016", "00080018", "0020000D", "0020000E"}
    assert listed["1.6.2"]["00080016"]["Value"] == [ENCAPSULATED_PDF]


def test_many_large_headers_are_worked_on_slice_by_slice() -> None:
    with serving() as one, one.client() as client:
        uids = [f"1.7.{number}" for number in range(1, 31)]
        for uid in uids:
            stow(client, [instance(uid, ConceptNameCodeSequence=items(12, 60_000))])
        (page,) = one.repository.retrieve.pages(Scope("default", Uid("1.5")))
        cut = list(slices(page))
        assert [version for some in cut for version in some] == list(page)
        assert len(cut) == 3
        assert all(sum(map(header_size, some)) <= SLICE for some in cut)
        for _ in ("made", "kept"):
            listed = client.get("/dicom-web/studies/1.5/metadata").json()
            assert [item["00080018"]["Value"][0] for item in listed] == uids
            assert all(len(item["0040A043"]["Value"]) == 12 for item in listed)
