"""What reading a data set allocates: bounded by limits, whatever lengths its elements claim."""

import mmap
import struct
import subprocess
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from imagerepo.dicom import inflate
from imagerepo.dicom.attributes import DELIMITERS, EXTENDED_LENGTHS, EXTENDED_OFFSETS, UID_FIELDS, wanted
from imagerepo.dicom.encoding import IMPLICIT_LITTLE
from imagerepo.dicom.frames import unpack
from imagerepo.dicom.inflate import KEPT_LIMIT, inflate_header
from imagerepo.dicom.part10 import read_data_set
from imagerepo.errors import BadDicomError, RefusedError, TooLargeError
from tests.unit.dicom.building import (
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    SEQUENCE_END,
    UIDS,
    UNDEFINED,
    data_set,
    element,
    encapsulated,
    image,
    implicit,
    item,
)

HUGE = 128 << 20  # bytes that an element's length claims
SMALL = 1 << 20  # bytes of which reading it may hold at once


class Peak:
    size = 0  # bytes, over what was held before


@contextmanager
def allocations():
    peak = Peak()
    read_data_set(data_set(), EXPLICIT, 0)  # what is made once is made
    read_data_set(b"".join(implicit(tag, uid.encode()) for tag, uid in UIDS.items()), IMPLICIT, 0)
    tracemalloc.start()
    try:
        yield peak
        peak.size = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextmanager
def sparse(before, after):
    """`before`, HUGE bytes of NUL that take no memory, and `after`."""
    with mmap.mmap(-1, len(before) + HUGE + len(after)) as content:
        content[: len(before)] = before
        content[len(before) + HUGE :] = after
        with memoryview(content) as view:
            yield view


@pytest.mark.parametrize("tag", sorted({*wanted(IMPLICIT_LITTLE).values()} - {*DELIMITERS}), ids="{:08X}".format)
def test_no_wanted_value_is_copied_whole(tag):
    before = b"".join(implicit(other, uid.encode()) for other, uid in UIDS.items())
    before += implicit(0x00280008, b"2 ") + implicit(tag, length=HUGE)
    after = b"" if tag >> 16 == 0x7FE0 else implicit(0x7FE00010, b"abcd")
    with sparse(before, after) as content, allocations() as peak:
        if tag in UID_FIELDS:
            with pytest.raises(BadDicomError):
                read_data_set(content, IMPLICIT, 0)
        else:
            read_data_set(content, IMPLICIT, 0)
    assert peak.size < SMALL


