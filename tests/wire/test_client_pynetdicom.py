"""Our client against pynetdicom's acceptor: what it asks, what it takes, what it says of it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,  # pyright: ignore[reportAttributeAccessIssue] - made at run time
    StudyRootQueryRetrieveInformationModelFind,  # pyright: ignore[reportAttributeAccessIssue] - likewise
    StudyRootQueryRetrieveInformationModelGet,  # pyright: ignore[reportAttributeAccessIssue] - likewise
)

from imagerepo.dimse.associate import Role
from imagerepo.dimse.client import levels, query, wanted
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.fetching import Folder, Refused
from imagerepo.dimse.client.files import InstanceFile, scan
from imagerepo.dimse.client.levels import QueryLevel, Root
from imagerepo.dimse.client.negotiation import propose
from imagerepo.dimse.client.storing import Storing
from imagerepo.dimse.messages import Command, CommandField, Element, Status
from imagerepo.dimse.negotiate import PresentationContext
from imagerepo.dimse.query_retrieve import Model
from imagerepo.errors import DamagedError, PeerError, PeerFailure
from imagerepo.model.peer import Peer
from imagerepo.ports.peers import Kind, Originator, Priority

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
Handlers = list[tuple[Any, Callable[..., Any]]]


@contextmanager
def acceptor(handlers: Handlers, *sop_classes: str, roles: tuple[str, ...] = ()) -> Iterator[Peer]:
    ae = AE("PEER")
    for sop_class in sop_classes:
        ae.add_supported_context(sop_class, EXPLICIT, scu_role=sop_class in roles, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Peer("peer", "PEER", "127.0.0.1", server.socket.getsockname()[1], response_timeout=20)
    finally:
        server.shutdown()


def ct_file() -> InstanceFile:
    path = get_testdata_file("CT_small.dcm")
    assert path
    (found,) = scan([Path(path)])
    assert isinstance(found, InstanceFile)
    return found


@pytest.mark.parametrize(
    ("status", "stored", "warned"), [(0, True, False), (0xB007, True, True), (0xA700, False, False)]
)
def test_what_a_receiver_says_is_told(status: int, stored: bool, warned: bool) -> None:  # noqa: FBT001 - a table
    with acceptor([(evt.EVT_C_STORE, lambda _: status)], CT) as peer:
        file = ct_file()
        with Storing(peer, "OURS", [file.kind]) as storing:
            sent = storing.store(file.kind, file.instance_uid, file.data)
    assert (sent.status, sent.stored, sent.warned) == (status, stored, warned)


def test_the_request_names_priority_and_the_move_that_it_is_done_for() -> None:
    requests: list[Any] = []

    def handle(event: Any) -> int:
        requests.append(event.request)
        return 0

    with acceptor([(evt.EVT_C_STORE, handle)], CT) as peer:
        file = ct_file()
        originator = Originator("WS1", 77)
        with Storing(peer, "OURS", [file.kind], originator=originator, priority=Priority.HIGH) as storing:
            for _ in range(2):
                storing.store(file.kind, file.instance_uid, file.data)
    assert [one.MessageID for one in requests] == [1, 2]
    assert {one.MoveOriginatorApplicationEntityTitle for one in requests} == {"WS1"}
    assert {(one.MoveOriginatorMessageID, one.Priority) for one in requests} == {(77, 1)}


def test_more_kinds_than_an_association_has_room_for_go_over_several() -> None:
    opened: list[int] = []
    handlers: Handlers = [
        (evt.EVT_C_STORE, lambda _: 0),
        (evt.EVT_ACCEPTED, lambda event: opened.append(len(event.assoc.accepted_contexts))),
    ]
    many: list[Kind] = [(f"1.2.826.0.1.3680043.9.{number}", EXPLICIT) for number in range(200)]
    with acceptor(handlers, CT) as peer:
        file = ct_file()
        with Storing(peer, "OURS", [*many, file.kind]) as storing:
            assert storing.store(file.kind, file.instance_uid, file.data).stored
            with pytest.raises(PeerError) as caught:
                storing.store(many[0], "1.2", file.data)
            assert caught.value.failure is PeerFailure.REFUSED
            assert storing.store(file.kind, file.instance_uid, file.data).stored
    assert opened == [0, 1, 0, 1]


def test_a_kind_that_nobody_announced_is_asked_for() -> None:
    with acceptor([(evt.EVT_C_STORE, lambda _: 0)], CT, MR) as peer:
        file = ct_file()
        with Storing(peer, "OURS", [(MR, EXPLICIT)]) as storing:
            assert not storing.accepts(file.kind)
            assert storing.store(file.kind, file.instance_uid, file.data).stored
            assert storing.accepts((MR, EXPLICIT))


def test_sending_goes_on_after_a_file_that_became_shorter(tmp_path: Path) -> None:
    received: list[str] = []

    def handle(event: Any) -> int:
        received.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    with acceptor([(evt.EVT_C_STORE, handle)], CT) as peer:
        file = ct_file()
        copy = tmp_path / "copy.dcm"
        copy.write_bytes(file.path.read_bytes())
        (cut,) = scan([copy])
        assert isinstance(cut, InstanceFile)
        copy.write_bytes(file.path.read_bytes()[:20_000])
        with Storing(peer, "OURS", [file.kind]) as storing:
            with pytest.raises(DamagedError):
                storing.store(cut.kind, cut.instance_uid, cut.data)
            assert storing.store(file.kind, file.instance_uid, file.data).stored
    assert received == [file.instance_uid]


def test_a_query_is_cancelled_at_its_limit() -> None:
    cancelled = threading.Event()

    def handle(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(10_000):
            if event.is_cancelled:
                cancelled.set()
                yield 0xFE00, None
                return
            found = Dataset()
            found.QueryRetrieveLevel = "STUDY"
            found.StudyInstanceUID = f"1.2.{number}"
            yield 0xFF00, found

    asked = levels.query(QueryLevel.STUDY, Root.STUDY, [])
    find = StudyRootQueryRetrieveInformationModelFind
    contexts = propose([(Model.STUDY_ROOT.find, query.SYNTAXES)])
    with acceptor([(evt.EVT_C_FIND, handle)], find) as peer, Connection.open(peer, "OURS", contexts) as connection:
        found = list(query.find(connection, Model.STUDY_ROOT, asked, limit=3))
        assert [one["0020000D"].values for one in found] == [("1.2.0",), ("1.2.1",), ("1.2.2",)]
        # The association is as good as before.
        again = list(query.find(connection, Model.STUDY_ROOT, asked, limit=1))
        assert len(again) == 1
    assert cancelled.is_set()


def test_a_query_that_is_declined_says_why() -> None:
    def handle(_: Any) -> Iterator[tuple[Dataset, None]]:
        status = Dataset()
        status.Status = 0xA900
        status.ErrorComment = "no such level"
        yield status, None

    asked = levels.query(QueryLevel.STUDY, Root.STUDY, [])
    find = StudyRootQueryRetrieveInformationModelFind
    contexts = propose([(Model.STUDY_ROOT.find, query.SYNTAXES)])
    with (
        acceptor([(evt.EVT_C_FIND, handle)], find) as peer,
        Connection.open(peer, "OURS", contexts) as connection,
        pytest.raises(PeerError, match=r"declines the C-FIND: .*\(A900H\): no such level") as caught,
    ):
        list(query.find(connection, Model.STUDY_ROOT, asked))
    assert caught.value.failure is PeerFailure.DECLINED


def got(tmp_path: Path, to: Path, count: int = 3) -> tuple[query.Progress, Folder, Path]:
    path = get_testdata_file("CT_small.dcm", read=True)

    def handle(_: Any) -> Iterator[Any]:
        yield count
        for number in range(count):
            assert isinstance(path, Dataset)
            path.SOPInstanceUID = UID(f"1.2.3.{number}")
            yield 0xFF00, path

    get = StudyRootQueryRetrieveInformationModelGet
    contexts = propose([(Model.STUDY_ROOT.get, query.SYNTAXES), (CT, (EXPLICIT,))])
    folder = Folder(to, "PEER")
    identifier = levels.retrieval(QueryLevel.STUDY, Root.STUDY, ["StudyInstanceUID=1.2"])
    with acceptor([(evt.EVT_C_GET, handle)], get, CT, roles=(CT,)) as peer:
        roles = [Role(CT, scu=False, scp=True)]
        with Connection.open(peer, "OURS", contexts, roles=roles) as connection:
            *_, last = query.get(connection, Model.STUDY_ROOT, identifier, folder)
    return last, folder, tmp_path


def test_each_instance_of_a_get_becomes_a_file(tmp_path: Path) -> None:
    last, folder, _ = got(tmp_path, tmp_path)
    assert (last.completed, last.failed, folder.stored) == (3, 0, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.2.3.0.dcm", "1.2.3.1.dcm", "1.2.3.2.dcm"]


def test_what_cannot_be_written_fails_alone_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "1.2.3.1.dcm").mkdir()
    (tmp_path / "1.2.3.1.dcm" / "in the way").touch()
    last, folder, _ = got(tmp_path, tmp_path)
    assert (last.completed, last.failed, folder.stored) == (2, 1, 2)
    assert "1.2.3.1.dcm" in folder.problem
    assert not list(tmp_path.glob("*.part"))


def kinds_told(handlers: Handlers, *sop_classes: str) -> Sequence[tuple[str, Sequence[str]]]:
    identifier = levels.retrieval(QueryLevel.STUDY, Root.STUDY, ["StudyInstanceUID=1.2"])
    with acceptor(handlers, *sop_classes) as peer:
        return wanted.kinds_of(peer, "OURS", Model.STUDY_ROOT, identifier)


def test_before_a_get_the_peer_is_asked_for_the_kinds_of_what_is_wanted() -> None:
    asked: list[tuple[str, str]] = []

    def handle(event: Any) -> Iterator[tuple[int, Dataset]]:
        query_level = str(event.identifier.QueryRetrieveLevel)
        asked.append((query_level, str(event.identifier.get("SeriesInstanceUID", ""))))
        found = Dataset()
        found.StudyInstanceUID = "1.2"
        for number in range(2):
            if query_level == "SERIES":
                found.SeriesInstanceUID = f"1.2.{number}"
            else:
                found.SOPInstanceUID = f"{event.identifier.SeriesInstanceUID}.1"
                found.SOPClassUID = CT if number else MR
                found.AvailableTransferSyntaxUID = "1.2.840.10008.1.2.4.90" if number else None
            yield 0xFF00, found

    kinds = dict(kinds_told([(evt.EVT_C_FIND, handle)], StudyRootQueryRetrieveInformationModelFind))
    assert asked == [("SERIES", ""), ("IMAGE", "1.2.0"), ("IMAGE", "1.2.1")]
    assert kinds[CT] == ["1.2.840.10008.1.2.4.90", EXPLICIT, "1.2.840.10008.1.2"]
    assert set(wanted.USUAL_SYNTAXES) < set(kinds[MR])
    contexts = wanted.contexts(Model.STUDY_ROOT, kinds.items())
    assert len(contexts) <= 128
    assert {role.sop_class_uid for role in wanted.roles(contexts, Model.STUDY_ROOT)} == {CT, MR}


def decline(_: Any) -> Iterator[tuple[int, None]]:
    yield 0xA700, None


@pytest.mark.parametrize(
    ("handlers", "sop_class"),
    [([], CT), ([(evt.EVT_C_FIND, decline)], StudyRootQueryRetrieveInformationModelFind)],
    ids=["it cannot be queried", "it declines the query"],
)
def test_where_the_peer_cannot_tell_the_usual_kinds_are_proposed(handlers: Handlers, sop_class: str) -> None:
    kinds = kinds_told(handlers, sop_class)
    assert dict(kinds)[CT] == wanted.USUAL_SYNTAXES
    assert len(wanted.contexts(Model.STUDY_ROOT, kinds)) <= 128


def test_a_request_of_the_peer_is_served_on_our_association() -> None:
    reported: list[int] = []

    def service(_: PresentationContext, command: Command) -> Refused:
        assert command.field == CommandField.N_EVENT_REPORT_RQ
        reported.append(command.number(Element.EVENT_TYPE_ID) or 0)
        return Refused(Status.SUCCESS)

    answered: list[int] = []
    asked = threading.Event()

    def handle(event: Any) -> tuple[int, None]:
        def report() -> None:
            asked.wait(20)  # pynetdicom's threads would send both at once
            told = Dataset()
            told.TransactionUID = "1.2.3"
            status, _ = event.assoc.send_n_event_report(told, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
            answered.append(status.Status)

        threading.Thread(target=report).start()
        return 0, None

    with acceptor([(evt.EVT_N_ACTION, handle)], StorageCommitmentPushModel) as peer:
        contexts = propose([(StorageCommitmentPushModel, (EXPLICIT,))])
        with Connection.open(peer, "OURS", contexts) as connection:
            context = connection.context_for(StorageCommitmentPushModel)
            request = {
                Element.REQUESTED_SOP_CLASS_UID: StorageCommitmentPushModel,
                Element.REQUESTED_SOP_INSTANCE_UID: "1.2.840.10008.1.20.1.1",
                Element.COMMAND_FIELD: CommandField.N_ACTION_RQ,
                Element.ACTION_TYPE_ID: 1,
            }
            assert connection.call(context, request).number(Element.STATUS) == 0
            asked.set()
            connection.serve(service)
    assert reported == [1]
