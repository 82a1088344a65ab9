"""C-MOVE with real clients, and to real destinations: pynetdicom, dcmtk's movescu and storescp."""

import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, Association
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelMove,
)

from imagerepo.dicom import part10
from imagerepo.settings import Dimse, Institution, Settings
from imagerepo.settings_nodes import Node
from tests.harness.certificates import Authority
from tests.harness.dicom_file import EXPLICIT, data_set_of
from tests.harness.raw_acceptor import Accepting, Script, accepting
from tests.wire.dicomweb_samples import storable
from tests.wire.dimse_serving import Served, serving, within
from tests.wire.retrieving import Destination, context, counts, identifier, listening, node, put, released, series

STUDY = str(StudyRootQueryRetrieveInformationModelMove)
PATIENT = str(PatientRootQueryRetrieveInformationModelMove)
IMPLICIT = "1.2.840.10008.1.2"
ALL = identifier("STUDY", StudyInstanceUID="1.2.3")


@contextmanager
def associated(served: Served, model: str = STUDY, calling: str = "VIEWER") -> Iterator[Association]:
    ae = AE(ae_title=calling)
    ae.add_requested_context(model, IMPLICIT)
    association = ae.associate("127.0.0.1", served.port, ae_title="IMAGEREPO")
    assert association.is_established
    yield association
    association.release()


def move(
    association: Association, asked: Dataset = ALL, destination: str = "DEST", model: str = STUDY
) -> list[tuple[Dataset, Dataset | None]]:
    """All responses."""
    return list(association.send_c_move(asked, destination, model))


def settings(*nodes: Node, interval: float = 0.05, retries: int = 0) -> Settings:
    return Settings(nodes=nodes, dimse=Dimse(pending_interval=interval, move_retries=retries))


@contextmanager
def moving(destination: Destination, instances: int = 5, **values: object) -> Iterator[tuple[Served, Association]]:
    """A server with a study of CT images, a destination for them, and an association to the server."""
    with listening(destination) as port, serving(settings(node(port, **values))) as served:
        put(served.repository, (file.part10 for file in series(instances)))
        with associated(served) as association:
            yield served, association


def test_every_transfer_syntax_arrives_with_identical_data_set_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE", True)  # some classes are retired
    files = {str(part10.read_meta(content).sop_instance_uid): content for _, content in storable()}
    metas = [part10.read_meta(content) for content in files.values()]
    kinds = dict.fromkeys((str(one.sop_class_uid), str(one.transfer_syntax)) for one in metas)
    classes = dict.fromkeys(sop_class for sop_class, _ in kinds)
    contexts = [context(one, *(syntax for of, syntax in kinds if of == one)) for one in classes]
    destination = Destination()
    with listening(destination, contexts) as port, serving(settings(node(port))) as served:
        put(served.repository, files.values())
        studies = sorted({str(one.current[0].study_uid) for one in served.memory.instances.values()})
        with associated(served) as association:
            (*_, (status, failed)) = move(association, identifier("STUDY", StudyInstanceUID=studies))
        assert status.Status == 0, (status, failed)
        assert len(destination.data_sets) == served.count
        for uid, data_set in destination.data_sets.items():
            assert data_set == served.stored(uid)[part10.read_meta(served.stored(uid)).data_set_offset :]


def test_instances_arrive_over_one_association_and_name_their_originator() -> None:
    destination = Destination()
    with moving(destination, 20) as (served, association):
        (*_, (status, failed)) = move(association)
        assert status.Status == 0
        assert counts(status) == (None, 20, 0, 0)
        assert failed is None
        assert len(destination.associations) == 1
        assert {one.MoveOriginatorApplicationEntityTitle for one in destination.requests} == {"VIEWER"}
        assert {one.MoveOriginatorMessageID for one in destination.requests} == {1}
        assert {one.Priority for one in destination.requests} == {2}, "what the request asked for"
        for uid, data_set in destination.data_sets.items():
            assert data_set_of(served.stored(uid)) == data_set


def test_several_associations_where_the_node_allows_them() -> None:
    together = threading.Barrier(3, timeout=20)

    def answer(uid: str) -> int:
        if int(uid.rpartition(".")[2]) <= 3:
            together.wait()  # three instances are under way at the same time
        return 0

    destination = Destination(answer)
    with moving(destination, 30, associations=3) as (_, association):
        (*_, (status, _)) = move(association)
    assert counts(status) == (None, 30, 0, 0)
    assert len(destination.associations) == 3
    assert len(destination.data_sets) == 30


