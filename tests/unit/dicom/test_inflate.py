import tracemalloc
import zlib

import pytest

from imagerepo.dicom import inflate
from imagerepo.dicom.inflate import INFLATED_LIMIT, KEPT_LIMIT, inflate_header
from imagerepo.dicom.part10 import read_data_set
from imagerepo.errors import BadDicomError, RefusedError, TooLargeError
from tests.unit.dicom.building import DEFLATED, EXPLICIT, data_set, element

TRAILER = element(0xFFFCFFFC, "OB", bytes(6))


def deflate(*chunks):
    deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join([*map(deflater.compress, chunks), deflater.flush()])


def test_a_deflated_data_set_is_read_like_an_inflated_one_but_has_no_frames():
    content = data_set(element(0x00100020, "LO", "X"), element(0x7FE00010, "OW", bytes(1000)), TRAILER)
    attributes, layout = read_data_set(deflate(content), DEFLATED, 300)
    assert attributes == read_data_set(content, EXPLICIT, 0)[0]
    assert layout.pixel is None
    assert layout.header_length == layout.trailer_offset == 300 + len(deflate(content))


def test_pixel_data_are_cut_out():
    head = data_set(element(0x00100020, "LO", "X"))
    pixel = element(0x7FE00010, "OW", bytes(1000))
    inflated = inflate_header(deflate(head, pixel, TRAILER))
    assert (inflated.header, inflated.pixel, inflated.trailer) == (head, pixel[:12], TRAILER)


def test_pixel_data_beyond_what_is_kept_are_passed_over_within_bounds():
    head = data_set()
    million = bytes(1 << 20)
    pixel = element(0x7FE00010, "OW", length=200 << 20)
    content = deflate(head, pixel, *[million] * 200, TRAILER)
    tracemalloc.start()
    try:
        inflated = inflate_header(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (inflated.header, inflated.pixel, inflated.trailer) == (head, pixel, TRAILER)
    assert peak < 2.5 * KEPT_LIMIT
    with pytest.raises(BadDicomError, match=r"pixel data at byte \d+ end 1048576 bytes beyond"):
        inflate_header(deflate(head, pixel, *[million] * 199))


@pytest.mark.parametrize("before", [b"", element(0x00100020, "LO", "X")])
def test_a_bomb_is_stopped(before):
    with pytest.raises(RefusedError, match=r"more than|\(0000,0000\)"):
        read_data_set(deflate(data_set(before), *[bytes(1 << 20)] * 70), DEFLATED, 0)
    value = element(0x00420011, "OB", length=70 << 20)
    with pytest.raises(TooLargeError, match="more than"):
        read_data_set(deflate(data_set(before), value, *[bytes(1 << 20)] * 70), DEFLATED, 0)


def test_a_bomb_of_pixel_data_is_stopped_at_the_limit(monkeypatch):
    monkeypatch.setattr(inflate, "INFLATED_LIMIT", 100 << 20)  # 1 GiB takes seconds
    pixel = element(0x7FE00010, "OW", length=(1 << 31))
    with pytest.raises(TooLargeError, match="inflates to more than"):
        inflate_header(deflate(data_set(), pixel, *[bytes(1 << 20)] * 110))
    assert INFLATED_LIMIT == 1 << 30


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_a_stream_that_ends_early_is_refused(cut):
    content = deflate(data_set())
    with pytest.raises(BadDicomError, match=r"ends early|not a deflate stream"):
        read_data_set(content[:cut], DEFLATED, 0)


def test_what_is_not_deflated_is_refused():
    with pytest.raises(BadDicomError, match="not a deflate stream"):
        read_data_set(b"\xff" * 100, DEFLATED, 0)


def test_padding_and_checksums_after_the_stream_are_forgiven_and_more_is_not():
    content = deflate(data_set())
    assert read_data_set(content + b"\0", DEFLATED, 0)[0].study_uid == "1.2.4"
    assert read_data_set(content + bytes(8), DEFLATED, 0)[0].study_uid == "1.2.4"
    with pytest.raises(BadDicomError, match="100 bytes follow"):
        read_data_set(content + bytes(100), DEFLATED, 0)


def test_damage_inside_is_named():
    with pytest.raises(BadDicomError, match=r"\(0010,0020\)"):
        read_data_set(deflate(data_set(element(0x00100020, "LO", "AB", length=90))), DEFLATED, 0)
