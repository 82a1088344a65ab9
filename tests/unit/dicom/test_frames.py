import io
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import generate_frames

from imagerepo.dicom.encoding import DEFLATED_SYNTAXES
from imagerepo.dicom.frames import frame_ranges, unpack
from imagerepo.dicom.part10 import read_data_set, read_meta
from imagerepo.errors import BadDicomError, BadRequestError, NotAcceptableError, NotFoundError
from tests.unit.dicom.building import EXPLICIT, JPEG, data_set, element, encapsulated, image
from tests.unit.dicom.references import FILES, is_part10, quietly, reference


def frames_of(content, syntax, number):
    _, layout = read_data_set(content, syntax, 0)
    return [
        b"".join(content[offset : offset + length] for offset, length in frame_ranges(layout, number, frame))
        for frame in range(1, number + 1)
    ]


def native(value, **kwargs):
    return image(element(0x7FE00010, "OW", value), **kwargs)


def test_native_frames_follow_each_other():
    assert frames_of(native(b"abcdefgh", frames=2), EXPLICIT, 2) == [b"abcd", b"efgh"]


def test_padding_after_the_last_native_frame_is_not_part_of_it():
    assert frames_of(native(b"abcdefghi\0", rows=1, columns=3, frames=3), EXPLICIT, 3) == [b"abc", b"def", b"ghi"]


def test_ybr_full_422_has_two_bytes_a_pixel():
    content = native(bytes(range(16)), samples=3, frames=2, photometric="YBR_FULL_422")
    assert frames_of(content, EXPLICIT, 2) == [bytes(range(8)), bytes(range(8, 16))]


@pytest.mark.parametrize(("tag", "vr", "size"), [(0x7FE00008, "OF", 4), (0x7FE00009, "OD", 8)])
def test_float_pixel_data_have_their_own_sample_size(tag, vr, size):
    content = image(element(tag, vr, bytes(8 * size)), bits=size * 8, frames=2)
    _, layout = read_data_set(content, EXPLICIT, 0)
    assert layout.pixel.frame_length == 4 * size


def test_a_single_frame_of_single_bits_is_all_of_it():
    assert frames_of(native(b"\xff\x01", rows=3, columns=3, bits=1), EXPLICIT, 1) == [b"\xff\x01"]


def test_frames_of_single_bits_that_are_whole_bytes_are_addressed():
    assert frames_of(native(b"ab", rows=2, columns=4, bits=1, frames=2), EXPLICIT, 2) == [b"a", b"b"]


def test_frames_that_share_a_byte_cannot_be_addressed():
    _, layout = read_data_set(native(b"\xff\x01", rows=3, columns=3, bits=1, frames=2), EXPLICIT, 0)
    with pytest.raises(NotAcceptableError, match="not whole bytes"):
        frame_ranges(layout, 2, 1)


def test_pixel_data_shorter_than_announced_are_accepted_but_their_frames_are_not_addressed():
    _, layout = read_data_set(native(b"abcd", frames=2), EXPLICIT, 0)
    with pytest.raises(NotAcceptableError, match="shorter"):
        frame_ranges(layout, 2, 1)


def test_frames_out_of_range_are_named():
    _, layout = read_data_set(native(b"abcdefgh", frames=2), EXPLICIT, 0)
    for frame in (0, -1):
        with pytest.raises(BadRequestError, match="numbered from 1"):
            frame_ranges(layout, 2, frame)
    with pytest.raises(NotFoundError, match="frame 3: the instance has 2"):
        frame_ranges(layout, 2, 3)
    _, layout = read_data_set(data_set(), EXPLICIT, 0)
    with pytest.raises(NotFoundError, match="no pixel data"):
        frame_ranges(layout, 1, 1)


def test_a_single_frame_is_all_of_its_fragments():
    assert frames_of(image(encapsulated([b"ab", b"cd", b"ef"])), JPEG, 1) == [b"abcdef"]


def test_without_offsets_as_many_fragments_as_frames_are_the_frames():
    assert frames_of(image(encapsulated([b"ab", b"cd"]), frames=2), JPEG, 2) == [b"ab", b"cd"]


def test_the_basic_offset_table_groups_fragments():
    content = image(encapsulated([b"ab", b"cd", b"ef", b"gh"], offsets=(0, 30)), frames=2)
    assert frames_of(content, JPEG, 2) == [b"abcdef", b"gh"]