def test_a_destination_that_takes_fewer_associations_than_set_gets_everything_over_those() -> None:
    destination = Destination()
    with (
        listening(destination, maximum_associations=1) as port,
        serving(settings(node(port, associations=4))) as served,
    ):
        put(served.repository, (file.part10 for file in series(40)))
        with associated(served) as association:
            (*_, (status, failed)) = move(association)
    assert status.Status == 0, (status, failed)
    assert counts(status) == (None, 40, 0, 0)
    assert destination.most == 1


def test_an_unknown_destination_is_A801() -> None:  # noqa: N802 - the status is written so
    with moving(Destination()) as (_, association):
        ((status, _),) = move(association, destination="NOWHERE")
        assert status.Status == 0xA801
        assert "NOWHERE" in status.ErrorComment
        (*_, (status, _)) = move(association)
        assert status.Status == 0, "the association goes on"


def test_a_destination_of_another_institution_is_unknown() -> None:
    destination = Destination()
    with listening(destination) as port:
        institutions = (
            Institution(id="one", called_ae_titles=("ONE",)),
            Institution(id="two", called_ae_titles=("TWO",)),
        )
        with serving(Settings(institutions=institutions, nodes=(node(port, institutions=("two",)),))) as served:
            ae = AE(ae_title="VIEWER")
            ae.add_requested_context(STUDY, IMPLICIT)
            association = ae.associate("127.0.0.1", served.port, ae_title="ONE")
            ((status, _),) = move(association)
            assert status.Status == 0xA801
            association.release()


def test_what_a_destination_refuses_fails_alone_and_is_listed() -> None:
    destination = Destination()
    with listening(destination) as port, serving(settings(node(port))) as served:
        put(served.repository, (content for name, content in storable() if name == "JPEG2000.dcm"))
        ((_, uid),) = served.memory.instances
        study = str(served.memory.instances["default", uid].current[0].study_uid)
        put(served.repository, (file.part10 for file in series(5, study=study, number=77)))
        with associated(served) as association:
            (*_, (status, failed)) = move(association, identifier("STUDY", StudyInstanceUID=study))
    assert status.Status == 0xB000
    assert counts(status) == (None, 5, 1, 0)
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == uid
    assert len(destination.associations) == 1


def test_failures_and_warnings_of_the_destination_are_counted() -> None:
    statuses = {"1.2.3.1.1": 0xA700, "1.2.3.1.2": 0xB000, "1.2.3.1.3": 0xC000}
    with moving(Destination(lambda uid: statuses.get(uid, 0))) as (_, association):
        (*_, (status, failed)) = move(association)
    assert status.Status == 0xB000
    assert counts(status) == (None, 2, 2, 1)
    assert "A700" in status.ErrorComment
    assert failed is not None
    assert list(failed.FailedSOPInstanceUIDList) == ["1.2.3.1.1", "1.2.3.1.3"]


def test_a_destination_that_is_not_there_fails_everything_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with serving(settings(node(port))) as served:
        put(served.repository, (file.part10 for file in series(700)))
        with associated(served) as association:
            (*_, (status, failed)) = move(association)
            assert status.Status == 0xA702
            assert counts(status) == (None, 0, 700, 0)
            assert "dest" in status.ErrorComment
            assert failed is not None
            assert len(failed.FailedSOPInstanceUIDList) == 700


def test_a_destination_that_breaks_off_at_an_instance_gets_the_others() -> None:
    broken = {"1.2.3.1.3"}
    destination = Destination()

    def answer(uid: str) -> int:
        if uid in broken:
            destination.associations[-1].abort()
        return 0

    destination.answer = answer
    with moving(destination, 6) as (_, association):
        (*_, (status, failed)) = move(association)
    assert status.Status == 0xB000
    assert counts(status) == (None, 5, 1, 0)
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == "1.2.3.1.3"
    assert len(destination.associations) == 2


def test_an_instance_whose_destination_broke_off_is_sent_again() -> None:
    destination = Destination()

    def answer(uid: str) -> int:
        if uid == "1.2.3.1.3" and len(destination.associations) == 1:
            destination.associations[-1].abort()
        return 0

    destination.answer = answer
    with listening(destination) as port, serving(settings(node(port), retries=1)) as served:
        put(served.repository, (file.part10 for file in series(5)))
        with associated(served) as association:
            (*_, (status, _)) = move(association)
    assert counts(status) == (None, 5, 0, 0)
    assert len(destination.associations) == 2


