"""Small data sets in and out, held to pydicom."""

import io
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from imagerepo.dicom.data_set_writer import encode_data_set
from imagerepo.dicom.identifier import SIZE_LIMIT, decode_identifier
from imagerepo.errors import BadDicomError
from imagerepo.model.header import Attribute, Header

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
SYNTAXES = [IMPLICIT, EXPLICIT, DEFLATED, BIG]


def written_by_pydicom(ds: Dataset, syntax: str) -> bytes:
    file = DicomBytesIO()
    file.is_little_endian = syntax != BIG
    file.is_implicit_VR = syntax == IMPLICIT
    write_dataset(file, ds)
    if syntax != DEFLATED:
        return file.getvalue()
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(file.getvalue()) + deflater.flush()


def read_by_pydicom(data_set: bytes, syntax: str) -> Dataset:
    if syntax == DEFLATED:
        data_set = zlib.decompress(data_set, -15)
    return read_dataset(io.BytesIO(data_set), syntax == IMPLICIT, syntax != BIG)


def sample() -> Dataset:
    inner = Dataset()
    inner.RequestedProcedureID = "RP1"
    inner.ReferencedSOPSequence = [Dataset(), Dataset()]
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.QueryRetrieveLevel = "STUDY"
    ds.ModalitiesInStudy = ["CT", "MR"]
    ds.PatientName = "Müller^Jürgen"
    ds.PatientID = ""
    ds.StudyInstanceUID = "1.2.3"
    ds.Rows = 512
    ds.FrameIncrementPointer = [0x00181063, 0x00181065]
    ds.PatientComments = "one\\two "
    ds.RequestAttributesSequence = [inner]
    ds.ReferencedStudySequence = []
    return ds


EXPECTED = {
    "00080005": Attribute("CS", ("ISO_IR 100",)),
    "00080052": Attribute("CS", ("STUDY",)),
    "00080061": Attribute("CS", ("CT", "MR")),
    "00081110": Attribute("SQ"),
    "00100010": Attribute("PN", ("Müller^Jürgen",)),
    "00100020": Attribute("LO"),
    "00104000": Attribute("LT", ("one\\two",)),
    "0020000D": Attribute("UI", ("1.2.3",)),
    "00280009": Attribute("AT", ("00181063", "00181065")),
    "00280010": Attribute("US", ("512",)),
    "00400275": Attribute("SQ", ({"00081199": Attribute("SQ", ({}, {})), "00401001": Attribute("SH", ("RP1",))},)),
}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_identifier_is_read_as_pydicom_wrote_it(syntax: str) -> None:
    got = decode_identifier(written_by_pydicom(sample(), syntax), syntax)
    assert got.attributes == EXPECTED
    assert got.charset == "ISO_IR 100"
    assert got.text("00080061") == "CT\\MR"
    assert got.text("00400275") == got.text("00100020") == got.text("00080050") == ""


