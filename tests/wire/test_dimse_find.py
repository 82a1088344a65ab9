"""C-FIND with real clients: pynetdicom and dcmtk's findscu."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, Association
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientStudyOnlyQueryRetrieveInformationModelFind,
)

from imagerepo.model.events import Action, JournalRequest
from imagerepo.settings import Dimse, Institution, Settings
from tests.wire.dimse_peer import ABORT, Peer, command, message, p_data, pdv, us
from tests.wire.dimse_serving import Served, serving, within
from tests.wire.find_samples import REQUEST, STUDIES, STUDY, find_command, instance, store

PATIENT = str(PatientRootQueryRetrieveInformationModelFind)
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one:
        store(
            one.port,
            *(instance(study, series, number) for study in (1, 2, 3) for series in (1, 2) for number in (1, 2)),
            instance(4, 1, 1, PatientName="Müller^Jürgen", SpecificCharacterSet="ISO_IR 100"),
            instance(5, 1, 1, PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", SpecificCharacterSet="ISO_IR 192"),
        )
        yield one


@contextmanager
def associated(
    served: Served,
    model: str = STUDY,
    *,
    extended: bytes = b"",
    syntax: str = SYNTAXES[0],
    called: str = "IMAGEREPO",
) -> Iterator[Association]:
    ae = AE(ae_title="VIEWER")
    ae.add_requested_context(model, syntax)
    items = []
    if extended:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid = model
        item.service_class_application_information = extended
        items.append(item)
    association = ae.associate("127.0.0.1", served.port, ae_title=called, ext_neg=items)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def query(level: str, **keys: object) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def find(association: Association, ds: Dataset, model: str = STUDY) -> tuple[list[Dataset], list[Dataset]]:
    """Pending identifiers, and all statuses."""
    found, statuses = [], []
    for status, identifier in association.send_c_find(ds, model):
        statuses.append(status)
        if identifier is not None:
            found.append(identifier)
    return found, statuses


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_studies_are_found_in_every_transfer_syntax(served: Served, syntax: str) -> None:
    with associated(served, syntax=syntax) as association:
        found, statuses = find(
            association, query("STUDY", PatientID="P2", StudyInstanceUID="", PatientName="", StudyDate="")
        )
    assert [status.Status for status in statuses] == [0xFF00, 0]
    (one,) = found
    assert (one.StudyInstanceUID, one.PatientName, one.StudyDate) == ("1.2.2", "Doe^Jane2", "20240102")
    assert (one.QueryRetrieveLevel, one.RetrieveAETitle, one.InstanceAvailability) == ("STUDY", "IMAGEREPO", "ONLINE")
    assert "SpecificCharacterSet" not in one


def test_findscu_finds(served: Served) -> None:
    assert shutil.which("findscu"), "dcmtk is missing: see tests/setup"
    run = subprocess.run(
        ["findscu", "-v", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientName=doe^*",
         "-aec", "IMAGEREPO", "127.0.0.1", str(served.port)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = run.stdout + run.stderr
    assert said.count("Pending") == 3, said
    assert "Received Final Find Response (Success)" in said


def test_findscu_finds_patients(served: Served) -> None:
    run = subprocess.run(
        ["findscu", "-v", "-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P?",
         "-k", "NumberOfPatientRelatedInstances", "-aec", "IMAGEREPO", "127.0.0.1", str(served.port)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = run.stdout + run.stderr
    assert said.count("Pending") == 5, said


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"PatientID": "P1"}, ["1.2.1"]),
        ({"PatientName": "DOE^jane3"}, ["1.2.3"]),
        ({"PatientName": "*JANE*"}, ["1.2.1", "1.2.2", "1.2.3"]),
        ({"PatientName": "Doe^Jane?"}, ["1.2.1", "1.2.2", "1.2.3"]),
        ({"StudyInstanceUID": ["1.2.1", "1.2.3", "1.9"]}, ["1.2.1", "1.2.3"]),
        ({"StudyInstanceUID": "*"}, ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5"]),
        ({"StudyDate": "20240102-20240103"}, ["1.2.2", "1.2.3"]),
        ({"StudyDate": "-20240102"}, ["1.2.1", "1.2.2"]),
        ({"StudyDate": "20240103-"}, ["1.2.3", "1.2.4", "1.2.5"]),
        ({"StudyTime": "1200-130000"}, ["1.2.2", "1.2.3"]),
        ({"ModalitiesInStudy": "MR"}, ["1.2.1", "1.2.2", "1.2.3"]),
        ({"ModalitiesInStudy": ["MR", "US"]}, ["1.2.1", "1.2.2", "1.2.3"]),
        ({"Modality": "MR", "PatientID": "P2"}, ["1.2.2"]),
        ({"AccessionNumber": "A4"}, ["1.2.4"]),
        ({"AccessionNumber": "*4*"}, ["1.2.4"]),
        ({"AccessionNumber": "none"}, []),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_keys_match_as_the_standard_says(served: Served, keys: dict[str, object], expected: list[str]) -> None:
    with associated(served) as association:
        found, statuses = find(association, query("STUDY", **{"StudyInstanceUID": "", **keys}))
    assert sorted(one.StudyInstanceUID for one in found) == expected
    assert statuses[-1].Status == 0


@pytest.mark.parametrize(("extended", "expected"), [(b"", ["1.2.2"]), (b"\0\1", ["1.2.1", "1.2.2", "1.2.3"])])
def test_date_and_time_are_one_range_once_that_is_negotiated(
    served: Served, extended: bytes, expected: list[str]
) -> None:
    # As one, from the first day's 10:59 to the third day's 13:00; as two, at 12:00 of any of these days.
    time = "105900-130000" if extended else "120000-120000"
    with associated(served, extended=extended) as association:
        found, _ = find(
            association, query("STUDY", StudyInstanceUID="", StudyDate="20240101-20240103", StudyTime=time)
        )
    assert sorted(one.StudyInstanceUID for one in found) == expected


def test_a_range_of_moments_may_begin_later_in_its_day_than_it_ends(served: Served) -> None:
    keys = query("STUDY", StudyInstanceUID="", StudyDate="20240101-20240102", StudyTime="120000-110000")
    with associated(served, extended=b"\0\1") as association:
        found, statuses = find(association, keys)
    assert (found, statuses[-1].Status) == ([], 0)
    keys.StudyTime = "120000-120000"
    with associated(served, extended=b"\0\1") as association:
        assert [one.StudyInstanceUID for one in find(association, keys)[0]] == ["1.2.2"]
    keys.StudyTime = "120000-110000"
    with associated(served) as association:
        assert find(association, keys)[1][-1].OffendingElement == 0x00080030


def test_a_time_that_is_no_range_is_asked_for_of_each_day_whatever_is_negotiated(served: Served) -> None:
    keys = query("STUDY", StudyInstanceUID="", StudyDate="20240101-20240103", StudyTime="120000")
    with associated(served, extended=b"\0\1") as association:
        assert [one.StudyInstanceUID for one in find(association, keys)[0]] == ["1.2.2"]


def test_names_are_matched_fuzzily_once_that_is_negotiated(served: Served) -> None:
    keys = query("STUDY", StudyInstanceUID="", PatientName="jane2 doe")
    with associated(served, extended=b"\0\0\1") as association:
        assert [one.StudyInstanceUID for one in find(association, keys)[0]] == ["1.2.2"]
    with associated(served) as association:
        assert find(association, keys)[0] == []


def test_series_and_images_are_found_below_their_unique_keys(served: Served) -> None:
    with associated(served) as association:
        series, _ = find(association, query("SERIES", StudyInstanceUID="1.2.1", SeriesInstanceUID="", Modality="",
                                            NumberOfSeriesRelatedInstances=""))  # fmt: skip
        images, _ = find(
            association,
            query(
                "IMAGE", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.1.2", SOPInstanceUID="", InstanceNumber="2"
            ),
        )
    assert sorted((one.SeriesInstanceUID, one.Modality, one.NumberOfSeriesRelatedInstances) for one in series) == [
        ("1.2.1.1", "CT", 2),
        ("1.2.1.2", "MR", 2),
    ]
    assert [(one.SOPInstanceUID, one.StudyInstanceUID) for one in images] == [("1.2.1.2.2", "1.2.1")]


def test_patients_are_found_with_their_counts(served: Served) -> None:
    keys = query("PATIENT", PatientID="P1", PatientName="", NumberOfPatientRelatedStudies="",
                 NumberOfPatientRelatedSeries="", NumberOfPatientRelatedInstances="")  # fmt: skip
    for model in (PATIENT, str(PatientStudyOnlyQueryRetrieveInformationModelFind)):
        with associated(served, model) as association:
            (one,), _ = find(association, keys, model)
        assert one.PatientName == "Doe^Jane1"
        assert one.NumberOfPatientRelatedStudies == 1
        assert one.NumberOfPatientRelatedSeries == 2
        assert one.NumberOfPatientRelatedInstances == 4


@pytest.mark.parametrize(
    ("model", "keys", "offending"),
    [
        (STUDY, query("PATIENT", PatientID=""), 0x00080052),
        (STUDY, query("SERIE", StudyInstanceUID=""), 0x00080052),
        (STUDY, query("", StudyInstanceUID=""), 0x00080052),
        (STUDY, query("SERIES", SeriesInstanceUID=""), 0x0020000D),
        (STUDY, query("SERIES", StudyInstanceUID=["1.2.1", "1.2.2"]), 0x0020000D),
        (STUDY, query("IMAGE", StudyInstanceUID="1.2.1", SOPInstanceUID=""), 0x0020000E),
        (PATIENT, query("STUDY", StudyInstanceUID=""), 0x00100020),
    ],
)
def test_an_identifier_that_is_not_of_its_model_is_refused_by_name(
    served: Served, model: str, keys: Dataset, offending: int
) -> None:
    with associated(served, model) as association:
        found, statuses = find(association, keys, model)
    assert found == []
    (status,) = statuses
    assert status.Status == 0xA900
    assert status.OffendingElement == offending
    assert status.ErrorComment


def test_relational_queries_are_done_once_negotiated(served: Served) -> None:
    with associated(served, extended=b"\1") as association:
        assert association.acceptor.sop_class_extended == {STUDY: b"\1"}
        found, _ = find(
            association, query("IMAGE", SOPInstanceUID="", Modality="MR", InstanceNumber="1", PatientID="P3")
        )
    assert [one.SOPInstanceUID for one in found] == ["1.2.3.2.1"]


@pytest.mark.parametrize(
    ("keyword", "value", "offending"),
    [
        ("StudyDate", "yesterday", 0x00080020),
        ("StudyDate", "20240231", 0x00080020),
        ("StudyTime", "250000", 0x00080030),
        ("StudyInstanceUID", "1.2.x", 0x0020000D),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_a_value_that_cannot_be_matched_is_refused_by_name(
    served: Served, keyword: str, value: str, offending: int
) -> None:
    with associated(served) as association:
        _, (status,) = find(association, query("STUDY", **{keyword: value}))
    assert status.Status == 0xC000
    assert status.OffendingElement == offending
    assert value in status.ErrorComment


def test_keys_that_are_not_supported_are_left_out_with_a_warning(served: Served) -> None:
    with associated(served) as association:
        found, statuses = find(
            association, query("STUDY", PatientID="P1", PatientBirthName="", InterpretationStatusID="")
        )
        _, silent = find(association, query("STUDY", PatientID="P1", Modality="CT"))
    assert [status.Status for status in statuses] == [0xFF01, 0]
    assert "PatientBirthName" not in found[0]
    assert [status.Status for status in silent] == [0xFF00, 0]


def test_the_answer_is_written_in_the_character_set_of_the_query_where_it_can_be(served: Served) -> None:
    latin = query("STUDY", PatientName="m\u00fcller*")
    latin.SpecificCharacterSet = "ISO_IR 100"
    cyrillic = query("STUDY", PatientID="P4", PatientName="")
    cyrillic.SpecificCharacterSet = "ISO_IR 144"
    japanese = query("STUDY", PatientID="P5", PatientName="")
    japanese.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    plain = query("STUDY", PatientID="P4", PatientName="")
    with associated(served) as association:
        answers = [find(association, one)[0][0] for one in (latin, cyrillic, japanese, plain)]
    assert [one.get("SpecificCharacterSet") for one in answers] == [
        "ISO_IR 100",
        "ISO_IR 192",
        ["", "ISO 2022 IR 87"],
        "ISO_IR 192",
    ]
    assert [str(one.PatientName) for one in answers] == [
        "M\u00fcller^J\u00fcrgen",
        "M\u00fcller^J\u00fcrgen",
        "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046",
        "M\u00fcller^J\u00fcrgen",
    ]


def test_what_has_more_matches_than_the_limit_ends_with_a_warning() -> None:
    with serving(Settings(dimse=Dimse(max_find_results=2))) as served:
        store(served.port, *(instance(study, 1, 1) for study in (1, 2, 3)))
        with associated(served) as association:
            found, statuses = find(association, query("STUDY", StudyInstanceUID=""))
            few, ended = find(association, query("STUDY", StudyInstanceUID="", PatientID="P1"))
        assert len(found) == 2
        assert statuses[-1].Status == 0xB001
        assert "max_find_results" in statuses[-1].ErrorComment
        assert (len(few), ended[-1].Status) == (1, 0)


def test_a_query_that_pynetdicom_cancels_ends_and_the_next_one_is_answered() -> None:
    with serving() as served:
        store(served.port, *(instance(1, 1, number) for number in range(1, 200)))
        with associated(served, extended=b"\1") as association:
            statuses = []
            for status, _ in association.send_c_find(query("IMAGE", SOPInstanceUID=""), STUDY, msg_id=7):
                statuses.append(status.Status)
                if len(statuses) == 1:
                    association.send_c_cancel(7, query_model=STUDY)
            assert statuses[-1] in {0xFE00, 0}  # it may have come too late
            assert find(association, query("STUDY", PatientID="P1"))[1][-1].Status == 0


def test_a_query_that_was_cancelled_before_it_was_done_finds_nothing(served: Served) -> None:
    cancel = message(1, command(us(0x100, 0xFFF), us(0x120, 9), us(0x800, 0x101)))
    with Peer(served.port) as peer:
        peer.associate(REQUEST)
        peer.send(message(1, find_command(9), STUDIES) + cancel)
        assert peer.response().status == 0xFE00
        peer.release()


def test_a_query_of_stored_headers_that_finds_nothing_is_cancelled_too(served: Served) -> None:
    cancel = message(1, command(us(0x100, 0xFFF), us(0x120, 9), us(0x800, 0x101)))
    nowhere = STUDIES[:14] + b"\x08\0\x80\0\x08\0\0\0Nowhere " + STUDIES[14:]  # Institution Name
    with Peer(served.port) as peer:
        peer.associate(REQUEST)
        peer.send(message(1, find_command(9), nowhere) + cancel)
        assert peer.response().status == 0xFE00
        peer.send(message(1, find_command(10), nowhere))
        assert peer.response().status == 0
        peer.release()


@pytest.mark.parametrize(
    ("data_set", "status"),
    [
        (b"", 0xA900),
        (STUDIES[:-1], 0xC000),
        (STUDIES + b"\x10\0\x20\0\xff\0\0\0", 0xC000),
        (b"\xff" * 300, 0xC000),
        (bytes(2 << 20), 0xA700),
    ],
)
def test_an_identifier_that_is_none_is_refused_and_the_association_goes_on(
    served: Served, data_set: bytes, status: int
) -> None:
    with Peer(served.port) as peer:
        peer.associate(REQUEST)
        peer.send(
            message(1, find_command(1), data_set) if data_set else message(1, find_command(1)) + p_data(pdv(1, 2, b""))
        )
        refused = peer.response()
        assert (refused.status, bool(refused.comment)) == (status, True)
        peer.send(message(1, find_command(2), STUDIES))
        assert peer.response().status == 0xFF00


def test_a_requestor_that_goes_amid_its_answers_harms_nobody(served: Served) -> None:
    for _ in range(3):
        with Peer(served.port) as peer:
            peer.associate(REQUEST)
            peer.send(message(1, find_command(1), STUDIES))
            peer.send(ABORT)
    within(5, lambda: served.server.associations == 0)
    with associated(served) as association:
        assert find(association, query("STUDY", PatientID="P1"))[1][-1].Status == 0


@pytest.mark.filterwarnings("ignore:The value length")
def test_a_requestor_that_takes_none_of_its_answers_is_let_go() -> None:
    with serving(Settings(dimse=Dimse(idle_timeout=1.0))) as served:
        # More than what both ends' sockets hold.
        store(served.port, *(instance(1, 1, number, StudyDescription="x" * 30_000) for number in range(1, 400)))
        within(5, lambda: served.server.associations == 0)
        images = (
            b"\x08\0\x52\0\x06\0\0\0IMAGE \x08\0\x30\x10\0\0\0\0"
            b"\x20\0\x0d\0\x06\0\0\x001.2.1\0\x20\0\x0e\0\x08\0\0\x001.2.1.1\0"
        )
        with Peer(served.port) as peer:
            peer.associate(REQUEST)
            peer.send(message(1, find_command(1), images))
            within(2, lambda: served.server.associations == 1)
            within(8, lambda: served.server.associations == 0)


def test_keys_beyond_the_index_are_matched_in_headers_and_answered_from_them() -> None:
    with serving() as served:
        request = Dataset()
        request.RequestedProcedureID = "RP1"
        request.ScheduledProcedureStepID = "SPS1"
        store(
            served.port,
            instance(1, 1, 1, RequestAttributesSequence=[request], ProtocolName="HEAD", StationName="CT1"),
            instance(2, 1, 1, ProtocolName="KNEE", StationName="CT2"),
        )
        item = Dataset()
        item.RequestedProcedureID = "RP1"
        with associated(served, extended=b"\1") as association:
            by_sequence, statuses = find(
                association, query("SERIES", SeriesInstanceUID="", RequestAttributesSequence=[item], StationName="")
            )
            by_name, _ = find(association, query("SERIES", SeriesInstanceUID="", ProtocolName="KN*"))
        assert [status.Status for status in statuses] == [0xFF00, 0]
        (one,) = by_sequence
        assert one.SeriesInstanceUID == "1.2.1.1"
        assert one.StationName == "CT1"
        assert [list(inner) for inner in one.RequestAttributesSequence] == [[request["RequestedProcedureID"]]]
        assert [one.ProtocolName for one in by_name] == ["KNEE"]


def test_institutions_find_their_own_alone() -> None:
    institutions = (
        Institution(id="north", called_ae_titles=("NORTH",)),
        Institution(id="south", called_ae_titles=("SOUTH",)),
    )
    with serving(Settings(institutions=institutions)) as served:
        store(served.port, instance(1, 1, 1), called="NORTH")
        for called, count in (("NORTH", 1), ("SOUTH", 0)):
            with associated(served, called=called) as association:
                found, _ = find(association, query("STUDY", StudyInstanceUID=""))
            assert [one.RetrieveAETitle for one in found] == [called] * count


def test_each_query_is_in_the_journal_before_it_is_answered(served: Served) -> None:
    with associated(served) as association:
        find(association, query("STUDY", PatientID="P1", PatientName="doe*", StudyInstanceUID=""))
    entry = served.memory.journal[-1]
    assert isinstance(entry, JournalRequest)
    assert (entry.action, entry.caller.name) == (Action.QUERY, "ae:VIEWER")
    assert dict(entry.detail)["query"] == "C-FIND STUDY PatientName=doe* PatientID=P1"
