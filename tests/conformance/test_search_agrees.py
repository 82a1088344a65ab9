"""Whatever is asked of whatever is stored: every adapter answers the same."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.model.query import Between, Equals, Key, Level, OneOf, Query, Wildcard
from tests.harness.archive import in_memory, in_segments
from tests.harness.dicom_file import DicomFile, uid
from tests.harness.requests import store

LETTERS = "aAbBéÉß[]%_\"^.- '1*?"
TEXT = st.text(LETTERS, max_size=6).map(str.strip)
DATE = st.sampled_from(["", "20240131", "20240201", "19991231", "20241231"])
TIME = st.sampled_from(["", "10", "1015", "101500.5", "2359"])
MODALITY = st.sampled_from(["CT", "MR", "CR", "", "C"])


@st.composite
def archives(draw: st.DrawFn) -> list[DicomFile]:
    """Up to four studies of up to two series; what describes a study or series is the same in all of it."""
    files = []
    for study in range(draw(st.integers(1, 4))):
        of_study = {
            0x00080005: ("CS", "ISO_IR 192"), 0x00080020: ("DA", draw(DATE)), 0x00080030: ("TM", draw(TIME)),
            0x00080050: ("SH", draw(TEXT)), 0x00080090: ("PN", draw(TEXT)), 0x00100010: ("PN", draw(TEXT)),
            0x00100020: ("LO", draw(TEXT)), 0x00081030: ("LO", draw(TEXT)),
        }  # fmt: skip
        for series in range(draw(st.integers(1, 2))):
            of_series = {0x00080060: ("CS", draw(MODALITY)), 0x0008103E: ("LO", draw(TEXT))}
            for number in range(draw(st.integers(1, 2))):
                attributes = of_study | of_series | {0x00200013: ("IS", str(number))}
                names = (uid(study), uid(study, series), uid(study, series, number))
                files.append(DicomFile(*names, bytes(32), attributes))
    return files


TEXTS = (Key.PATIENT_NAME, Key.PATIENT_ID, Key.ACCESSION_NUMBER, Key.REFERRING_PHYSICIAN_NAME, Key.STUDY_DESCRIPTION)
PLAIN = TEXT.filter(lambda text: bool(text) and not set(text) & set("*?\\"))
PATTERN = st.text(LETTERS, min_size=1, max_size=5).filter(lambda text: "*" in text or "?" in text)


@st.composite
def matches(draw: st.DrawFn, level: Level):
    of_series = [Key.MODALITY, Key.SERIES_DESCRIPTION, Key.SERIES_INSTANCE_UID] if level is not Level.STUDY else []
    kind = draw(st.sampled_from(["text", "date", "modality", "uid", *(["series"] if of_series else [])]))
    if kind == "text":
        key = draw(st.sampled_from(TEXTS))
        return key, draw(st.one_of(PLAIN.map(Equals), PATTERN.map(Wildcard)))
    if kind == "series":
        return Key.SERIES_DESCRIPTION, draw(st.one_of(PLAIN.map(Equals), PATTERN.map(Wildcard)))
    if kind == "date":
        low, high = sorted([draw(DATE), draw(DATE)])
        return Key.STUDY_DATE, draw(st.sampled_from([Between(low, high), Between(low or high, ""), Between("", high)]))
    if kind == "modality":
        key = draw(st.sampled_from([Key.MODALITIES_IN_STUDY, Key.MODALITY]))
        return key, draw(
            st.sampled_from([Equals("CT"), Wildcard("C*"), Wildcard("*R"), Wildcard("C*R"), OneOf(("MR", "C"))])
        )
    return Key.STUDY_INSTANCE_UID, OneOf(tuple(uid(one) for one in draw(st.lists(st.integers(0, 5), min_size=1))))


@st.composite
def queries(draw: st.DrawFn) -> Query:
    level = draw(st.sampled_from(list(Level)))
    wanted = draw(st.lists(matches(level), max_size=3, unique_by=lambda one: one[0]))
    return Query("default", level, tuple(wanted), 1000)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(archives(), st.lists(queries(), min_size=15, max_size=15))
def test_sql_finds_what_looking_at_everything_finds(files: list[DicomFile], asked: list[Query]) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = [stack.enter_context(opening(folder / "data")) for opening in (in_memory, in_segments)]
        for archive in opened:
            archive.commits.commit([store(file) for file in files])
        for query in asked:
            plain, sql = (sorted(archive.index.search(query), key=repr) for archive in opened)
            assert sql == plain, query
