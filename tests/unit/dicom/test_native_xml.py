"""XML of the Native DICOM Model says what dcmtk's does, attribute by attribute."""

import math
import subprocess
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import keyword_for_tag

from imagerepo.dicom import part10
from imagerepo.dicom.json import encode, header_end
from imagerepo.dicom.native_xml import native_model
from imagerepo.dicom.values import quote
from imagerepo.errors import BadDicomError
from tests.wire.dicomweb_samples import FILES

SPACE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
READ_OTHERWISE = {"00080005"}  # what the answer is written in
DIFFERENT = {
    "693_J2KR.dcm",  # cut off amid pixel data
    "waveform_ecg.dcm",  # private elements without a creator keep their block here: two blocks would become one
    "rtdose_rle.dcm", "rtdose_rle_1frame.dcm",  # elements of known VR that are written as UN
    "explicit_VR-UN.dcm", "J2K_pixelrep_mismatch.dcm", "SC_rgb_jpeg.dcm",  # dcmtk reads them not at all
}  # fmt: skip
NUMBERS = {"DS", "FD", "FL", "IS", "OD", "OF"}


def documents() -> list[Path]:
    """Samples that can be stored, not deflated: their headers are at hand as bytes."""
    found = []
    for file in FILES:
        content = file.read_bytes()
        try:
            meta = part10.read_meta(content)
            part10.read_data_set(
                memoryview(content)[meta.data_set_offset :], meta.transfer_syntax, meta.data_set_offset
            )
        except BadDicomError:
            continue
        if not meta.transfer_syntax.endswith("1.99"):
            found.append(file)
    return found


def ours(file: Path) -> Element:
    content = file.read_bytes()
    meta = part10.read_meta(content)
    data_set = memoryview(content)[meta.data_set_offset :]
    _, layout = part10.read_data_set(data_set, meta.transfer_syntax, meta.data_set_offset)
    header = content[meta.data_set_offset : header_end(layout)]
    document = encode(
        header, meta.transfer_syntax, bulk_data_uri="http://x/i", trailer=content[layout.trailer_offset :]
    )
    return fromstring(native_model(document))


def theirs(file: Path) -> Element:
    done = subprocess.run(["dcm2xml", "-nat", "+Xn", "+Eb", "+U8", str(file)], capture_output=True, check=True)
    return fromstring(done.stdout)


def spelled(node: Element) -> list[object]:
    """An attribute list as values, without what spelling leaves open."""
    found: list[object] = []
    for one in node:
        tag, vr = one.get("tag"), one.get("vr")
        if tag in READ_OTHERWISE or tag[4:] == "0000":
            continue
        # Encapsulated pixel data are OB, also where the file calls them OW, as some do.
        found.append((tag, "OB" if tag == "7FE00010" else vr, one.get("privateCreator"), _content(one)))
    return found


def _content(one: Element) -> object:
    values: list[object] = []
    for child in one:
        kind = child.tag.removeprefix(SPACE)
        text = (child.text or "").strip()
        match kind:
            case "Item":
                values.append(spelled(child))
            case "PersonName":
                values.append([(part.tag, part.text) for part in child.iter() if (part.text or "").strip()])
            case "BulkData" | "InlineBinary":
                return "binary"
            case "Value" if one.get("vr") in NUMBERS:
                values.append(_number(text))
            case _:
                values.append(text)
    return values


def _number(text: str) -> object:
    try:
        number = float(text)
    except ValueError:
        return text
    return float(f"{number:.6g}") if math.isfinite(number) else text


@pytest.mark.parametrize("file", documents(), ids=lambda file: file.name)
def test_a_header_says_what_dcmtk_says(file: Path) -> None:
    mine = ours(file)
    if file.name not in DIFFERENT:
        assert spelled(mine) == spelled(theirs(file))


def test_attributes_are_named_as_in_the_dictionary() -> None:
    mine = ours(next(file for file in FILES if file.name == "rtplan.dcm"))
    named = [(int(one.get("tag"), 16), one.get("keyword")) for one in mine.iter(f"{SPACE}DicomAttribute")]
    assert len(named) > 100
    assert all(keyword_for_tag(tag) == (keyword or "") for tag, keyword in named)


def test_a_name_has_its_components_in_each_of_its_groups() -> None:
    names = '{"Alphabetic":"Yamada^Tarou^^Dr^MD^x","Ideographic":"山田^太郎"}'
    document = f'{{"00100010":{{"vr":"PN","Value":[{names},null]}}}}'.encode()
    first, second = fromstring(native_model(document))[0]
    alphabetic, ideographic = first
    assert [(one.tag.removeprefix(SPACE), one.text) for one in alphabetic] == [
        ("FamilyName", "Yamada"), ("GivenName", "Tarou"), ("NamePrefix", "Dr"), ("NameSuffix", "MD^x"),
    ]  # fmt: skip
    assert [one.text for one in ideographic] == ["山田", "太郎"]
    assert (second.get("number"), len(second)) == ("2", 0)


def test_a_decimal_keeps_its_digits() -> None:
    document = b'{"00181310":{"vr":"DS","Value":[1.500,12345678901234567890.10]}}'
    assert [one.text for one in fromstring(native_model(document))[0]] == ["1.500", "12345678901234567890.10"]


@given(st.text())
def test_any_text_is_well_formed_and_comes_back_unless_xml_cannot_write_it(text: str) -> None:
    document = f'{{"00104000":{{"vr":"LT","Value":[{quote(text)}]}}}}'.encode("utf-8", "replace")
    (value,) = fromstring(native_model(document))[0]
    expected = "".join(
        one if one in "\t\n\r" or (one >= " " and one not in "\ufffe\uffff") else "\ufffd" for one in text
    )
    assert (value.text or "") == expected
