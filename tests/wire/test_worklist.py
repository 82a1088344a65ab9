"""The worklist and performed procedure steps, with the clients that modalities are built on."""

import http.client
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStep,
    ModalityPerformedProcedureStepRetrieve,
    ModalityWorklistInformationFind,
)

from tests.harness.server import COMMAND, Server
from tests.wire.dimse_peer import IMPLICIT, Peer, associate_rq, command, message, ui, us

ITEM = {
    "PatientName": "Müller^Jörg",
    "PatientID": "P1",
    "PatientBirthDate": "19560304",
    "AccessionNumber": "ACC1",
    "ScheduledProcedureStepSequence": [
        {
            "Modality": "CT",
            "ScheduledStationAETitle": "CT01",
            "ScheduledProcedureStepStartDate": "20260301",
            "ScheduledProcedureStepStartTime": "1015",
            "ScheduledProcedureStepDescription": "Thorax",
        }
    ],
}
# As dcmtk's documentation of wlmscpfs asks, by findscu.
QUERY = (
    "0008,0050", "0010,0010", "0010,0020", "0020,000d", "0040,1001", "(0040,0100)[0].0008,0060=CT",
    "(0040,0100)[0].0040,0001", "(0040,0100)[0].0040,0002=20260301-", "(0040,0100)[0].0040,0003",
    "(0040,0100)[0].0040,0009", "(0040,0100)[0].0040,0020",
)  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("worklist") / "data") as one:
        yield one


@pytest.fixture
def server(running: Server) -> Server:
    """With an empty worklist."""
    for name in json.loads(ask(running, "GET", "/worklist")[1]):
        ask(running, "DELETE", f"/worklist/{name}")
    return running


