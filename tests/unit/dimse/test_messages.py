import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.dsutils import encode as pynetdicom_encode

from imagerepo.dimse.messages import (
    Command,
    CommandField,
    Element,
    MalformedCommandError,
    Status,
    encode,
    parse,
    response,
)
from tests.wire.dimse_peer import CT, command, echo_command, element, store_command, ui, us

REAL = [echo_command(), store_command("1.2.3"), command(us(0x100, 0xFFF), us(0x120, 1), us(0x800, 0x101))]


def read(command_set: bytes) -> Dataset:
    return read_dataset(io.BytesIO(command_set), is_implicit_VR=True, is_little_endian=True)


def test_a_command_is_read_as_another_implementation_wrote_it() -> None:
    ds = Dataset()
    ds.AffectedSOPClassUID = CT
    ds.CommandField = 1
    ds.MessageID = 65535
    ds.Priority = 0
    ds.CommandDataSetType = 1
    ds.AffectedSOPInstanceUID = "1.2.3"
    encoded = pynetdicom_encode(ds, is_implicit_vr=True, is_little_endian=True)
    assert encoded is not None
    got = parse(encoded)
    assert (got.field, got.message_id, got.has_data_set) == (CommandField.C_STORE_RQ, 65535, True)
    assert got.text(Element.AFFECTED_SOP_INSTANCE_UID) == "1.2.3"
    assert got.number(Element.PRIORITY) == 0
    assert got.number(Element.STATUS) is None


def test_a_response_is_read_by_another_implementation() -> None:
    got = read(response(parse(store_command("1.2.3")), Status.OUT_OF_RESOURCES, "a\\b\n" + "x" * 100))
    assert got.CommandField == 0x8001
    assert got.MessageIDBeingRespondedTo == 1
    assert got.CommandDataSetType == 0x0101
    assert got.Status == 0xA700
    assert got.AffectedSOPInstanceUID == "1.2.3"
    assert got.AffectedSOPClassUID == CT
    assert got.ErrorComment == ("a?b?" + "x" * 100)[:64]
    assert got.CommandGroupLength == len(response(parse(store_command("1.2.3")), 0xA700, "x" * 64)) - 12


def test_a_uid_that_is_too_long_is_not_repeated() -> None:
    assert "AffectedSOPInstanceUID" not in read(response(parse(store_command("1" * 200)), 0x117))


@pytest.mark.parametrize(
    ("command_set", "named"),
    [
        (b"", "0000,0100"),
        (command(us(0x110, 1), us(0x800, 0x101)), "0000,0100"),
        (command(us(0x100, 1), us(0x800, 0x101)), "0000,0110"),
        (command(us(0x100, 0x8001), us(0x110, 1), us(0x800, 0x101)), "0000,0120"),
        (command(us(0x100, 1), us(0x110, 1)), "0000,0800"),
        (command(element(0x100, b"\1"), us(0x110, 1), us(0x800, 0x101)), "0000,0100"),
        (echo_command()[:-1], "0000,0800"),
        (echo_command() + b"\0\0", "byte"),
        (echo_command() + b"\x08\0\x05\0\0\0\0\0", "0008,0005"),
    ],
)
def test_a_command_that_cannot_be_answered_is_refused_by_name(command_set: bytes, named: str) -> None:
    with pytest.raises(MalformedCommandError, match=named):
        parse(command_set)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_malformed(command_set: bytes) -> None:
    read_or_refuse(command_set)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REAL), st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_a_mutated_command_is_a_command_or_malformed(real: bytes, at: int, change: bytes) -> None:
    read_or_refuse(real[:at] + change + real[at + len(change) :])


def read_or_refuse(command_set: bytes) -> None:
    try:
        got = parse(command_set)
    except MalformedCommandError:
        return
    assert isinstance(got, Command)
    assert parse(response(got, Status.SUCCESS)).field == got.field | 0x8000


@given(st.dictionaries(st.sampled_from([Element.STATUS, Element.MESSAGE_ID, Element.PRIORITY]), st.integers(0, 65535)))
def test_numbers_come_back_as_encoded(values: dict[Element, int]) -> None:
    required = {Element.COMMAND_FIELD: 0x30, Element.DATA_SET_TYPE: 0x101, Element.MESSAGE_ID: 1}
    got = parse(encode(required | values))
    assert {number: got.number(number) for number in values} == values


def test_uids_are_padded_with_nul_and_text_with_a_space() -> None:
    encoded = encode({Element.AFFECTED_SOP_CLASS_UID: "1.2.3", Element.ERROR_COMMENT: "odd"})
    assert ui(0x2, "1.2.3") in encoded
    assert element(0x902, b"odd ") in encoded