@pytest.mark.parametrize("frames", [2, 3, HUGE // 4])
def test_a_basic_offset_table_with_more_entries_than_fragments_is_not_read(frames):
    opening = element(0x7FE00010, "OB", item(length=HUGE), length=UNDEFINED)
    fragments = [b"ab", b"cd"]
    with sparse(image(opening, frames=frames), b"".join(map(item, fragments)) + SEQUENCE_END) as content:
        with allocations() as peak:
            _, layout = read_data_set(content, JPEG, 0)
        assert unpack(layout.pixel.frames)[2] == (frames == 2)
    assert peak.size < SMALL


@pytest.mark.parametrize("tag", [EXTENDED_OFFSETS, EXTENDED_LENGTHS])
@pytest.mark.parametrize("frames", [2, HUGE // 8])
def test_an_extended_offset_table_with_more_entries_than_fragments_is_not_read(tag, frames):
    with (
        sparse(image(element(tag, "OV", length=HUGE), frames=frames), encapsulated([b"ab", b"cd"])) as content,
        allocations() as peak,
    ):
        read_data_set(content, JPEG, 0)
    assert peak.size < SMALL


def test_offset_tables_that_are_read_take_few_bytes_a_fragment():
    count = 100_000
    offsets = range(0, 10 * count, 10)
    extended = element(EXTENDED_OFFSETS, "OV", struct.pack(f"<{count}Q", *offsets))
    lengths = element(EXTENDED_LENGTHS, "OV", struct.pack(f"<{count}Q", *[1] * count))
    pixel = encapsulated([b"ab"] * count, offsets)
    for content, length in ((image(pixel, frames=count), 2), (image(extended + lengths + pixel, frames=count), 1)):
        with allocations() as peak:
            _, layout = read_data_set(content, JPEG, 0)
        counts, ranges, assigned = unpack(layout.pixel.frames)
        assert (assigned, counts, ranges[-1][1]) == (True, [1] * count, length)
        assert peak.size < 128 * count + SMALL  # 16 of them are the walk's, 20 the packed table's


def deflate(*chunks):
    deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join([*map(deflater.compress, chunks), deflater.flush()])


def document(size):
    """A deflated data set whose header holds a document of `size` bytes."""
    million = bytes(1 << 20)
    return deflate(data_set(element(0x00420011, "OB", length=size)), *[million] * (size >> 20))


def at_once(number, read, content):
    """What `number` threads give or raise."""

    def outcome(_):
        try:
            return read(content, DEFLATED, 0)
        except RefusedError as error:
            return error

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(outcome, range(number)))


def test_of_many_deflated_data_sets_at_once_two_are_held():
    content = document(15 << 20)
    with allocations() as peak:
        outcomes = at_once(12, read_data_set, content)
    assert {attributes.study_uid for attributes, _ in outcomes} == {"1.2.4"}
    assert peak.size < 2 * 2.5 * KEPT_LIMIT


@pytest.mark.parametrize(
    ("content", "error"),
    [(document(60 << 20), TooLargeError), (document(15 << 20) + bytes(100), BadDicomError)],
    ids=["too large", "damaged"],
)
def test_errors_of_refused_deflated_data_sets_hold_none_of_them(content, error):
    with allocations() as peak:
        outcomes = at_once(12, read_data_set, content)
        held = tracemalloc.get_traced_memory()[0]
    assert {type(outcome) for outcome in outcomes} == {error}
    assert all(outcome.__traceback__ for outcome in outcomes)
    assert held < SMALL
    assert peak.size < 2 * 2.5 * KEPT_LIMIT


def test_an_error_of_what_was_inflated_does_not_hold_it():
    content = deflate(element(0x00420011, "OB", bytes(15 << 20)))
    with allocations():
        outcomes = at_once(4, read_data_set, content)
        held = tracemalloc.get_traced_memory()[0]
    assert all("Study Instance UID" in str(outcome) for outcome in outcomes)
    assert held < SMALL


def test_a_header_beyond_what_is_kept_is_refused_and_the_limit_named():
    with pytest.raises(TooLargeError, match=f"more than {KEPT_LIMIT} bytes"):
        inflate_header(document(17 << 20))
    assert KEPT_LIMIT <= 16 << 20


def test_header_and_trailer_share_one_limit():
    large = [bytes(10 << 20)]
    parts = [data_set(element(0x00420011, "OB", length=10 << 20)), *large]
    parts += [element(0x7FE00010, "OW", length=10 << 20), *large, element(0xFFFCFFFC, "OB", length=10 << 20), *large]
    with pytest.raises(TooLargeError, match=f"more than {KEPT_LIMIT} bytes besides pixel data"):
        inflate_header(deflate(*parts))


def test_a_refused_data_set_gives_its_place_to_the_next():
    for _ in range(3 * inflate.AT_ONCE):
        with pytest.raises(BadDicomError):
            inflate_header(b"\xff" * 100)
        with pytest.raises(BadDicomError):
            read_data_set(deflate(b"\1" * 100), DEFLATED, 0)
    assert inflate_header(deflate(data_set())).header == data_set()


@pytest.mark.parametrize("size", [1 << 20, 3 << 20, 15 << 20])
def test_a_stream_whose_input_is_taken_before_its_output_is_read_to_its_end(size):
    content = data_set(element(0x00420011, "OB", bytes(size)))
    assert inflate_header(deflate(content)).header == content


BOMBS = """
import resource, sys
from imagerepo.dicom.part10 import read_data_set
from tests.unit.dicom.test_memory import at_once, document
content = document(60 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
at_once(24, read_data_set, content)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_process_sent_many_bombs_at_once_grows_by_what_two_keep():
    grown = int(subprocess.run([sys.executable, "-c", BOMBS], check=True, capture_output=True, text=True).stdout)
    assert grown << 10 < 2 * 2.5 * KEPT_LIMIT