def test_a_destination_that_stalls_is_given_up_while_the_requestor_is_told() -> None:
    stalled = threading.Event()
    destination = Destination(lambda _: (stalled.wait(30) and 0) or 0)
    with released(stalled), moving(destination, 50, response_timeout=0.4) as (_, association):
        responses = move(association)
        status, failed = responses[-1]
        assert status.Status == 0xA702
        assert counts(status) == (None, 0, 50, 0)
        assert failed is not None
        assert len(failed.FailedSOPInstanceUIDList) == 50
        assert len(responses) > 3, "pending responses came meanwhile"
        assert len(destination.associations) == 3, "it had three chances"
        stalled.set()


def test_a_cancel_ends_it_with_what_remains() -> None:
    destination = Destination()
    with moving(destination, 300) as (_, association):

        def answer(_: str) -> int:
            if len(destination.requests) == 3:
                association.send_c_cancel(1, query_model=STUDY)
            time.sleep(0.005)
            return 0

        destination.answer = answer
        status, _ = move(association)[-1]
        assert status.Status == 0xFE00
        remaining, completed, failed, warned = counts(status)
        assert remaining
        assert (remaining + (completed or 0), failed, warned) == (300, 0, 0)
        within(5, lambda: len(destination.data_sets) == completed)
        destination.answer = lambda _: 0
        status, _ = move(association)[-1]
        assert counts(status) == (None, 300, 0, 0)


def test_a_requestor_that_goes_ends_the_sending() -> None:
    destination = Destination()
    with listening(destination) as port, serving(settings(node(port))) as served:
        put(served.repository, (file.part10 for file in series(500)))
        with associated(served) as association:

            def answer(_: str) -> int:
                if len(destination.requests) == 3:
                    association.abort()
                time.sleep(0.005)
                return 0

            destination.answer = answer
            association.dimse_timeout = 0.5
            move(association)
        within(10, lambda: served.server.associations == 0)
        within(10, lambda: not any(one.is_alive() for one in destination.associations))
        assert len(destination.requests) < 500
        assert not [one for one in threading.enumerate() if one.name.startswith("delivery")]


def _deliveries() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("delivery")]


def _reads_and_says_nothing(peer: Accepting) -> None:
    peer.accept(syntax=EXPLICIT)
    peer.until_closed()


def _reads_nothing(peer: Accepting) -> None:
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.accept(syntax=EXPLICIT)
    within(10, lambda: not _deliveries())


@pytest.mark.parametrize("script", [_reads_and_says_nothing, _reads_nothing])
def test_a_requestor_that_goes_ends_the_sending_to_a_destination_that_never_answers(script: Script) -> None:
    _leave(script)


def test_so_it_does_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    shown = authority.issue("destination")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.certificate, shown.key)

    def script(peer: Accepting) -> None:
        with context.wrap_socket(peer.socket, server_side=True) as connection:
            _reads_and_says_nothing(Accepting(connection))

    _leave(script, tls={"ca": authority.file})


def _leave(script: Script, **values: object) -> None:
    """Reset a C-MOVE to a destination that never answers; what was sent to it has ended."""
    with accepting(script) as port, serving(settings(node(port, response_timeout=60, **values))) as served:
        put(served.repository, (file.part10 for file in series(2, size=2_000_000)))
        with associated(served) as association:
            association.dimse_timeout = 0.5
            requestor = threading.Thread(target=move, args=(association,), daemon=True)
            requestor.start()
            within(10, lambda: bool(_deliveries()))
            time.sleep(0.3)  # until it waits for its destination
            assert _deliveries()
            association.abort()
            requestor.join(10)
        within(8, lambda: not _deliveries())


