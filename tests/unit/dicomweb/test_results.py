import json

from hypothesis import given
from hypothesis import strategies as st

from imagerepo.dicom.attributes import lookup
from imagerepo.dicomweb import results
from imagerepo.dicomweb.levels import _KEYWORDS, level_of
from imagerepo.dicomweb.query import NO_FIELDS, Fields
from imagerepo.dicomweb.results import Answer
from imagerepo.model.header import Attribute
from imagerepo.model.query import Found, InstanceRow, Level, SeriesRow, StudyRow
from imagerepo.model.uids import Uid

STUDY = StudyRow(
    uid=Uid("1.2"),
    patient_id="1",
    issuer_of_patient_id="",
    patient_name="DOE^JOHN=山田\\ROE",
    patient_birth_date="",
    patient_sex="M",
    date="20240101",
    time="1200",
    study_id="",
    description='"quoted"',
    accession_number="A",
    referring_physician_name="",
    timezone_offset="+0100",
    modalities=("CT", "MR"),
    series_count=2,
    instance_count=3,
    patient_differs=False,
)
SERIES = SeriesRow(Uid("1.2.3"), "CT", "7", "", "", "", "", 3)
INSTANCE = InstanceRow(Uid("1.2.3.4"), Uid("1.2.840"), "not a number", 512, 512, 16, None, Uid("1.2.840.10008.1.2.1"))
BASE = "http://host/institutions/a"
STUDY_TAGS = {"00080020", "00080030", "00080050", "00080056", "00080061", "00080090", "00080201", "00081190"} | {
    "00100010",
    "00100020",
    "00100030",
    "00100040",
    "0020000D",
    "00200010",
    "00201206",
    "00201208",
}


def encoded(level: Level, *, with_ancestors: bool = False) -> dict[str, dict[str, object]]:
    found = Found(STUDY, None if level is Level.STUDY else SERIES, INSTANCE if level is Level.INSTANCE else None)
    (one,) = json.loads(results.encode([found], Answer(level, BASE, with_ancestors)))
    assert list(one) == sorted(one)
    return one


def test_a_study_has_the_attributes_of_table_10_6_3_3() -> None:
    study = encoded(Level.STUDY)
    assert set(study) >= STUDY_TAGS
    assert study["00100010"]["Value"] == [{"Alphabetic": "DOE^JOHN", "Ideographic": "山田"}, {"Alphabetic": "ROE"}]
    assert study["00080061"]["Value"] == ["CT", "MR"]
    assert study["00081190"]["Value"] == [f"{BASE}/dicom-web/studies/1.2"]
    assert study["00100030"] == {"vr": "DA"}
    assert study["00201208"]["Value"] == [3]


def test_a_series_has_the_attributes_of_table_10_6_3_4() -> None:
    series = encoded(Level.SERIES)
    assert set(series) >= {"00080060", "00080201", "0008103E", "00081190", "0020000E", "00200011", "00201209"}
    assert "00100010" not in series
    assert series["00200011"]["Value"] == [7]


def test_an_instance_has_the_attributes_of_table_10_6_3_5() -> None:
    instance = encoded(Level.INSTANCE)
    assert set(instance) >= {"00080016", "00080018", "00080056", "00081190", "00200013", "00280010", "00280100"}
    assert instance["00200013"]["Value"] == ["not a number"]
    assert instance["00081190"]["Value"] == [f"{BASE}/dicom-web/studies/1.2/series/1.2.3/instances/1.2.3.4"]


def test_ancestors_stand_beside_what_the_path_did_not_name() -> None:
    assert set(encoded(Level.INSTANCE, with_ancestors=True)) >= STUDY_TAGS | {"00080060", "0020000E", "00080018"}


def test_nothing_found_is_an_empty_list() -> None:
    assert results.encode([], Answer(Level.STUDY, BASE, True)) == b"[]"


@given(st.text(), st.text(), st.text())
def test_any_text_gives_valid_json(name: str, description: str, number: str) -> None:
    study = STUDY._replace(patient_name=name, description=description)
    found = Found(study, SERIES._replace(number=number, description=description), INSTANCE)
    assert json.loads(results.encode([found], Answer(Level.INSTANCE, BASE, True)))


HEADER = {
    "00080018": Attribute("UI", ("1.2.3.4",)),
    "00080070": Attribute("LO", ("ACME",)),
    "00081030": Attribute("LO", ("not what the index says",)),
    "00101010": Attribute("AS", ("042Y",)),
    "0020000D": Attribute("UI", ("1.2",)),
    "0020000E": Attribute("UI", ("1.2.3",)),
    "00189073": Attribute("FD", (1.5,)),
    "00280106": Attribute("OW", uri="/bulkdata/00280106"),
    "00400275": Attribute("SQ", ({"00401001": Attribute("SH", ("R1",))},)),
    "7FE00010": Attribute("OW", uri="/bulkdata/7FE00010"),
}


def further(level: Level, fields: Fields, *, with_ancestors: bool = False) -> dict[str, dict[str, object]]:
    """What stands there besides what always does."""
    found = Found(STUDY, None if level is Level.STUDY else SERIES, INSTANCE if level is Level.INSTANCE else None)
    found = found._replace(header=HEADER)
    plain, more = (
        json.loads(results.encode([found], Answer(level, BASE, with_ancestors, one)))[0] for one in (NO_FIELDS, fields)
    )
    assert {tag: more[tag] for tag in plain} == plain
    return {tag: value for tag, value in more.items() if tag not in plain}


def test_all_fields_are_those_of_the_level_that_is_searched() -> None:
    assert further(Level.STUDY, Fields(all=True)) == {"00101010": {"vr": "AS", "Value": ["042Y"]}}
    assert set(further(Level.SERIES, Fields(all=True))) == {"00080070", "00400275"}
    assert set(further(Level.SERIES, Fields(all=True), with_ancestors=True)) == {"00080070", "00400275", "00101010"}
    assert further(Level.INSTANCE, Fields(all=True)) == {
        "00189073": {"vr": "FD", "Value": [1.5]},
        "00280106": {
            "vr": "OW",
            "BulkDataURI": f"{BASE}/dicom-web/studies/1.2/series/1.2.3/instances/1.2.3.4/bulkdata/00280106",
        },
    }


def test_a_field_asked_for_by_name_is_there_if_it_is_not_of_a_lower_level() -> None:
    asked = Fields(tags=frozenset({"00101010", "00080070", "00189073", "00990099"}))
    assert set(further(Level.STUDY, asked)) == {"00101010"}
    assert set(further(Level.SERIES, asked)) == {"00101010", "00080070"}
    assert set(further(Level.INSTANCE, asked)) == {"00101010", "00080070", "00189073"}


def test_what_was_matched_is_shown() -> None:
    shown = further(Level.STUDY, Fields(matched=frozenset({"00400275"})))
    assert shown == {"00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["R1"]}}]}}


def test_every_attribute_of_a_level_is_in_the_dictionary() -> None:
    for level, keywords in _KEYWORDS.items():
        for keyword in keywords:
            found = lookup(keyword)
            assert found is not None, keyword
            assert level_of(found[0]) is level