@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_are_read_whatever_their_length_is_given_as(*, undefined: bool) -> None:
    ds = sample()
    ds["RequestAttributesSequence"].is_undefined_length = undefined
    for item in ds.RequestAttributesSequence:
        item.is_undefined_length_sequence_item = undefined
    assert decode_identifier(written_by_pydicom(ds, EXPLICIT), EXPLICIT).attributes == EXPECTED


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_data_set_is_written_as_pydicom_reads_it(syntax: str) -> None:
    got = read_by_pydicom(encode_data_set(EXPECTED, syntax, "ISO_IR 100"), syntax)
    assert got == read_by_pydicom(written_by_pydicom(sample(), syntax), syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_was_written_is_read_back(syntax: str) -> None:
    assert decode_identifier(encode_data_set(EXPECTED, syntax, "ISO_IR 100"), syntax).attributes == EXPECTED


@pytest.mark.parametrize(
    ("text", "charset", "named"),
    [
        ("plain", "", ""),
        ("plain", "ISO_IR 100", ""),
        ("Müller", "", "ISO_IR 192"),
        ("Müller", "ISO_IR 100", "ISO_IR 100"),
        ("Müller", "ISO_IR 192", "ISO_IR 192"),
        ("Müller", "ISO_IR 144", "ISO_IR 192"),
        ("Люда", "ISO_IR 144", "ISO_IR 144"),
        ("Διονυσιος", "ISO_IR 126", "ISO_IR 126"),
        ("قباني^لنزار", "ISO_IR 127", "ISO_IR 127"),
        ("שרון^דבורה", "ISO_IR 138", "ISO_IR 138"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "ISO_IR 13\\ISO 2022 IR 87", "ISO_IR 13\\ISO 2022 IR 87"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87", "\\ISO 2022 IR 87"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149", "\\ISO 2022 IR 149"),
        ("Zhang^XiaoDong=张^小东", "\\ISO 2022 IR 58", "\\ISO 2022 IR 58"),
        ("Wang^XiaoDong=王^小东", "GB18030", "GB18030"),
        ("Buc^Jérôme Люк", "ISO 2022 IR 100\\ISO 2022 IR 144", "ISO_IR 192"),  # mixed within one component
        ("Buc^Jérôme=Люк", "ISO 2022 IR 100\\ISO 2022 IR 144", "ISO 2022 IR 100\\ISO 2022 IR 144"),
        ("Müller", "nothing", "ISO_IR 192"),
        ("山田", "ISO_IR 13", "ISO_IR 192"),
        ("ﾔﾏﾀﾞ", "ISO_IR 13", "ISO_IR 13"),
        ("山田", "\\ISO 2022 IR 159", "ISO_IR 192"),
        ("丂", "\\ISO 2022 IR 159", "\\ISO 2022 IR 159"),
        ("丂", "\\ISO 2022 IR 87", "ISO_IR 192"),
        ("Hong 홍", "\\ISO 2022 IR 149", "\\ISO 2022 IR 149"),
    ],
)
def test_text_is_written_in_a_character_set_that_has_it(text: str, charset: str, named: str) -> None:
    encoded = encode_data_set({"00100010": Attribute("PN", (text,))}, EXPLICIT, charset)
    got = read_by_pydicom(encoded, EXPLICIT)
    assert got.get("SpecificCharacterSet", "") == (named.split("\\") if "\\" in named else named)
    assert decode_identifier(encoded, EXPLICIT).text("00100010") == text
    if "IR 58" not in named:  # of which pydicom leaves the escape sequences in the text
        assert str(got.PatientName) == text


REAL = written_by_pydicom(sample(), EXPLICIT)


@pytest.mark.parametrize(
    ("data_set", "syntax"),
    [
        (REAL[:-1], EXPLICIT),
        (REAL[:50], EXPLICIT),
        (REAL, DEFLATED),
        (written_by_pydicom(sample(), DEFLATED)[:20], DEFLATED),
        (bytes(SIZE_LIMIT + 1), EXPLICIT),
        (zlib.compress(bytes(SIZE_LIMIT + 1), wbits=-15), DEFLATED),
        (bytes.fromhex("feff00e000000000"), IMPLICIT),
        (bytes.fromhex("40007502ffffffff") * 100, IMPLICIT),
    ],
)
def test_what_is_no_data_set_is_refused(data_set: bytes, syntax: str) -> None:
    with pytest.raises(BadDicomError):
        decode_identifier(data_set, syntax)


def test_sequences_cannot_be_nested_without_end() -> None:
    nested = bytes.fromhex("40007502ffffffff" + "feff00e0ffffffff") * 40
    with pytest.raises(BadDicomError, match="nested"):
        decode_identifier(nested, IMPLICIT)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_any_bytes_are_an_identifier_or_refused(data_set: bytes, syntax: str) -> None:
    read_or_refuse(data_set, syntax)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(REAL)), st.binary(min_size=1, max_size=4), st.integers(0, 4))
def test_a_mutated_identifier_is_read_or_refused(at: int, change: bytes, dropped: int) -> None:
    read_or_refuse(REAL[:at] + change + REAL[at + dropped :], EXPLICIT)


def read_or_refuse(data_set: bytes, syntax: str) -> None:
    try:
        got = decode_identifier(data_set, syntax)
    except BadDicomError:
        return
    header: Header = got.attributes
    assert all(len(tag) == 8 for tag in header)