def test_a_destination_that_resets_amid_a_data_set_fails_its_own_only() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        serving(settings(node(listener.getsockname()[1]))) as served,
    ):
        put(served.repository, (file.part10 for file in series(4, size=2_000_000)))
        thread = threading.Thread(target=_reset_each, args=(listener,), daemon=True)
        thread.start()
        with associated(served) as association:
            status, failed = move(association)[-1]
            assert status.Status == 0xA702
            assert counts(status) == (None, 0, 4, 0)
            assert failed is not None
            ((status, _),) = move(association, destination="NOWHERE")
            assert status.Status == 0xA801, "the association goes on"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _reset_each(listener: socket.socket) -> None:
    """Accept CT images in context 1, and reset the connection amid the first one."""
    user = struct.pack(">BxH", 0x51, 4) + struct.pack(">I", 16384)
    syntax = struct.pack(">BxH", 0x40, len(EXPLICIT)) + EXPLICIT.encode()
    answer = struct.pack(">BxHBxBx", 0x21, 4 + len(syntax), 1, 0) + syntax
    application = b"1.2.840.10008.3.1.1.1"
    body = struct.pack(">H2x64x", 1) + struct.pack(">BxH", 0x10, len(application)) + application + answer
    body += struct.pack(">BxH", 0x50, len(user)) + user
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            connection.sendall(struct.pack(">BxI", 2, len(body)) + body)
            connection.recv(65536)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_patients_are_moved_with_all_their_studies() -> None:
    destination = Destination()
    with listening(destination) as port, serving(settings(node(port))) as served:
        put(served.repository, (file.part10 for file in series(2)))
        put(served.repository, (file.part10 for file in series(3, study="1.2.4")))
        put(served.repository, (file.part10 for file in series(4, study="1.2.5", patient="P2")))
        with associated(served, PATIENT) as association:
            (*_, (status, _)) = move(association, identifier("PATIENT", PatientID="P1"), model=PATIENT)
    assert counts(status) == (None, 5, 0, 0)
    assert not [uid for uid in destination.data_sets if uid.startswith("1.2.5")]


def test_movescu_moves_to_storescp_what_is_stored(tmp_path: Path) -> None:
    movescu, storescp = shutil.which("movescu"), shutil.which("storescp")
    assert movescu
    assert storescp
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    receiving = subprocess.Popen([storescp, "+B", "+xa", "-od", str(tmp_path), str(port)])
    try:
        with serving(settings(node(port))) as served:
            put(served.repository, (file.part10 for file in series(7, size=300_000)))
            within(20, lambda: _listens(port))
            command = [movescu, "-S", "-aec", "IMAGEREPO", "-aem", "DEST", "127.0.0.1", str(served.port)]
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3"]
            done = subprocess.run([*command, *keys], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            files = list(tmp_path.iterdir())
            assert len(files) == 7
            for file in files:
                content = file.read_bytes()
                uid = str(part10.read_meta(content).sop_instance_uid)
                assert data_set_of(content) == data_set_of(served.stored(uid))
    finally:
        receiving.send_signal(signal.SIGTERM)
        receiving.wait(10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_nothing_to_move_opens_no_association() -> None:
    destination = Destination()
    with moving(destination) as (_, association):
        ((status, _),) = move(association, identifier("STUDY", StudyInstanceUID="1.2.999"))
    assert status.Status == 0
    assert counts(status) == (None, 0, 0, 0)
    assert destination.associations == []


def test_a_context_in_vain_is_no_reason_to_break_off() -> None:
    destination = Destination()
    with (
        listening(destination, [context("1.2.840.10008.5.1.4.1.1.4", EXPLICIT)]) as port,
        serving(settings(node(port))) as served,
    ):
        put(served.repository, (file.part10 for file in series(3)))
        with associated(served) as association:
            (*_, (status, _)) = move(association)
    assert status.Status == 0xA702
    assert counts(status) == (None, 0, 3, 0)
    assert status.ErrorComment.startswith("dest: SOP class not supported")


def test_what_is_damaged_fails_alone() -> None:
    destination = Destination()
    with listening(destination) as port, serving(settings(node(port))) as served:
        put(served.repository, (file.part10 for file in series(5, size=2_000_000)))
        for uid, keep in (("1.2.3.1.2", 0), ("1.2.3.1.4", 1_500_000)):
            (where,) = served.memory.instances["default", uid].current[0].copy.ranges
            served.memory.objects[where.key] = served.memory.objects[where.key][: where.offset + keep]
        with associated(served) as association:
            (*_, (status, failed)) = move(association)
    assert status.Status == 0xB000
    assert counts(status) == (None, 3, 2, 0)
    assert failed is not None
    assert list(failed.FailedSOPInstanceUIDList) == ["1.2.3.1.2", "1.2.3.1.4"]
    assert set(destination.data_sets) == {"1.2.3.1.1", "1.2.3.1.3", "1.2.3.1.5"}
