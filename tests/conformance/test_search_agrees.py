"""Whatever is asked of whatever is stored: every adapter answers the same."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.adapters.index_sql import reads
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.model.query import (
    Between,
    BetweenMoments,
    Equals,
    Fuzzy,
    Key,
    Level,
    OneOf,
    Query,
    Wildcard,
)
from tests.harness import databases
from tests.harness.archive import in_memory, in_segments
from tests.harness.dicom_file import DicomFile, uid
from tests.harness.index_rows import copy_rows
from tests.harness.requests import store

LETTERS = "aAbBéÉß[]%_\"^=.- '1*?山"
TEXT = st.text(LETTERS, max_size=6).map(str.strip)
DATE = st.sampled_from(["", "20240131", "20240201", "19991231", "20241231"])
TIME = st.sampled_from(["", "10", "1015", "101500.5", "2359"])
PATIENT = st.sampled_from(["", "P1", "P2"])
MODALITY = st.sampled_from(["CT", "MR", "CR", "", "C"])


@st.composite
def archives(draw: st.DrawFn) -> list[DicomFile]:
    """Up to four studies of up to two series; what describes a study or series is the same in all of it."""
    files = []
    for study in range(draw(st.integers(1, 4))):
        of_study = {
            0x00080005: ("CS", "ISO_IR 192"), 0x00080020: ("DA", draw(DATE)), 0x00080030: ("TM", draw(TIME)),
            0x00100030: ("DA", draw(DATE)),
            0x00080050: ("SH", draw(TEXT)), 0x00080090: ("PN", draw(TEXT)), 0x00100010: ("PN", draw(TEXT)),
            0x00100020: ("LO", draw(st.one_of(PATIENT, TEXT))), 0x00081030: ("LO", draw(TEXT)),
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


NAMES = (Key.PATIENT_NAME, Key.REFERRING_PHYSICIAN_NAME)
TEXT_MATCH = st.one_of(PLAIN.map(Equals), PATTERN.map(Wildcard))
MODALITY_MATCH = st.sampled_from([Equals("CT"), Wildcard("C*"), Wildcard("*R"), Wildcard("C*R"), OneOf(("MR", "C"))])


@st.composite
def ranges(draw: st.DrawFn):
    low, high = sorted([draw(DATE), draw(DATE)])
    return draw(st.sampled_from([Between(low, high), Between(low or high, ""), Between("", high)]))


@st.composite
def moments(draw: st.DrawFn):
    low, high = sorted([draw(DATE.filter(bool)) + draw(TIME), draw(DATE.filter(bool)) + draw(TIME)])
    return draw(st.sampled_from([BetweenMoments(low, high), BetweenMoments(low, ""), BetweenMoments("", high)]))


@st.composite
def uids(draw: st.DrawFn):
    """Of studies, series or instances, some of them there."""
    depth = draw(st.integers(1, 3))
    wanted = {uid(*draw(st.tuples(*[st.integers(0, 3)] * depth))) for _ in range(draw(st.integers(1, 3)))}
    key = (Key.STUDY_INSTANCE_UID, Key.SERIES_INSTANCE_UID, Key.SOP_INSTANCE_UID)[depth - 1]
    return key, OneOf(tuple(sorted(wanted)))


def of(keys: tuple[Key, ...], match):
    return st.tuples(st.sampled_from(keys), match)


MATCHES = st.one_of(
    of(TEXTS, TEXT_MATCH),
    of(NAMES, st.one_of(PLAIN, TEXT).filter(lambda text: bool(text.strip("*"))).map(Fuzzy)),
    of((Key.SERIES_DESCRIPTION,), TEXT_MATCH),
    of((Key.STUDY_DATE, Key.PATIENT_BIRTH_DATE), ranges()),
    of((Key.STUDY_DATE,), moments()),
    of((Key.MODALITIES_IN_STUDY, Key.MODALITY), MODALITY_MATCH),
    of((Key.INSTANCE_NUMBER,), st.sampled_from(["0", "1"]).map(Equals)),
    of((Key.PATIENT_ID,), st.sampled_from([Equals("P1"), Wildcard("P?")])),
    uids(),
)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    wanted = draw(st.lists(MATCHES, max_size=3, unique_by=lambda one: one[0]))
    return Query("default", draw(st.sampled_from(list(Level))), tuple(wanted), 1000)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with databases.with_schema() as url, databases.opened(url) as made:
        yield made


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(archives(), st.lists(queries(), min_size=15, max_size=15))
def test_sql_finds_what_looking_at_everything_finds(
    database: Database, files: list[DicomFile], asked: list[Query]
) -> None:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(reads, "_ROWS_FIRST", 1)
        patch.setattr(reads, "_ROWS_A_PAGE", 2)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = [stack.enter_context(opening(folder / "data")) for opening in (in_memory, in_segments)]
        for archive in opened:
            archive.commits.commit([store(file) for file in files])
        copy_rows(folder / "data", database)
        for query in asked:
            plain = sorted(opened[0].index.search(query), key=repr)
            for index in (opened[1].index, PostgresIndex(database)):
                assert sorted(index.search(query), key=repr) == plain, query
                paged = [one for page in index.pages(query) for one in page]
                assert sorted(paged, key=repr) == plain, query
