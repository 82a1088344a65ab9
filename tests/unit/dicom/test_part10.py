import io
import struct

import pydicom
import pytest

from imagerepo.dicom.part10 import make_meta, read_data_set, read_meta
from imagerepo.dicom.sequences import NESTING_LIMIT
from imagerepo.errors import BadDicomError
from tests.unit.dicom.building import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UIDS,
    UNDEFINED,
    data_set,
    element,
    implicit,
    item,
    nested,
    open_item,
)

META = make_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", EXPLICIT, "SCANNER")


def read(content, syntax=EXPLICIT):
    return read_data_set(content, syntax, 0)[0]


def refused(content, message, syntax=EXPLICIT):
    with pytest.raises(BadDicomError, match=message):
        read(content, syntax)


def test_made_meta_is_what_pydicom_reads_without_complaint():
    dataset = pydicom.dcmread(io.BytesIO(META + data_set()))
    meta = dataset.file_meta
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.FileMetaInformationGroupLength == len(META) - 128 - 4 - 12
    assert meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.SourceApplicationEntityTitle == "SCANNER"
    assert meta.ImplementationClassUID.startswith("2.25.")
    assert len(meta.ImplementationVersionName) <= 16
    pydicom.dataset.validate_file_meta(meta)


def test_made_meta_is_read_back():
    meta = read_meta(META + data_set())
    assert (meta.transfer_syntax, meta.sop_class_uid) == (EXPLICIT, "1.2.840.10008.5.1.4.1.1.2")
    assert (meta.sop_instance_uid, meta.data_set_offset) == ("1.2.3", len(META))


def test_meta_without_an_ae_title_leaves_the_element_out():
    assert struct.pack("<HH", 2, 0x0016) not in make_meta("1.2", "1.3", EXPLICIT, "")


@pytest.mark.parametrize("length", [0, 1, 0xFFFFFFFF])
def test_a_group_length_that_lies_is_not_relied_on(length):
    lying = META[:140] + struct.pack("<I", length) + META[144:]
    assert read_meta(lying + data_set()).data_set_offset == len(META)


def test_group_2_without_its_length_is_read():
    assert read_meta(META[:132] + META[144:] + data_set()).data_set_offset == len(META) - 12


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(131), bytes(128) + b"DICN", b"\x89PNG" + bytes(200)])
def test_what_is_not_part_10_is_refused(content):
    with pytest.raises(BadDicomError, match="no DICM at byte 128"):
        read_meta(content)


def test_a_group_2_element_that_goes_beyond_the_file_is_named():
    with pytest.raises(BadDicomError, match=r"\(0002,0016\) at byte"):
        read_meta(META[:-1])


def test_a_transfer_syntax_that_is_no_uid_is_named():
    with pytest.raises(BadDicomError, match=r"Transfer Syntax UID \(0002,0010\) is 'abc"):
        read_meta(META.replace(EXPLICIT.encode(), b"abc" + EXPLICIT[3:].encode()))


@pytest.mark.parametrize("tag", UIDS)
def test_each_identifying_uid_is_needed_and_named(tag):
    without = b"".join(element(other, "UI", uid) for other, uid in UIDS.items() if other != tag)
    name = rf"\({tag >> 16:04X},{tag & 0xFFFF:04X}\) is"
    refused(without, name + " missing")
    refused(without + element(tag, "UI", ""), name + " missing")
    refused(without + element(tag, "UI", "1.2.x"), name + " '1.2.x', not a UID")
    refused(without + element(tag, "UI", "1." * 40 + "1"), name + ".*not a UID")


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\0\0\0", b" \0"])
def test_padding_of_uids_is_forgiven(padding):
    assert read(data_set(element(0x0020000D, "UI", b"1.2.9" + padding))).study_uid == "1.2.9"


def test_of_repeated_elements_the_last_counts_and_order_does_not():
    attributes = read(
        data_set(element(0x00100020, "LO", "A"), element(0x00080060, "CS", "CT"), element(0x00100020, "LO", "B"))
    )
    assert (attributes.patient_id, attributes.modality) == ("B", "CT")


def test_multiple_values_are_joined_without_their_padding():
    assert read(data_set(element(0x00081030, "LO", " A \\B \\ C "))).study_description == "A\\B\\C"


@pytest.mark.parametrize("value", [b"", b"\1", b"1A", b" ", b"-1", b"99999999999", b"\xff\xfe", b"9" * 5000])
def test_numbers_that_are_nonsense_are_none(value):
    attributes = read(data_set(element(0x00280008, "IS", value), element(0x00280010, "US", value[:1])))
    assert attributes.number_of_frames is None
    assert attributes.rows is None


def test_big_endian_is_read():
    content = b"".join(element(tag, "UI", uid, order=">") for tag, uid in UIDS.items())
    content += element(0x00280010, "US", b"\2\0", order=">")
    sequence = struct.pack(">HHI", 0xFFFE, 0xE000, 0)
    content += element(0x00400275, "SQ", sequence, order=">")
    assert read(content, BIG).rows == 512


def test_implicit_little_endian_is_read():
    content = b"".join(implicit(tag, uid.encode()) for tag, uid in UIDS.items())
    content += implicit(0x00081140, item(implicit(0x00081150, b"1.2 "))) + implicit(0x00280010, b"\0\2")
    assert read(content, IMPLICIT).rows == 512