def ask(server: Server, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.http, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def put(server: Server, name: str, item: dict[str, Any]) -> tuple[int, Any]:
    status, body = ask(server, "PUT", f"/worklist/{name}", json.dumps(item).encode())
    return status, json.loads(body) if status < 300 else body.decode()


def found(server: Server, folder: Path, *keys: str) -> list[Dataset]:
    """What findscu -W is answered, as it wrote it down."""
    folder.mkdir()
    asked = [part for key in (*QUERY, *keys) for part in ("-k", key)]
    command = [
        "findscu",
        "-W",
        "-X",
        "-od",
        str(folder),
        "-aec",
        "IMAGEREPO",
        *asked,
        "127.0.0.1",
        str(server.dimse),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return [Dataset.from_json(json.loads(one)) for one in _as_json(sorted(folder.iterdir()))]


def _as_json(files: list[Path]) -> list[str]:
    return [
        subprocess.run(["dcm2json", str(file)], check=True, capture_output=True, timeout=60, text=True).stdout
        for file in files
    ]


def test_findscu_finds_what_was_put(server: Server, tmp_path: Path) -> None:
    status, stored = put(server, "A1", ITEM)
    assert status == 201
    (answer,) = found(server, tmp_path / "found")
    assert answer.PatientName == "Müller^Jörg"
    assert answer.AccessionNumber == "ACC1"
    assert answer.StudyInstanceUID == stored["0020000D"]["Value"][0]
    (step,) = answer.ScheduledProcedureStepSequence
    assert (step.Modality, step.ScheduledStationAETitle, step.ScheduledProcedureStepID) == ("CT", "CT01", "A1")
    assert step.ScheduledProcedureStepStatus == "SCHEDULED"


@pytest.mark.parametrize(
    ("key", "matches"),
    [
        ("0010,0010=mÜLLER*", True),
        ("0010,0010=Other*", False),
        ("(0040,0100)[0].0040,0001=CT02", False),
        ("(0040,0100)[0].0040,0002=20260228-20260302", True),
        ("(0040,0100)[0].0040,0002=20260302-", False),
        ("0010,0020=P1", True),
        ("0010,0020=P2", False),
    ],
)
def test_keys_match_in_and_above_the_step(server: Server, tmp_path: Path, key: str, *, matches: bool) -> None:
    put(server, "A1", ITEM)
    assert len(found(server, tmp_path / "found", "0008,0005=ISO_IR 192", key)) == matches


def test_a_range_of_date_and_time_is_one_of_moments(server: Server, tmp_path: Path) -> None:
    put(server, "A1", ITEM)
    day = "(0040,0100)[0].0040,0002=20260228-20260301"
    assert len(found(server, tmp_path / "in", day, "(0040,0100)[0].0040,0003=1800-1100")) == 1
    assert found(server, tmp_path / "out", day, "(0040,0100)[0].0040,0003=0000-1000") == []


def test_a_time_that_is_no_range_is_asked_for_of_each_day(server: Server, tmp_path: Path) -> None:
    put(server, "A1", ITEM)
    days = "(0040,0100)[0].0040,0002=20260228-20260302"
    assert len(found(server, tmp_path / "in", days, "(0040,0100)[0].0040,0003=1015")) == 1
    assert found(server, tmp_path / "out", days, "(0040,0100)[0].0040,0003=1200") == []


def test_a_query_that_finds_nothing_is_cancelled_too(server: Server) -> None:
    put(server, "A1", ITEM)
    model = str(ModalityWorklistInformationFind)
    asked = command(ui(0x2, model), us(0x100, 0x20), us(0x110, 9), us(0x700, 0), us(0x800, 1))
    cancel = message(1, command(us(0x100, 0xFFF), us(0x120, 9), us(0x800, 0x101)))
    nobody = b"\x10\0\x10\0\x06\0\0\0Nobody"
    with Peer(server.dimse) as peer:
        peer.associate(associate_rq(contexts=((1, model, (IMPLICIT,)),)))
        peer.send(message(1, asked, nobody) + cancel)
        assert peer.response().status == 0xFE00
        peer.release()


def performed(server: Server, study: str, step_id: str = "A1") -> tuple[str, AE, Any]:
    ae = AE("CT01")
    ae.add_requested_context(ModalityPerformedProcedureStep)
    ae.add_requested_context(ModalityPerformedProcedureStepRetrieve)
    association = ae.associate("127.0.0.1", server.dimse, ae_title="IMAGEREPO")
    assert association.is_established
    uid = generate_uid()
    status, _ = association.send_n_create(beginning(study, step_id), ModalityPerformedProcedureStep, uid)
    assert status.Status == 0
    return uid, ae, association


def beginning(study: str, step_id: str = "A1") -> Dataset:
    scheduled = Dataset()
    scheduled.StudyInstanceUID = study
    scheduled.ScheduledProcedureStepID = step_id
    step = Dataset()
    step.SpecificCharacterSet = "ISO_IR 100"
    step.ScheduledStepAttributesSequence = Sequence([scheduled])
    step.PatientName = "Müller^Jörg"
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PerformedProcedureStepID = "PPS1"
    step.PerformedStationAETitle = "CT01"
    step.Modality = "CT"
    step.PerformedSeriesSequence = Sequence([])
    return step


def ending(status: str = "COMPLETED") -> Dataset:
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    step.PerformedProcedureStepEndDate = "20260301"
    return step


def test_a_step_that_is_performed_leaves_the_worklist_and_stays_with_its_study(server: Server, tmp_path: Path) -> None:
    _, stored = put(server, "A9", ITEM)
    study = stored["0020000D"]["Value"][0]
    uid, _, association = performed(server, study, "A9")
    (answer,) = found(server, tmp_path / "started")
    assert answer.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus == "STARTED"
    status, _ = association.send_n_set(ending(), ModalityPerformedProcedureStep, uid)
    assert status.Status == 0
    assert found(server, tmp_path / "ended") == []
    status, _ = association.send_n_set(ending(), ModalityPerformedProcedureStep, uid)
    assert (status.Status, status.ErrorID) == (0x0110, 0xA710)
    status, told = association.send_n_get([], ModalityPerformedProcedureStepRetrieve, uid)
    assert (status.Status, told.PerformedProcedureStepStatus) == (0, "COMPLETED")
    association.release()
    _, body = ask(server, "GET", f"/study/{study}/performed-steps")
    (told,) = json.loads(body)
    assert told["00080018"]["Value"] == [uid]
    assert told["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]


def test_wrong_steps_are_refused_with_the_standard_s_status(server: Server) -> None:
    uid, _, association = performed(server, "1.2.3")
    status, _ = association.send_n_create(beginning("1.2.3"), ModalityPerformedProcedureStep, uid)
    assert status.Status == 0x0111
    status, _ = association.send_n_set(ending(), ModalityPerformedProcedureStep, "1.2.3.4")
    assert status.Status == 0x0112
    status, _ = association.send_n_set(ending("DONE"), ModalityPerformedProcedureStep, uid)
    assert status.Status == 0x0106
    status, _ = association.send_n_create(beginning(""), ModalityPerformedProcedureStep, generate_uid())
    assert status.Status == 0x0120
    long = ending("IN PROGRESS")
    long.TextValue = "x" * 900_000
    statuses = [association.send_n_set(long, ModalityPerformedProcedureStep, uid)[0].Status]
    more = ending("IN PROGRESS")
    more.SelectorUTValue = "x" * 200_000
    statuses.append(association.send_n_set(more, ModalityPerformedProcedureStep, uid)[0].Status)
    assert statuses == [0, 0x0110]
    status, _ = association.send_n_create(ending("IN PROGRESS"), ModalityPerformedProcedureStep, generate_uid())
    assert status.Status == 0x0120
    association.release()


def test_pynetdicom_finds_in_explicit_and_implicit(server: Server) -> None:
    put(server, "A1", ITEM)
    ae = AE()
    ae.add_requested_context(ModalityWorklistInformationFind)
    association = ae.associate("127.0.0.1", server.dimse, ae_title="IMAGEREPO")
    asked = Dataset()
    asked.PatientName = "*"
    asked.ScheduledProcedureStepSequence = Sequence([])
    answers = [one for status, one in association.send_c_find(asked, ModalityWorklistInformationFind) if one]
    association.release()
    assert [one.ScheduledProcedureStepSequence[0].Modality for one in answers] == ["CT"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"PatientID": ""}, "PatientID"),
        ({"PatientBirthDate": "4.3.1956"}, "PatientBirthDate"),
        ({"Nonsense": 1}, "Nonsense"),
        ({"ScheduledProcedureStepSequence": []}, "ScheduledProcedureStepSequence has 0 items"),
        ({"StudyInstanceUID": "1.2.x"}, "StudyInstanceUID"),
        ({"AccessionNumber": "A" * 17}, "AccessionNumber"),
    ],
)
def test_an_item_that_no_modality_could_use_is_refused_and_named(
    server: Server, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    status, said = put(server, "A1", {**ITEM, **change})
    assert status == 400
    assert named in said
    assert found(server, tmp_path / "found") == []


def test_the_command_adds_lists_and_removes(server: Server) -> None:
    url = ("--to", f"http://127.0.0.1:{server.http}")

    def run(*arguments: str) -> str:
        command = [str(COMMAND), "worklist", *arguments, *url]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    run(
        "add", "A7", "--patient-name", "Doe^Jane", "--patient-id", "P7", "--modality", "MR", "--station", "MR01",
        "--date", "20260302", "--time", "0830",
    )  # fmt: skip
    listed = run("list")
    assert "A7" in listed
    assert "Doe^Jane" in listed
    run("remove", "A7")
    assert run("list") == ""


def test_items_outlive_a_kill(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        put(server, "A1", ITEM)
        server.kill()
    with Server(tmp_path / "data") as server:
        assert len(found(server, tmp_path / "found")) == 1
