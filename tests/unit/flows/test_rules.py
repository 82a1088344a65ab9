"""Which rules hold for an instance."""

import json

import pytest

from imagerepo.flows.rules import Rules
from imagerepo.model.uids import Uid
from imagerepo.ports.feed import Arrived
from imagerepo.settings_work import Rule, TagMatch

HEADER = {
    "00080060": {"vr": "CS", "Value": ["CT"]},
    "00081010": {"vr": "SH", "Value": ["CT-07"]},
    "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "DOE^JANE"}]},
    "00200013": {"vr": "IS", "Value": [7]},
    "00081030": {"vr": "LO"},
}


def arrived(caller: str = "ae:CT1", institution: str = "default") -> Arrived:
    return Arrived(institution, Uid("1"), Uid("1.1"), Uid("1.1.1"), 1, caller)


def holds(rule: Rule, one: Arrived | None = None) -> bool:
    return bool(Rules((rule,)).destinations(one or arrived(), lambda _: json.dumps(HEADER).encode()))


def rule(**conditions: object) -> Rule:
    return Rule.model_validate({"name": "r", "to": "ARCHIVE", **conditions})


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, True),
        ({"senders": ["CT?"]}, True),
        ({"senders": ["MR*", "ct1"]}, True),
        ({"senders": ["CT"]}, False),
        ({"modalities": ["MR", "CT"]}, True),
        ({"modalities": ["MR"]}, False),
        ({"tags": [{"tag": "00081010", "value": "ct-*"}]}, True),
        ({"tags": [{"tag": "00080008", "value": "PRIMARY"}]}, True),
        ({"tags": [{"tag": "00100010", "value": "DOE*"}]}, True),
        ({"tags": [{"tag": "00200013", "value": "7"}]}, True),
        ({"tags": [{"tag": "00081030", "value": "*"}]}, False),
        ({"tags": [{"tag": "00181111", "value": "*"}]}, False),
        ({"modalities": ["CT"], "tags": [{"tag": "00081010", "value": "MR"}]}, False),
        ({"institutions": ["default"]}, True),
        ({"institutions": ["other"]}, False),
    ],
)
def test_all_conditions_of_a_rule_have_to_hold(conditions: dict[str, object], *, expected: bool) -> None:
    assert holds(rule(**conditions)) is expected


def test_what_came_by_http_is_of_no_sender() -> None:
    assert not holds(rule(senders=["*"]), arrived("token:viewer"))
    assert holds(rule(), arrived("token:viewer"))


def test_a_destination_is_named_once_though_several_rules_hold() -> None:
    rules = Rules((rule(), Rule(name="s", to="OTHER"), Rule(name="t", to="ARCHIVE")))
    assert rules.destinations(arrived(), lambda _: b"{}") == ("ARCHIVE", "OTHER")


def test_the_header_is_not_looked_at_where_no_rule_asks_for_it() -> None:
    def unread(_: Arrived) -> bytes:
        raise AssertionError

    rules = Rules((rule(senders=["CT1"]), rule(senders=["MR1"], tags=[{"tag": "00081010", "value": "x"}])))
    assert rules.destinations(arrived(), unread) == ("ARCHIVE",)


def test_a_pattern_s_other_characters_stand_for_themselves() -> None:
    assert not holds(Rule(name="r", to="A", tags=(TagMatch(tag="00081010", value="CT.07"),)))
