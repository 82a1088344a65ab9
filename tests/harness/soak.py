"""Many associations at once, each held open and used again and again, from processes of their own: no GIL is shared.

`python -m tests.harness.soak KIND PORT SECONDS NUMBER`: one line of JSON, what was done and what went wrong.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from tests.harness.dicom_file import ct, uid
from tests.harness.dimse_client import SUCCESS, DimseClient

STUDIES = 20
"""That are there from the beginning, each of INSTANCES."""
INSTANCES = 5
DESTINATION = "SOAK"
_PAUSE = {"send": 0.2, "find": 0.1, "move": 0.3}  # seconds between requests: the load is bounded
_PENDING = {0xFF00, 0xFF01}
_MOST_ERRORS = 5  # told of each association


@dataclass
class Outcome:
    """What one process did."""

    done: int = 0
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, problem: str | None) -> None:
        """One request was answered, or what was wrong with its answer."""
        with self.lock:
            self.done += problem is None
            if problem is not None and len(self.errors) < _MOST_ERRORS:
                self.errors.append(problem)


def start(kind: str, port: int, seconds: float, number: int) -> "subprocess.Popen[str]":
    """Begin `number` associations of a kind."""
    command = [sys.executable, "-m", "tests.harness.soak", kind, str(port), str(seconds), str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def fill(port: int) -> None:
    """Store what is asked for and moved."""
    with DimseClient(port) as client:
        for study in range(STUDIES):
            for number in range(INSTANCES):
                file = ct(number, study=study, size=20_000)
                assert client.store(file.instance, file.data_set) == SUCCESS


def _send(port: int, until: float, outcome: Outcome, which: int) -> None:
    with DimseClient(port, calling=f"SEND{which}") as client:
        number = 0
        while time.monotonic() < until:
            number += 1
            file = ct(number, study=1000 + which, size=16_000)
            status = client.store(file.instance, file.data_set)
            outcome.note(None if status == SUCCESS else f"C-STORE {status:04X}")
            time.sleep(_PAUSE["send"])


def _find(port: int, until: float, outcome: Outcome, which: int) -> None:
    ae = AE(f"FIND{which}")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = ae.associate("127.0.0.1", port, ae_title="IMAGEREPO")
    assert association.is_established
    asked = Dataset()
    asked.QueryRetrieveLevel = "SERIES"
    asked.StudyInstanceUID = uid(which % STUDIES)
    asked.SeriesInstanceUID = ""
    asked.NumberOfSeriesRelatedInstances = ""
    while time.monotonic() < until:
        answers = list(association.send_c_find(asked, StudyRootQueryRetrieveInformationModelFind))
        found = [int(one.NumberOfSeriesRelatedInstances) for status, one in answers if status.Status in _PENDING]
        outcome.note(None if found == [INSTANCES] else f"C-FIND: {answers}")
        time.sleep(_PAUSE["find"])
    association.release()


def _move(port: int, until: float, outcome: Outcome, which: int) -> None:
    ae = AE(f"MOVE{which}")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
    association = ae.associate("127.0.0.1", port, ae_title="IMAGEREPO")
    assert association.is_established
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = uid(which % STUDIES)
    while time.monotonic() < until:
        answers = list(association.send_c_move(asked, DESTINATION, StudyRootQueryRetrieveInformationModelMove))
        status, _ = answers[-1]
        sound = status.Status == 0 and status.NumberOfCompletedSuboperations == INSTANCES
        outcome.note(None if sound else f"C-MOVE: {status}")
        time.sleep(_PAUSE["move"])
    association.release()


_KINDS: dict[str, Callable[[int, float, Outcome, int], None]] = {"send": _send, "find": _find, "move": _move}


def _guarded(kind: str, port: int, until: float, outcome: Outcome, which: int) -> None:
    try:
        _KINDS[kind](port, until, outcome, which)
    except Exception as error:  # noqa: BLE001 - the thread's edge: told to who started the process
        outcome.note(f"{kind}: {type(error).__name__}: {error}")


def main(kind: str, port: int, seconds: float, number: int) -> None:
    """Do it, say what came of it."""
    outcome = Outcome()
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=_guarded, args=(kind, port, until, outcome, which)) for which in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps({"done": outcome.done, "errors": outcome.errors}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
