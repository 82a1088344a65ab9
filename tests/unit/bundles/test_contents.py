"""adapters.bundles.contents: what an object says is read through its footer, or it is said why it cannot be."""

import pytest

from imagerepo.adapters.bundles import contents
from imagerepo.adapters.bundles.bundle import FOOTER, Entry, bundle
from imagerepo.errors import DamagedError
from imagerepo.model.instance import Range
from tests.harness.dicom_file import ct
from tests.harness.requests import store


@pytest.fixture
def whole() -> bytes:
    requests = [store(ct(number)) for number in range(3)]
    made = bundle("bucket", "key", [Entry(one, 1, one.payload.buffers) for one in requests])
    return b"".join(bytes(part) for part in made.parts)


def said(whole: bytes) -> contents.Contents:
    def read(where: Range) -> memoryview:
        return memoryview(whole)[where.offset : where.offset + where.length]

    return contents.of(read, "bucket", "key", len(whole))


def test_it_says_who_made_it_and_what_lies_where(whole: bytes) -> None:
    found = said(whole)
    assert found.head.writer == "bundle"
    assert [line["instance"] for line in found.lines] == [ct(number).instance for number in range(3)]
    for number, line in enumerate(found.lines):
        ((_, _, offset, length),) = line["ranges"]
        assert whole[offset : offset + length] == ct(number).part10


def test_an_object_that_was_cut_anywhere_is_damaged(whole: bytes) -> None:
    for size in [*range(200), *range(200, len(whole), 97), len(whole) - 1]:
        with pytest.raises(DamagedError, match="bucket/key"):
            said(whole[:size])


def test_an_object_whose_head_or_tail_was_changed_is_damaged(whole: bytes) -> None:
    (offset,) = FOOTER.unpack(whole[-FOOTER.size :])[1:]
    for at in [*range(0, 64, 7), *range(offset, len(whole), 31), len(whole) - 1]:
        changed = bytearray(whole)
        changed[at] ^= 1
        with pytest.raises(DamagedError):
            said(bytes(changed))
