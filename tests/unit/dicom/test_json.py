import json
import struct

import pytest

from imagerepo.dicom.encoding import DEFLATED_SYNTAXES
from imagerepo.dicom.inflate import inflate_header
from imagerepo.dicom.json import INLINE_BINARY_LIMIT, encode, header_end
from imagerepo.dicom.part10 import read_data_set, read_meta
from imagerepo.dicom.sequences import NESTING_LIMIT
from imagerepo.errors import BadDicomError
from tests.unit.dicom.building import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    UNDEFINED,
    data_set,
    element,
    encapsulated,
    image,
    implicit,
    item,
    nested,
)
from tests.unit.dicom.references import FILES, is_part10, quietly, reference

PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
TRUNCATED = {"rtplan_truncated.dcm", "DICOMDIR-nooffset", "emri_small_jpeg_2k_lossless_too_short.dcm"}
# Number of Frames "1A": pydicom fails, here it stays text.
NOT_IN_REFERENCE = {("badVR.dcm", "00280008")}
READABLE = [path for path in FILES if is_part10(path) and path.name not in TRUNCATED]


def encoded(content, syntax=EXPLICIT, **kwargs):
    return json.loads(encode(content, syntax, bulk_data_uri="/bulk", **kwargs))


def from_pydicom(path):
    elements = {}
    with quietly():
        dataset = reference(path)
        for tag in list(dataset.keys()):
            if f"{tag:08X}" in {tag for name, tag in NOT_IN_REFERENCE if name == path.name}:
                continue
            found = dataset[tag]
            # pydicom compares the length in base64 with its threshold.
            elements[f"{tag:08X}"] = found.to_json_dict(lambda _: "", INLINE_BINARY_LIMIT * 4 // 3 + 4)
            if tag in PIXELS and found.value:
                elements[f"{tag:08X}"] = {"vr": found.VR, "BulkDataURI": ""}
    return json.loads(json.dumps(elements))


def alike(elements, *, big):
    """What both agree on, once these differences are taken out.

    Ours leaves out group lengths and empty Value (F.2.2, F.2.5), reports UTF-8 (F.2), removes
    padding of each value, and gives words in little endian; bulk data have our addresses.
    """
    result = {}
    for tag, given in elements.items():
        if tag.endswith("0000") or tag == "00080005":
            continue
        kept = dict(given)
        if "BulkDataURI" in kept:
            kept["BulkDataURI"] = ""
        if big and kept["vr"] == "OW":
            kept.pop("InlineBinary", None)
        if "Value" in kept:
            kept["Value"] = [same_value(kept["vr"], value, big=big) for value in kept["Value"]]
            if all(value is None for value in kept["Value"]):
                del kept["Value"]
        result[tag] = kept
    return result


def same_value(vr, value, *, big):
    if vr == "SQ":
        return alike(value, big=big)
    if vr == "PN" and value is not None:
        return {group: text.strip(" \0") for group, text in value.items() if text} or None
    if isinstance(value, str):
        return value.strip(" \0") or None
    return value


@pytest.mark.parametrize("path", READABLE, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_each_of_pydicoms_files_becomes_the_json_that_pydicom_makes(path):
    content = path.read_bytes()
    try:
        meta = read_meta(content)
    except BadDicomError:
        assert path.name == "meta_missing_tsyntax.dcm"
        return
    data = content[meta.data_set_offset :]
    if meta.transfer_syntax in DEFLATED_SYNTAXES:
        inflated = inflate_header(data)
        ours = encoded(inflated.header + inflated.pixel, meta.transfer_syntax, trailer=inflated.trailer)
    else:
        ours = encoded(data, meta.transfer_syntax)
    for name, tag in NOT_IN_REFERENCE:
        if name == path.name:
            del ours[tag]
    big = meta.transfer_syntax == BIG
    assert alike(ours, big=big) == alike(from_pydicom(path), big=big)
    assert list(ours) == sorted(ours)


@pytest.mark.parametrize("path", READABLE, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_header_and_trailer_alone_make_the_same_json_as_the_whole(path):
    content = path.read_bytes()
    try:
        meta = read_meta(content)
        data = content[meta.data_set_offset :]
        _, layout = read_data_set(data, meta.transfer_syntax, meta.data_set_offset)
    except BadDicomError:
        return  # what is refused is not encoded
    if meta.transfer_syntax in DEFLATED_SYNTAXES:
        return  # it has no addressable trailer
    header = content[meta.data_set_offset : header_end(layout)]
    parts = encoded(header, meta.transfer_syntax, trailer=content[layout.trailer_offset :])
    assert parts == encoded(data, meta.transfer_syntax)


def test_text_is_utf_8_and_says_so():
    content = data_set(
        element(0x00080005, "CS", "ISO_IR 100"), element(0x00100010, "PN", "Müller^J=山".encode("latin_1", "replace"))
    )
    result = encoded(content)
    assert result["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert result["00100010"]["Value"] == [{"Alphabetic": "Müller^J", "Ideographic": "?"}]


def test_elements_come_in_the_order_of_their_tags_and_once():
    content = element(0x00100020, "LO", "A") + element(0x00080060, "CS", "CT") + element(0x00100020, "LO", "B")
    raw = encode(content, EXPLICIT, bulk_data_uri="/b")
    assert raw == b'{"00080060":{"vr":"CS","Value":["CT"]},"00100020":{"vr":"LO","Value":["B"]}}'


NUMBERS = {
    "1.50": 1.5,
    "+1": 1.0,
    ".5": 0.5,
    "1.": 1.0,
    "01": 1.0,
    "1E5": 1e5,
    "-0": 0,
    "abc": "abc",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "1_000": "1_000",
    "0x1": "0x1",
    "9" * 5000: "9" * 5000,
}


@pytest.mark.parametrize("text", NUMBERS)
def test_a_decimal_is_a_number_if_it_is_one(text):
    assert encoded(element(0x00180050, "DS", text))["00180050"]["Value"] == [NUMBERS[text]]


def test_an_integer_is_a_number_if_it_is_one():
    values = encoded(element(0x00200013, "IS", "1\\ +02\\\\x\\3.0\\1.5\\" + "9" * 30))["00200013"]["Value"]
    assert values == [1, 2, None, "x", 3, "1.5", "9" * 30]


@pytest.mark.parametrize(
    ("number", "shown"), [(1.5, 1.5), (float("nan"), "NaN"), (float("inf"), "inf"), (float("-inf"), "-inf")]
)
def test_numbers_that_json_lacks_are_text(number, shown):
    assert encoded(element(0x00189087, "FD", struct.pack("<d", number)))["00189087"]["Value"] == [shown]


def test_an_empty_value_has_no_value():
    content = b"".join(
        element(0x00100000 + i, vr, b"")
        for i, vr in enumerate(["LO", "PN", "DS", "IS", "US", "FD", "AT", "OB", "SQ", "UN", "UT"], 1)
    )
    assert all(list(found) == ["vr"] for found in encoded(content).values())


def test_a_value_that_its_vr_cannot_hold_is_given_as_bytes():
    assert encoded(element(0x00280010, "US", b"\1\2\3")) == {"00280010": {"vr": "UN", "InlineBinary": "AQID"}}


def test_short_binary_is_inline_and_long_binary_by_reference():
    content = element(0x00420011, "OB", bytes(INLINE_BINARY_LIMIT)) + element(
        0x00420013, "OB", bytes(INLINE_BINARY_LIMIT + 2)
    )
    result = encoded(content)
    assert set(result["00420011"]) == {"vr", "InlineBinary"}
    assert result["00420013"] == {"vr": "OB", "BulkDataURI": "/bulk/00420013"}


def test_a_reference_inside_of_sequences_names_the_items():
    inner = element(0x00880200, "SQ", item(element(0x7FE00010, "OB", bytes(2000))))
    result = encoded(element(0x00081140, "SQ", item() + item(inner)))
    found = result["00081140"]["Value"][1]["00880200"]["Value"][0]["7FE00010"]
    assert found == {"vr": "OB", "BulkDataURI": "/bulk/00081140/2/00880200/1/7FE00010"}


@pytest.mark.parametrize("value", [b"", b"abcd"])
def test_pixel_data_are_a_reference_whether_their_value_is_there_or_not(value):
    content = element(0x7FE00010, "OW", value, length=4)
    assert encoded(content) == {"7FE00010": {"vr": "OW", "BulkDataURI": "/bulk/7FE00010"}}


def test_encapsulated_pixel_data_are_a_reference_whether_their_value_is_there_or_not():
    expected = {"vr": "OB", "BulkDataURI": "/bulk/7FE00010"}
    content = image(encapsulated([b"abcd"]))
    assert encoded(content, JPEG)["7FE00010"] == expected
    _, layout = read_data_set(content, JPEG, 0)
    assert encoded(content[: header_end(layout)], JPEG)["7FE00010"] == expected


def test_quotes_controls_and_beyond_are_escaped():
    content = element(0x00080005, "CS", "ISO_IR 192") + element(0x00104000, "LT", 'a"b\\c\r\n\t\x01𝄞'.encode())
    assert encoded(content)["00104000"]["Value"] == ['a"b\\c\r\n\t\x01𝄞']


@pytest.mark.parametrize(("signed", "vr", "value"), [(0, "US", 65535), (1, "SS", -1)])
def test_us_or_ss_follows_the_pixel_representation_also_in_items(signed, vr, value):
    inner = implicit(0x00280106, b"\xff\xff")
    content = implicit(0x00280103, bytes([signed, 0])) + inner + implicit(0x52009229, item(inner))
    result = encoded(content, IMPLICIT)
    assert result["00280106"] == {"vr": vr, "Value": [value]}
    assert result["52009229"]["Value"][0]["00280106"] == {"vr": vr, "Value": [value]}


def test_un_with_a_known_tag_gets_its_vr():
    content = element(0x00100010, "UN", b"A^B ") + element(0x00081140, "UN", item(implicit(0x00081155, b"1.2\0")))
    result = encoded(content)
    assert result["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}
    assert result["00081140"] == {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]}


def test_un_that_should_be_a_sequence_and_is_not_stays_bytes():
    assert encoded(element(0x00081140, "UN", b"abcd")) == {"00081140": {"vr": "UN", "InlineBinary": "YWJjZA=="}}


def test_an_unknown_private_sequence_in_implicit_vr_is_one():
    content = implicit(0x00091001, item(implicit(0x00100020, b"A ")) + implicit(0xFFFEE0DD), length=UNDEFINED)
    assert encoded(content, IMPLICIT)["00091001"]["vr"] == "SQ"


@pytest.mark.parametrize("defined", [True, False])
def test_what_the_reader_accepts_nested_is_encoded(defined):
    assert b'"00081140"' in encode(nested(NESTING_LIMIT, defined=defined), EXPLICIT, bulk_data_uri="")
    with pytest.raises(BadDicomError, match="nested more than"):
        encode(nested(1000, defined=defined), EXPLICIT, bulk_data_uri="")
