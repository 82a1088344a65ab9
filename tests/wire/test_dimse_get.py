"""C-GET with real clients: pynetdicom and dcmtk's getscu."""

import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, Association, build_role, evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelGet,
)

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.dicom import part10
from imagerepo.dicom.data_set_writer import encode_data_set
from imagerepo.errors import UnavailableError
from imagerepo.model.events import Action, CommitKind, Committed, JournalRequest, Request
from imagerepo.model.header import Attribute
from imagerepo.settings import Dimse, Settings
from tests.harness.dicom_file import CT, EXPLICIT, data_set_of
from tests.wire import dimse_peer
from tests.wire.dicomweb_samples import storable
from tests.wire.dimse_serving import Served, serving, within
from tests.wire.retrieving import Destination, context, counts, identifier, put, series

PATIENT = str(PatientRootQueryRetrieveInformationModelGet)
STUDY = str(StudyRootQueryRetrieveInformationModelGet)
IMPLICIT = "1.2.840.10008.1.2"
FEWEST_SYNTAXES = 11


@contextmanager
def associated(
    served: Served,
    taken: Destination,
    kinds: list[tuple[str, str]] | None = None,
    model: str = STUDY,
    *,
    extended: Sequence[SOPClassExtendedNegotiation] = (),
    **options: object,
) -> Iterator[Association]:
    """An association that gets `kinds`: SOP class and transfer syntax."""
    kinds = kinds or [(CT, EXPLICIT)]
    ae = AE(ae_title="VIEWER")
    contexts = [context(model, IMPLICIT), *(context(*kind) for kind in kinds)]
    roles = [build_role(sop_class, scp_role=True) for sop_class in dict.fromkeys(kind[0] for kind in kinds)]
    association = ae.associate(
        "127.0.0.1",
        served.port,
        contexts=contexts,
        ae_title="IMAGEREPO",
        ext_neg=[*roles, *extended],
        evt_handlers=[(evt.EVT_C_STORE, taken.store)],
        **options,
    )
    assert association.is_established
    yield association
    association.release()


def get(association: Association, asked: Dataset, model: str = STUDY) -> list[tuple[Dataset, Dataset | None]]:
    """All responses."""
    return list(association.send_c_get(asked, model))


def test_every_transfer_syntax_comes_back_with_identical_data_set_bytes() -> None:
    with serving() as served:
        files = {}
        for _, content in storable():
            meta = part10.read_meta(content)
            files[str(meta.sop_instance_uid)] = content
        put(served.repository, files.values())
        metas = [part10.read_meta(content) for content in files.values()]
        kinds = list(dict.fromkeys((str(one.sop_class_uid), str(one.transfer_syntax)) for one in metas))
        assert len({syntax for _, syntax in kinds}) >= FEWEST_SYNTAXES
        studies = {
            version.study_uid for (_, _), one in served.memory.instances.items() for version in [one.current[0]]
        }
        taken = Destination()
        with associated(served, taken, kinds[:127]) as association:
            for study in studies:
                (*_, (status, _)) = get(association, identifier("STUDY", StudyInstanceUID=study))
                assert status.Status == 0, (study, status)
        assert len(taken.data_sets) == served.count
        for uid, data_set in taken.data_sets.items():
            assert served.stored(uid).endswith(data_set)
            assert part10.read_meta(served.stored(uid)).data_set_offset == len(served.stored(uid)) - len(data_set)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Settings(dimse=Dimse(pending_interval=0.01))) as one:
        put(one.repository, (file.part10 for file in (*series(4), *series(3, number=2))))
        put(one.repository, (file.part10 for file in series(2, study="1.2.4")))
        put(one.repository, (file.part10 for file in series(2, study="1.2.5", patient="P2")))
        yield one


