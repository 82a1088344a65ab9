"""Keys as people write them."""

import pytest

from imagerepo.dicom.data_set_writer import encode_data_set
from imagerepo.dicom.identifier import decode_identifier
from imagerepo.dimse.client import keys, levels
from imagerepo.dimse.client.levels import QueryLevel, Root
from imagerepo.errors import BadRequestError
from imagerepo.model.header import Attribute

EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.mark.parametrize("written", ["PatientName", "00100010", "0010,0010", "(0010,0010)"])
def test_a_key_is_a_keyword_or_a_tag(written: str) -> None:
    assert keys.parse([f"{written}=DOE*"]) == {"00100010": Attribute("PN", ("DOE*",))}


def test_values_are_separated_by_backslashes_and_may_hold_equals_signs() -> None:
    found = keys.parse(["StudyInstanceUID=1.2\\1.3", "PatientName=A=B"])
    assert found["0020000D"].values == ("1.2", "1.3")
    assert found["00100010"].values == ("A=B",)


def test_dots_lead_into_sequences() -> None:
    found = keys.parse(
        ["RequestAttributesSequence.ScheduledProcedureStepID=7", "RequestAttributesSequence.00401001", "00081110"]
    )
    (item,) = found["00400275"].values
    assert item == {"00400009": Attribute("SH", ("7",)), "00401001": Attribute("SH")}
    assert found["00081110"] == Attribute("SQ")


@pytest.mark.parametrize("written", ["Nothing=1", "00090010=1", "PatientName.PatientID=1", "", ".", "=5"])
def test_what_is_no_key_is_told(written: str) -> None:
    with pytest.raises(BadRequestError):
        keys.parse([written])


def test_an_identifier_survives_the_wire_and_becomes_dicom_json() -> None:
    asked = levels.query(QueryLevel.STUDY, Root.STUDY, ["PatientName=Müller", "NumberOfStudyRelatedInstances=12"])
    found = decode_identifier(encode_data_set(asked, EXPLICIT, "ISO_IR 192"), EXPLICIT)
    told = keys.as_json(found.attributes)
    assert told["00080052"] == {"vr": "CS", "Value": ["STUDY"]}
    assert told["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller"}]}
    assert told["00201208"] == {"vr": "IS", "Value": [12]}
    assert told["00080020"] == {"vr": "DA"}


def test_a_level_that_the_model_does_not_have_is_told() -> None:
    with pytest.raises(BadRequestError, match="--model patient"):
        levels.query(QueryLevel.PATIENT, Root.STUDY, [])


def test_columns_begin_with_the_usual_keys() -> None:
    asked = levels.query(QueryLevel.SERIES, Root.STUDY, ["StudyInstanceUID=1.2", "BodyPartExamined"])
    names = [keys.name_of(tag) for tag in levels.columns(QueryLevel.SERIES, asked)]
    assert names[0] == "SeriesInstanceUID"
    assert set(names[-2:]) == {"BodyPartExamined", "StudyInstanceUID"}
