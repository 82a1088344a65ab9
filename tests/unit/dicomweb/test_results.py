import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from imagerepo.dicomweb import results
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
    (one,) = json.loads(results.encode([found], level, BASE, with_ancestors=with_ancestors))
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
    assert results.encode([], Level.STUDY, BASE, with_ancestors=True) == b"[]"


@given(st.text(), st.text(), st.text())
def test_any_text_gives_valid_json(name: str, description: str, number: str) -> None:
    study = replace(STUDY, patient_name=name, description=description)
    found = Found(study, replace(SERIES, number=number, description=description), INSTANCE)
    assert json.loads(results.encode([found], Level.INSTANCE, BASE, with_ancestors=True))
