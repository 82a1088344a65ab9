"""dicom.json_memo: what is remembered of a series changes nothing in what is written."""

import json

from hypothesis import given
from hypothesis import strategies as st

from imagerepo.dicom import json_memo
from imagerepo.dicom.charset import DEFAULT
from imagerepo.dicom.json import encode
from imagerepo.dicom.json_memo import memo_of
from tests.unit.dicom.building import EXPLICIT, IMPLICIT, element, implicit, item

# What each element may be in an instance of the series; None: it is not there.
CHOICES = {
    0x00080005: ("CS", (None, b"ISO_IR 100", b"ISO_IR 192")),
    0x00080016: ("UI", (b"1.2.840.10008.5.1.4.1.1.2\0",)),
    0x00080018: ("UI", (b"1.2.3\0", b"1.2.4\0", b"1.2.5.6\0")),
    0x00080060: ("CS", (b"CT",)),
    0x00080070: ("LO", (b"BENCH ",)),
    0x00081030: ("LO", (b"r\xc3\xb6nt", b"thorax")),
    0x00081140: ("SQ", (item(implicit(0x00081155, b"1.2\0")), item(), None)),
    0x00100010: ("PN", (b"DOE^JANE", b"ROE^JIM ")),
    0x00180050: ("DS", (b"1 ", b"5 ")),
    0x00180060: ("DS", (b"120 ",)),
    0x00200013: ("IS", (b"1 ", b"2 ", b"30")),
    0x00280010: ("US", (b"\x10\0",)),
    0x00280011: ("US", (b"\x10\0", b"\x20\0")),
}


def nested(value: bytes) -> bytes:
    """The same item, its element in explicit VR."""
    return value if len(value) <= 8 else item(element(0x00081155, "UI", value[16:]))


def series() -> st.SearchStrategy[list[dict[int, bytes | None]]]:
    one = st.fixed_dictionaries({tag: st.sampled_from(values) for tag, (_, values) in CHOICES.items()})
    return st.lists(one, min_size=1, max_size=8)


@given(series(), st.lists(st.sampled_from(sorted(CHOICES)), max_size=2))
def test_remembered_or_not_the_answer_is_the_same(
    instances: list[dict[int, bytes | None]], repeated: list[int]
) -> None:
    # Nothing is remembered of implicit VR, which the dictionary makes the same elements of.
    for values in instances:
        tags = [*sorted(CHOICES), *repeated]
        sound = [(tag, CHOICES[tag][0], value) for tag in tags if (value := values[tag]) is not None]
        explicit = b"".join(element(tag, vr, nested(value) if vr == "SQ" else value) for tag, vr, value in sound)
        without = b"".join(implicit(tag, value) for tag, _, value in sound)
        made = encode(explicit, EXPLICIT, bulk_data_uri="u")
        assert made == encode(without, IMPLICIT, bulk_data_uri="u")
        assert [*json.loads(made)] == sorted({f"{tag:08X}" for tag, _, _ in sound})


def test_what_a_series_repeats_is_found_as_stretches() -> None:
    def instance(number: int) -> bytes:
        constant = b"".join(element(0x00180000 | tag, "LO", f"value {tag}") for tag in range(1, 40))
        return element(0x00080018, "UI", f"9.9.{number}") + constant

    for number in range(3):
        encode(instance(number), EXPLICIT, bulk_data_uri="u")
    key = element(0x00180001, "LO", "value 1")[: json_memo.KEY]
    assert len(memo_of(DEFAULT).stretches[key].members) == 39


def test_what_is_remembered_is_bounded() -> None:
    for number in range(20_000):
        tags = [(0x0021 + 2 * (number % 1000) << 16) | 0x1001 + at for at in range(4)]
        data = b"".join(element(tag, "LO", f"{number // 2}") for tag in tags)
        encode(data, EXPLICIT, bulk_data_uri="u")
        memo = memo_of(DEFAULT)
        assert len(memo.elements) <= 4096
        assert len(memo.stretches) <= 256