@pytest.mark.parametrize("padding", [b"\0", b"\0" * 7, b"\0" * 512, element(0xFFFCFFFC, "OB", bytes(64))])
def test_padding_at_the_end_is_forgiven(padding):
    assert read(data_set() + padding).study_uid == "1.2.4"


def test_group_lengths_odd_lengths_and_unknown_vrs_are_read():
    content = element(0x00080000, "UL", b"\1\0\0\0") + data_set(
        element(0x00090010, "LO", b"ABC"),
        struct.pack("<HH2sHI", 9, 0x1001, b"ZZ", 0, 6) + b"abcdef",  # as PS3.5 7.1.2 has it
        struct.pack("<HH2sH", 9, 0x1002, b"ZY", 6) + b"abcdef",  # as some devices do
        implicit(0x00091003, b"abcdef"),
        struct.pack("<HH2sH", 9, 0x1004, b"??", 2) + b"ab",
        element(0x00100020, "LO", b"X"),
    )
    assert read(content).patient_id == "X"


def test_un_of_undefined_length_holds_implicit_vr():
    inside = item(implicit(0x00091001, b"ab"), length=UNDEFINED) + ITEM_END + SEQUENCE_END
    content = data_set(element(0x00091002, "UN", inside, length=UNDEFINED), element(0x00100020, "LO", "X"))
    assert read(content).patient_id == "X"


def test_un_of_undefined_length_may_hold_explicit_vr_all_the_same():
    inside = open_item(element(0x00091001, "LO", "ab")) + SEQUENCE_END
    content = data_set(element(0x00091002, "UN", inside, length=UNDEFINED), element(0x00100020, "LO", "X"))
    assert read(content).patient_id == "X"


@pytest.mark.parametrize("defined", [True, False])
def test_sequences_are_followed_to_the_limit_and_refused_beyond(defined):
    assert read(data_set(nested(NESTING_LIMIT, defined=defined))).study_uid == "1.2.4"
    for depth in (NESTING_LIMIT + 1, 1000, 5000):
        refused(data_set(nested(depth, defined=defined)), rf"\(0008,1140\).*nested more than {NESTING_LIMIT} deep")


DAMAGED = {
    "a value beyond the end": (
        element(0x00100020, "LO", "AB", length=200),
        r"\(0010,0020\) at byte \d+: its length of 200 bytes",
    ),
    "a long value beyond the end": (element(0x7FE00010, "OW", b"ab", length=1 << 31), r"\(7FE0,0010\).*beyond"),
    "a header cut off": (b"\x10\0\x20\0L", "5 bytes after the last element"),
    "a long header cut off": (element(0x7FE00010, "OW")[:10], r"\(7FE0,0010\).*within its header"),
    "a sequence never closed": (
        element(0x00081140, "SQ", open_item(), length=UNDEFINED),
        r"\(0008,1140\).*never closed",
    ),
    "an item never closed": (
        element(0x00081140, "SQ", item(element(0x00100020, "LO", "X"), length=UNDEFINED), length=UNDEFINED),
        r"\(0008,1140\).*never closed",
    ),
    "fragments never closed": (
        element(0x7FE00010, "OB", item() + item(b"ab"), length=UNDEFINED),
        r"\(7FE0,0010\).*never closed",
    ),
    "a fragment beyond the end": (
        element(0x7FE00010, "OB", item() + item(b"ab", length=900) + SEQUENCE_END, length=UNDEFINED),
        r"\(FFFE,E000\).*fragment of 900 bytes",
    ),
    "no fragment among fragments": (
        element(0x7FE00010, "OB", item() + element(0x00100020, "LO", "X") + SEQUENCE_END, length=UNDEFINED),
        r"\(0010,0020\).*not a fragment",
    ),
    "an item beyond its sequence": (
        element(0x00081140, "SQ", item(b"", length=50)),
        r"\(FFFE,E000\).*item of 50 bytes",
    ),
    "an element beyond its item": (
        element(0x00081140, "SQ", item(element(0x00100020, "LO", "AB", length=60))),
        r"\(0010,0020\).*exceeds",
    ),
    "no item in a sequence": (
        element(0x00081140, "SQ", element(0x00100020, "LO", "X")),
        r"\(0010,0020\).*not an item",
    ),
    "a sequence delimiter at the top": (SEQUENCE_END, r"\(FFFE,E0DD\).*beyond|\(FFFE,E0DD\).*outside"),
    "an item delimiter at the top": (ITEM_END + element(0x00100020, "LO", "X"), r"\(FFFE,E00D\)"),
    "an item at the top": (item(b"abcd"), r"\(FFFE,E000\)"),
    "an item among elements": (
        element(0x00081140, "SQ", item(item(b"abcd"))),
        r"\(FFFE,E000\).*out of place",
    ),
    "undefined length of text": (
        element(0x00081140, "UT", b"ab", length=UNDEFINED),
        r"\(0008,1140\).*undefined length",
    ),
    "pixel data of text": (element(0x7FE00010, "LO", "AB"), r"\(7FE0,0010\).*VR"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_refused_with_the_element_and_byte(name):
    content, message = DAMAGED[name]
    refused(data_set(content), message)


def test_offsets_in_messages_count_from_the_start_of_the_file():
    content = data_set(element(0x00100020, "LO", "AB", length=200))
    with pytest.raises(BadDicomError, match=f"at byte {400 + len(content) - 10}:"):
        read_data_set(content, EXPLICIT, 400)
