from dataclasses import fields

import pytest

from imagerepo.dicom import json_elements as made
from imagerepo.dicom.attributes import NUMBER_FIELDS, TEXT_FIELDS, UID_FIELDS, keyword, lookup
from imagerepo.model.instance import Attributes
from imagerepo.model.query import Key


def test_every_field_of_the_index_has_its_element():
    named = [name for name, _ in [*UID_FIELDS.values(), *TEXT_FIELDS.values()]] + [*NUMBER_FIELDS.values()]
    assert sorted(named) == sorted(field.name for field in fields(Attributes))


@pytest.mark.parametrize("key", Key)
def test_every_query_key_is_known_to_the_dictionary(key):
    assert lookup(key.tag) == (key.tag, key.vr)
    assert lookup(keyword(key.tag)) == (key.tag, key.vr)


@pytest.mark.parametrize("name", ["", "Nonsense", "0010001", "00091001", "xyz00010", "FFFFFFFF", "../etc"])
def test_what_is_not_in_the_dictionary_is_none(name):
    assert lookup(name) is None


def test_repeating_groups_are_known():
    assert lookup("60023000") == ("60023000", "OB")
    assert keyword("nonsense") is None


def test_made_elements_are_those_of_annex_f():
    assert made.text("CS", "CT", "MR") == {"vr": "CS", "Value": ["CT", "MR"]}
    assert made.text("LO", "") == {"vr": "LO"}
    assert made.joined_text("CS", "A\\\\B") == {"vr": "CS", "Value": ["A", None, "B"]}
    assert made.person_name("A^B=C\\D") == {
        "vr": "PN",
        "Value": [{"Alphabetic": "A^B", "Ideographic": "C"}, {"Alphabetic": "D"}],
    }
    assert made.person_name("") == {"vr": "PN"}
    assert made.number("US", 5) == {"vr": "US", "Value": [5]}
    assert made.number("US", None) == {"vr": "US"}
    assert made.sequence([]) == {"vr": "SQ"}
    assert made.sequence([{"00080060": made.text("CS", "CT")}])["Value"] == [
        {"00080060": {"vr": "CS", "Value": ["CT"]}}
    ]


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), (" -5 ", -5), ("+5", 5), ("x", "x"), ("+-5", "+-5"), ("1.0", "1.0"), ("٣", "٣")]
)
def test_an_integer_kept_as_text_becomes_a_number_if_it_is_one(text, value):
    assert made.integer_text("IS", text) == {"vr": "IS", "Value": [value]}
