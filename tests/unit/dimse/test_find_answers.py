"""Answers of C-FIND beside what the writer of whole data sets makes, which takes none of their shortcuts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.dicom.data_set_writer import encode_data_set
from imagerepo.dimse.find_answers import ANSWERED, Answers
from imagerepo.dimse.levels import LEVEL_NAMES
from imagerepo.model.header import Attribute, Header
from imagerepo.model.query import Found, InstanceRow, Level, PatientRow, SeriesRow, StudyRow
from imagerepo.model.uids import Uid

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
LATIN_1, CYRILLIC = "ISO_IR 100", "ISO_IR 144"
STUDY = StudyRow(
    uid=Uid("1.2.3"),
    patient_id="P1",
    issuer_of_patient_id="",
    patient_name="DOE^JANE",
    patient_birth_date="19700101",
    patient_sex="F",
    date="20240101",
    time="120000",
    study_id="1",
    description="Chest",
    accession_number="A1",
    referring_physician_name="",
    timezone_offset="",
    modalities=("CT", "SR"),
    series_count=2,
    instance_count=300,
    patient_differs=False,
)

uids = st.from_regex(r"1(\.[1-9][0-9]{0,8}){1,6}", fullmatch=True).map(Uid)
texts = st.text(st.characters(max_codepoint=0x7F)) | st.text(st.characters(max_codepoint=0xFF)) | st.text()
counts = st.integers(0, 100_000)
sizes = st.none() | counts
patients = st.builds(PatientRow, *[texts] * 5, *[counts] * 3)
studies = st.builds(StudyRow, uids, *[texts] * 12, st.lists(texts).map(tuple), counts, counts, st.just(value=False))
series = st.builds(SeriesRow, uids, *[texts] * 6, counts)
instances = st.builds(InstanceRow, uids, uids, texts, *[sizes] * 4, uids)


def attributes(one: Found, level: Level, keys: tuple[str, ...]) -> Header:
    """What an answer says."""
    always = {"00080052": ("CS", LEVEL_NAMES[level]), "00080054": ("AE", "ARCHIVE"), "00080056": ("CS", "ONLINE")}
    asked = {tag: (ANSWERED[tag].vr, ANSWERED[tag].read(one)) for tag in keys}
    return {
        tag: Attribute(vr, (value,) if _fits(vr, value) else ()) for tag, (vr, value) in {**always, **asked}.items()
    }


def _fits(vr: str, value: str) -> bool:
    return vr != "US" or (bool(value) and int(value) <= 0xFFFF)


@given(st.data(), st.builds(Found, studies, series, instances, patients))
def test_an_answer_is_the_data_set_of_what_was_found(data: st.DataObject, one: Found) -> None:
    level = data.draw(st.sampled_from(Level))
    known = sorted(tag for tag, answered in ANSWERED.items() if level in answered.levels)
    keys = tuple(data.draw(st.lists(st.sampled_from(known), unique=True)))
    syntax = data.draw(st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED]))
    charset = data.draw(st.sampled_from(["", LATIN_1, CYRILLIC]))
    answer = Answers(level, keys, {}, syntax, charset, "ARCHIVE").encode(one)
    assert answer == encode_data_set(attributes(one, level, keys), syntax, charset)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("length", [0, 1, 64, 65, 0xFFFE, 0xFFFF, 70_000])
def test_a_value_of_any_length_has_its_header(syntax: str, length: int) -> None:
    keys = ("00080020", "00081030", "0020000D")
    answers = Answers(Level.STUDY, keys, {}, syntax, "", "ARCHIVE")
    for text in ("x" * length, "é" * length, "x" * length):
        one = Found(STUDY._replace(description=text))
        assert answers.encode(one) == encode_data_set(attributes(one, Level.STUDY, keys), syntax)


def test_answers_in_ascii_and_in_other_repertoires_may_alternate() -> None:
    keys = ("00100010",)
    answers = Answers(Level.STUDY, keys, {}, EXPLICIT, CYRILLIC, "ARCHIVE")
    for name in ("DOE^JANE", "Иванов^Иван", "山田^太郎", "DOE^JANE"):
        one = Found(STUDY._replace(patient_name=name))
        assert answers.encode(one) == encode_data_set(attributes(one, Level.STUDY, keys), EXPLICIT, CYRILLIC)