def test_the_extended_offset_table_gives_places_and_lengths_without_padding():
    tables = element(0x7FE00001, "OV", struct.pack("<QQ", 0, 12)) + element(0x7FE00002, "OV", struct.pack("<QQ", 3, 2))
    content = image(tables + encapsulated([b"abc\0", b"de"]), frames=2)
    assert frames_of(content, JPEG, 2) == [b"abc", b"de"]


@pytest.mark.parametrize("offsets", [(), (0, 31), (8, 30), (0, 0), (10, 0), (0, 10, 20), (0, 1 << 31)])
def test_fragments_that_no_sound_table_groups_cannot_be_addressed(offsets):
    _, layout = read_data_set(image(encapsulated([b"ab", b"cd", b"ef", b"gh"], offsets), frames=2), JPEG, 0)
    assert layout.pixel.encapsulated
    with pytest.raises(NotAcceptableError, match="cannot be assigned"):
        frame_ranges(layout, 2, 1)


def test_pixel_data_without_fragments_are_encapsulated_and_empty():
    _, layout = read_data_set(image(encapsulated([])), JPEG, 0)
    assert layout.pixel.encapsulated
    assert frame_ranges(layout, 1, 1) == []


def test_a_new_header_moves_the_frames_with_their_value():
    content = image(encapsulated([b"ab", b"cd"]), frames=2)
    _, layout = read_data_set(content, JPEG, 0)
    moved = replace(layout, pixel=replace(layout.pixel, offset=layout.pixel.offset + 1000))
    assert frame_ranges(moved, 2, 2) == [(offset + 1000, length) for offset, length in frame_ranges(layout, 2, 2)]


def test_the_encapsulated_value_begins_at_its_first_item_and_ends_after_its_delimiter():
    content = image(encapsulated([b"ab"]) + element(0xFFFCFFFC, "OB", b"\0\0"))
    _, layout = read_data_set(b"" + content, JPEG, 0)
    value = content[layout.pixel.offset : layout.pixel.offset + layout.pixel.length]
    assert value[:4] == struct.pack("<HH", 0xFFFE, 0xE000)
    assert value[-8:] == struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    assert content[layout.trailer_offset :] == element(0xFFFCFFFC, "OB", b"\0\0")
    assert content[layout.header_length :][:4] == struct.pack("<HH", 0x7FE0, 0x0010)


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.binary(max_size=6).map(lambda b: b + b"\0" * (len(b) % 2)), min_size=1, max_size=4),
        min_size=1,
        max_size=6,
    )
)
def test_any_grouping_that_the_offset_table_says_is_found(groups):
    offsets, position = [], 0
    for group in groups:
        offsets.append(position)
        position += sum(8 + len(fragment) for fragment in group)
    fragments = [fragment for group in groups for fragment in group]
    content = image(encapsulated(fragments, offsets), frames=len(groups))
    assert frames_of(content, JPEG, len(groups)) == [b"".join(group) for group in groups]
    _, layout = read_data_set(content, JPEG, 0)
    counts, ranges, assigned = unpack(layout.pixel.frames)
    assert (sum(counts), assigned) == (len(ranges), True)


@pytest.mark.parametrize(
    "path", [p for p in FILES if is_part10(p)], ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_frames_of_pydicoms_files_are_those_that_pydicom_finds(path):
    content = path.read_bytes()
    try:
        meta = read_meta(content)
        attributes, layout = read_data_set(
            memoryview(content)[meta.data_set_offset :], meta.transfer_syntax, meta.data_set_offset
        )
    except BadDicomError:
        return
    if layout.pixel is None:
        assert meta.transfer_syntax in DEFLATED_SYNTAXES or "PixelData" not in reference(path)
        return
    number = attributes.number_of_frames or 1
    if layout.pixel.encapsulated:
        with quietly():
            expected = list(generate_frames(io.BytesIO(reference(path).PixelData), number_of_frames=number))
        ours = [
            b"".join(content[offset : offset + length] for offset, length in frame_ranges(layout, number, frame))
            for frame in range(1, number + 1)
        ]
        assert ours == expected
    elif layout.pixel.frame_length:
        last = frame_ranges(layout, number, number)[-1]
        assert sum(last) <= layout.pixel.offset + layout.pixel.length
