"""A ledger object is read as it was written, or is damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.adapters.bundles import ledger_format
from imagerepo.adapters.bundles.ledger_format import LedgerEntry, Place, Tip, is_ledger, key_of, place_in
from imagerepo.errors import DamagedError

ENTRIES = st.builds(
    LedgerEntry,
    commit=st.integers(1, 2**63),
    institution=st.just("north"),
    writer=st.text(min_size=1, max_size=40),
    first=st.integers(1, 2**40),
    stored=st.integers(0, 1024),
    place=st.integers(0, 1024),
    lines=st.binary(max_size=200),
)
AT = Place(2, 17)
AFTER = Tip(Place(1, 16), "ab" * 32)


@given(entries=st.lists(ENTRIES, max_size=5))
def test_it_is_read_as_it_was_written(entries: list[LedgerEntry]) -> None:
    found = ledger_format.decoded(ledger_format.encoded("north", AT, AFTER, entries), key_of("north", AT))
    assert (found.institution, found.place, found.after, found.entries) == ("north", AT, AFTER, entries)


@given(entries=st.lists(ENTRIES, min_size=1, max_size=3), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_whatever_bit_changes_is_noticed(entries: list[LedgerEntry], at: int, bit: int) -> None:
    body = bytearray(ledger_format.encoded("north", AT, AFTER, entries))
    body[at % len(body)] ^= 1 << bit
    with pytest.raises(DamagedError):
        ledger_format.decoded(bytes(body), key_of("north", AT))


@given(entries=st.lists(ENTRIES, min_size=1, max_size=3), kept=st.integers(0, 10_000))
def test_wherever_it_is_cut_off_is_noticed(entries: list[LedgerEntry], kept: int) -> None:
    body = ledger_format.encoded("north", AT, AFTER, entries)
    with pytest.raises(DamagedError):
        ledger_format.decoded(body[: kept % len(body)], key_of("north", AT))


def test_it_is_no_other_object() -> None:
    body = ledger_format.encoded("north", AT, AFTER, [])
    for key in (key_of("north", Place(2, 18)), key_of("south", AT)):
        with pytest.raises(DamagedError):
            ledger_format.decoded(body, key)


def test_keys_are_told_from_those_of_instances() -> None:
    key = key_of("north", AT)
    assert place_in(key) == AT
    assert is_ledger(key)
    assert not is_ledger("north/1.2.3/4.5/0190")
    assert not is_ledger("ledger/1.2.3/4.5/0190")  # an institution may be named so
    assert place_in("north/1.2.3/4.5/0190") is None
