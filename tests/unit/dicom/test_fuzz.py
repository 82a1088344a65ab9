"""Whatever comes in, only a refusal comes out, and what was accepted can be encoded."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagerepo.dicom.charset import charset_of, decode, decode_name
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES
from imagerepo.dicom.frames import frame_ranges
from imagerepo.dicom.inflate import inflate_header
from imagerepo.dicom.json import encode, header_end
from imagerepo.dicom.part10 import read_data_set, read_meta
from imagerepo.errors import RefusedError
from tests.unit.dicom.building import BIG, DEFLATED, EXPLICIT, IMPLICIT, JPEG, UNDEFINED, data_set, element, implicit
from tests.unit.dicom.references import FILES, is_part10, sample

SYNTAXES = [EXPLICIT, IMPLICIT, BIG, DEFLATED, JPEG]
SMALL = [path.read_bytes() for path in FILES if path.stat().st_size < 6000 and is_part10(path)]
TAGS = [0x00080005, 0x00081140, 0x00091001, 0x00100010, 0x00280010, 0x7FE00010, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0]
VRS = ["AE", "SQ", "UN", "OB", "US", "FD", "PN", "UT", "ZZ", "??", "\0\0", "  "]


def exercise(data, syntax):
    """All that ingest and retrieval do with a data set; returns whether it was accepted."""
    try:
        attributes, layout = read_data_set(data, syntax, 1000)
    except RefusedError:
        return False
    if syntax in DEFLATED_SYNTAXES:
        inflated = inflate_header(data)
        header, trailer = inflated.header + inflated.pixel, inflated.trailer
    else:
        header = data[: header_end(layout) - 1000]
        trailer = data[layout.trailer_offset - 1000 :]
    json.loads(encode(header, syntax, bulk_data_uri="/b", trailer=trailer))
    try:
        frame_ranges(layout, attributes.number_of_frames or 1, 1)
    except RefusedError:
        return True
    return True


def exercise_file(content):
    try:
        meta = read_meta(content)
    except RefusedError:
        return
    exercise(content[meta.data_set_offset :], meta.transfer_syntax)


def encode_or_refuse(data, syntax):
    try:
        json.loads(encode(data, syntax, bulk_data_uri="/b"))
    except RefusedError:
        return


pieces = st.one_of(
    st.binary(max_size=12),
    st.tuples(st.sampled_from(TAGS), st.sampled_from(VRS), st.binary(max_size=16)).map(lambda args: element(*args)),
    st.tuples(st.sampled_from(TAGS), st.binary(max_size=16)).map(lambda args: implicit(*args)),
    st.sampled_from(TAGS).map(lambda tag: implicit(tag, length=UNDEFINED)),
    st.sampled_from(["SQ", "UN", "OB"]).map(lambda vr: element(0x00081140, vr, length=UNDEFINED)),
    st.tuples(st.sampled_from(TAGS), st.integers(0, 64)).map(lambda args: implicit(args[0], length=args[1])),
)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(content):
    exercise_file(content)
    exercise_file(bytes(128) + b"DICM" + content)


@settings(max_examples=400, deadline=None)
@given(st.lists(pieces, max_size=12).map(b"".join), st.sampled_from(SYNTAXES))
@example(element(0x00081140, "SQ")[:4] + b"ZZ\x08\x00" + bytes(8), EXPLICIT)  # a sequence in spite of its VR
@example(b"\x08\x00\x00\x11\x00\x00\x01\x00\x00", EXPLICIT)  # likewise, VR of NUL bytes
def test_any_elements_are_refused_or_read_and_encoded(content, syntax):
    exercise(data_set() + content, syntax)
    encode_or_refuse(content, syntax)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_real_files_with_bytes_changed_are_refused_or_read_and_encoded(content, changes):
    changed = bytearray(content)
    for at, value in changes:
        changed[132 + at % (len(changed) - 132)] = value
    exercise_file(bytes(changed))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SMALL), st.integers(132, 6000), st.integers(0, 200), st.binary(max_size=20))
def test_real_files_with_pieces_cut_out_and_put_in_are_refused_or_read(content, at, cut, put):
    exercise_file(content[:at] + put + content[at + cut :])


@pytest.mark.parametrize(
    "name", ["test-SR.dcm", "rtplan.dcm", "JPEG-LL.dcm", "image_dfl.dcm", "nested_priv_SQ.dcm", "UN_sequence.dcm"]
)
def test_a_file_cut_off_anywhere_is_refused_or_ends_with_an_element(name):
    content = sample(name).read_bytes()
    meta = read_meta(content)
    data = content[meta.data_set_offset :]
    for end in range(min(len(data), 3000)):
        exercise(data[:end], meta.transfer_syntax)
        encode_or_refuse(data[:end], meta.transfer_syntax)


@settings(deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60))
@example(b"\\ISO 2022 IR 87", b"\x1b$B\x1b$B")
@example(b"ISO 2022 IR 13", b"\x1b)I\xff\x1b(J")
def test_any_bytes_in_any_character_set_are_text(term, value):
    assert isinstance(decode(value, charset_of(term)), str)
    assert isinstance(decode_name(b"\x1b" + value, charset_of(term)), str)