@pytest.mark.parametrize(
    ("model", "asked", "count"),
    [
        (STUDY, identifier("STUDY", StudyInstanceUID="1.2.3"), 7),
        (STUDY, identifier("STUDY", StudyInstanceUID=["1.2.3", "1.2.4"]), 9),
        (STUDY, identifier("SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.2"), 3),
        (STUDY, identifier("SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID=["1.2.3.1", "1.2.3.2"]), 7),
        (
            STUDY,
            identifier(
                "IMAGE",
                StudyInstanceUID="1.2.3",
                SeriesInstanceUID="1.2.3.1",
                SOPInstanceUID=["1.2.3.1.4", "1.2.3.1.2"],
            ),
            2,
        ),
        (PATIENT, identifier("PATIENT", PatientID="P1"), 9),
        (PATIENT, identifier("STUDY", PatientID="P1", StudyInstanceUID="1.2.4"), 2),
        (PATIENT, identifier("STUDY", PatientID="P2", StudyInstanceUID="1.2.4"), 0),
        (STUDY, identifier("STUDY", StudyInstanceUID="1.2.999"), 0),
        (STUDY, identifier("SERIES", StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.3.2"), 0),
    ],
)
def test_what_the_identifier_names_is_sent_and_nothing_else(
    served: Served, model: str, asked: Dataset, count: int
) -> None:
    taken = Destination()
    with associated(served, taken, model=model) as association:
        (*_, (status, answer)) = get(association, asked, model)
    assert status.Status == 0
    assert counts(status) == (None, count, 0, 0)
    assert answer is None
    assert len(taken.data_sets) == count
    for uid, data_set in taken.data_sets.items():
        assert data_set_of(served.stored(uid)) == data_set


@pytest.mark.parametrize(
    ("asked", "offending"),
    [
        (identifier("SERIES", SeriesInstanceUID="1.2.3.2"), 0x0020000D),
        (identifier("STUDY"), 0x0020000D),
        (identifier("PATIENT", PatientID="P1"), 0x00080052),
        (Dataset(), 0x00080052),
    ],
)
def test_an_identifier_without_its_keys_is_refused_with_the_element(
    served: Served, asked: Dataset, offending: int
) -> None:
    with associated(served, Destination()) as association:
        if not asked:
            asked.StudyInstanceUID = "1.2.3"
        ((status, _),) = get(association, asked)
        assert status.Status == 0xA900
        assert status.OffendingElement == offending
        assert status.ErrorComment
        ((status, _),) = [get(association, identifier("STUDY", StudyInstanceUID="1.2.999"))[-1]]
        assert status.Status == 0


def test_pending_responses_count_down_at_intervals() -> None:
    with serving(Settings(dimse=Dimse(pending_interval=0.01))) as served:
        put(served.repository, (file.part10 for file in series(30)))
        with associated(served, Destination()) as association:
            responses = get(association, identifier("STUDY", StudyInstanceUID="1.2.3"))
    told = [counts(status) for status, _ in responses[:-1]]
    assert len(told) > 2
    assert {status.Status for status, _ in responses[:-1]} == {0xFF00}
    assert all(sum(filter(None, one)) == 30 for one in told)
    assert [one[0] for one in told] == sorted((one[0] or 0 for one in told), reverse=True)


def test_what_has_no_context_fails_and_is_listed() -> None:
    with serving() as served:
        put(served.repository, (content for name, content in storable() if name == "JPEG2000.dcm"))
        ((_, uid),) = served.memory.instances
        version, _ = served.memory.instances["default", uid].current
        put(served.repository, (file.part10 for file in series(3, study=str(version.study_uid), number=77)))
        taken = Destination()
        with associated(served, taken) as association:
            (*_, (status, failed)) = get(association, identifier("STUDY", StudyInstanceUID=str(version.study_uid)))
    assert status.Status == 0xB000
    assert counts(status) == (None, 3, 1, 0)
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == uid
    assert len(taken.data_sets) == 3


def test_without_the_role_of_scp_nothing_can_be_sent(served: Served) -> None:
    ae = AE(ae_title="VIEWER")
    contexts = [context(STUDY, IMPLICIT), context(CT, EXPLICIT)]
    association = ae.associate("127.0.0.1", served.port, contexts=contexts, ae_title="IMAGEREPO")
    (*_, (status, failed)) = get(association, identifier("STUDY", StudyInstanceUID="1.2.4"))
    association.release()
    assert status.Status == 0xA702
    assert counts(status) == (None, 0, 2, 0)
    assert failed is not None
    assert list(failed.FailedSOPInstanceUIDList) == ["1.2.4.1.1", "1.2.4.1.2"]


def test_failures_and_warnings_of_the_requestor_are_counted(served: Served) -> None:
    statuses = {"1.2.3.1.1": 0xA700, "1.2.3.1.2": 0xB000, "1.2.3.1.3": 0xC000}
    with associated(served, Destination(lambda uid: statuses.get(uid, 0))) as association:
        asked = identifier("SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1")
        (*_, (status, failed)) = get(association, asked)
    assert status.Status == 0xB000
    assert counts(status) == (None, 1, 2, 1)
    assert failed is not None
    assert list(failed.FailedSOPInstanceUIDList) == ["1.2.3.1.1", "1.2.3.1.3"]


def test_a_cancel_ends_it_with_what_remains() -> None:
    with serving() as served:
        put(served.repository, (file.part10 for file in series(200)))
        taken = Destination()
        with associated(served, taken) as association:

            def answer(_: str) -> int:
                if len(taken.requests) == 3:
                    association.send_c_cancel(1, query_model=STUDY)
                return 0

            taken.answer = answer
            responses = get(association, identifier("STUDY", StudyInstanceUID="1.2.3"))
            status, _ = responses[-1]
            assert status.Status == 0xFE00
            remaining, completed, failed, warned = counts(status)
            assert remaining
            assert (remaining + (completed or 0), failed, warned) == (200, 0, 0)
            assert completed == len(taken.data_sets) < 200
            taken.answer = lambda _: 0
            (*_, (status, _)) = get(association, identifier("STUDY", StudyInstanceUID="1.2.3"))
            assert counts(status) == (None, 200, 0, 0)


def test_a_requestor_that_aborts_amid_it_leaves_nothing_behind() -> None:
    with serving() as served:
        put(served.repository, (file.part10 for file in series(50, size=100_000)))
        taken = Destination()
        with associated(served, taken) as association:

            def answer(_: str) -> int:
                association.abort()
                return 0

            taken.answer = answer
            association.dimse_timeout = 0.5
            get(association, identifier("STUDY", StudyInstanceUID="1.2.3"))
        assert len(taken.requests) < 50
        within(10, lambda: served.server.associations == 0)


def test_a_read_is_one_entry_of_each_study(served: Served) -> None:
    before = len(served.memory.journal)
    with associated(served, Destination()) as association:
        get(association, identifier("STUDY", StudyInstanceUID=["1.2.4", "1.2.5"]))
    entries = [one for one in served.memory.journal[before:] if isinstance(one, JournalRequest)]
    reads = [dict(one.detail)["study"] for one in entries if one.action is Action.READ]
    assert set(reads) <= {"1.2.4", "1.2.5"}
    everything = [
        (dict(one.detail)["study"], one.caller.name)
        for one in served.memory.journal
        if isinstance(one, JournalRequest) and one.action is Action.READ
    ]
    assert len(everything) == len(set(everything))
    assert {("1.2.4", "ae:VIEWER"), ("1.2.5", "ae:VIEWER")} <= set(everything)


@pytest.mark.parametrize("max_length", [4096, 16382, 16384, 131072, 0])
def test_pdus_are_as_large_as_the_requestor_takes_and_no_larger(max_length: int) -> None:
    with serving() as served:
        put(served.repository, (file.part10 for file in series(2, size=1_500_000)))
        taken = Destination()
        with associated(served, taken, max_pdu=max_length) as association:
            (*_, (status, _)) = get(association, identifier("STUDY", StudyInstanceUID="1.2.3"))
        assert status.Status == 0
        assert len(taken.data_sets) == 2
        for uid, data_set in taken.data_sets.items():
            assert data_set_of(served.stored(uid)) == data_set


def test_getscu_writes_what_is_stored(served: Served, tmp_path: Path) -> None:
    getscu = shutil.which("getscu")
    assert getscu
    command = [getscu, "-S", "+B", "-od", str(tmp_path), "-aec", "IMAGEREPO", "127.0.0.1", str(served.port)]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3"]
    done = subprocess.run([*command, *keys], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    files = list(tmp_path.iterdir())
    assert len(files) == 7
    for file in files:
        content = file.read_bytes()
        uid = str(part10.read_meta(content).sop_instance_uid)
        assert data_set_of(content) == data_set_of(served.stored(uid))


def test_a_malformed_pdu_amid_it_aborts_the_association() -> None:
    with serving() as served:
        put(served.repository, (file.part10 for file in series(3)))
        with dimse_peer.Peer(served.port) as peer:
            begin_get(peer)
            kind, body = peer.receive()
            assert kind == 4
            assert body[5] == 3, "the command of a C-STORE"
            peer.receive()
            peer.send(struct.pack(">BxI", 4, 6) + struct.pack(">IBB", 1000, 3, 3))
            assert peer.aborted()[0] == 2
        within(10, lambda: served.server.associations == 0)


def damage(served: Served, uid: str, keep: int) -> None:
    """Take all but `keep` bytes of an instance's file away."""
    (where,) = served.memory.instances["default", uid].current[0].copy.ranges
    served.memory.objects[where.key] = served.memory.objects[where.key][: where.offset + keep]


def test_a_damaged_instance_fails_alone() -> None:
    with serving() as served:
        put(served.repository, (file.part10 for file in series(5)))
        damage(served, "1.2.3.1.2", 0)
        taken = Destination()
        with associated(served, taken) as association:
            (*_, (status, failed)) = get(association, identifier("STUDY", StudyInstanceUID="1.2.3"))
            assert status.Status == 0xB000
            assert counts(status) == (None, 4, 1, 0)
            assert failed is not None
            assert failed.FailedSOPInstanceUIDList == "1.2.3.1.2"
        assert len(taken.data_sets) == 4


def test_an_instance_that_turns_out_damaged_when_half_is_sent_ends_the_association() -> None:
    with serving() as served:
        put(served.repository, (file.part10 for file in series(3, size=3_000_000)))
        damage(served, "1.2.3.1.2", 1_500_000)
        taken = Destination()
        with associated(served, taken) as association:
            association.dimse_timeout = 5
            get(association, identifier("STUDY", StudyInstanceUID="1.2.3"))
            within(10, lambda: served.server.associations == 0)
        assert set(taken.data_sets) == {"1.2.3.1.1"}


def test_relational_retrieval_needs_no_keys_above_where_it_was_negotiated(served: Served) -> None:
    asked = identifier("IMAGE", SOPInstanceUID=["1.2.3.1.4", "1.2.4.1.2"])
    taken = Destination()
    with associated(served, taken) as association:
        ((status, _),) = get(association, asked)
        assert status.Status == 0xA900
    relational = SOPClassExtendedNegotiation()
    relational.sop_class_uid = STUDY
    relational.service_class_application_information = b"\1"
    with associated(served, taken, extended=[relational]) as association:
        (*_, (status, _)) = get(association, asked)
    assert counts(status) == (None, 2, 0, 0)
    assert set(taken.data_sets) == {"1.2.3.1.4", "1.2.4.1.2"}


def test_a_requestor_that_never_answers_is_let_go() -> None:
    with serving(Settings(dimse=Dimse(idle_timeout=0.5))) as served:
        put(served.repository, (file.part10 for file in series(3)))
        with dimse_peer.Peer(served.port) as peer:
            begin_get(peer)
            assert peer.receive()[0] == 4, "a C-STORE request"
            assert peer.receive()[0] == 4, "its data set"
            peer.aborted()
        within(10, lambda: served.server.associations == 0)


def begin_get(peer: dimse_peer.Peer) -> None:
    """Associate and ask for a study."""
    contexts = ((1, STUDY, (IMPLICIT,)), (3, CT, (EXPLICIT,)))
    role = struct.pack(">H", len(CT)) + CT.encode() + b"\0\1"
    peer.associate(dimse_peer.associate_rq(contexts=contexts, extra=dimse_peer.item(0x54, role)))
    asked = encode_data_set(
        {"00080052": Attribute("CS", ("STUDY",)), "0020000D": Attribute("UI", ("1.2.3",))}, IMPLICIT
    )
    request = dimse_peer.command(
        dimse_peer.ui(0x2, STUDY),
        dimse_peer.us(0x100, 0x10),
        dimse_peer.us(0x110, 1),
        dimse_peer.us(0x700, 0),
        dimse_peer.us(0x800, 1),
    )
    peer.send(dimse_peer.message(1, request, asked))


class NoJournal(MemoryCommits):
    """Whose journal cannot be written."""

    def commit(self, requests: Sequence[Request]) -> Sequence[Committed]:
        if any(isinstance(one, JournalRequest) for one in requests):
            return [Committed(CommitKind.FAILED, error=UnavailableError("the disk is broken")) for _ in requests]
        return super().commit(requests)


def test_nothing_leaves_that_cannot_be_entered_into_the_journal() -> None:
    memory = Memory()
    with serving(commits=NoJournal(memory)) as served:
        put(served.repository, (file.part10 for file in series(3)))
        served.memory.instances.update(memory.instances)
        served.memory.objects.update(memory.objects)
        taken = Destination()
        with associated(served, taken) as association:
            ((status, _),) = get(association, identifier("STUDY", StudyInstanceUID="1.2.3"))
    assert status.Status == 0xA702
    assert "disk is broken" in status.ErrorComment
    assert counts(status) == (3, 0, 0, 0)
    assert taken.data_sets == {}
