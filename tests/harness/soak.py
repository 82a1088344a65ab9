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

from imagerepo.dimse.client import query
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.negotiation import propose
from imagerepo.dimse.query_retrieve import Model
from imagerepo.model.header import Attribute
from imagerepo.model.peer import Peer
from tests.harness.dicom_file import ct, uid
from tests.harness.dimse_client import SUCCESS, DimseClient

STUDIES = 20
"""That are there from the beginning, each of INSTANCES."""
INSTANCES = 5
DESTINATION = "SOAK"
_PAUSE = {"send": 0.2, "find": 0.1, "move": 0.3}  # seconds between requests: the load is bounded
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


def _open(port: int, title: str, sop_class: str) -> Connection:
    # pynetdicom as a client loses a response now and then, in some thousands.
    peer = Peer("soak", "IMAGEREPO", "127.0.0.1", port)
    return Connection.open(peer, title, propose([(sop_class, query.SYNTAXES)]))


def _find(port: int, until: float, outcome: Outcome, which: int) -> None:
    asked = {
        "00080052": Attribute("CS", ("SERIES",)),
        "0020000D": Attribute("UI", (uid(which % STUDIES),)),
        "0020000E": Attribute("UI"),
        "00201209": Attribute("IS"),
    }
    with _open(port, f"FIND{which}", Model.STUDY_ROOT.find) as connection:
        while time.monotonic() < until:
            found = [one["00201209"].values for one in query.find(connection, Model.STUDY_ROOT, asked)]
            outcome.note(None if found == [(str(INSTANCES),)] else f"C-FIND: {found}")
            time.sleep(_PAUSE["find"])


def _move(port: int, until: float, outcome: Outcome, which: int) -> None:
    asked = {"00080052": Attribute("CS", ("STUDY",)), "0020000D": Attribute("UI", (uid(which % STUDIES),))}
    with _open(port, f"MOVE{which}", Model.STUDY_ROOT.move) as connection:
        while time.monotonic() < until:
            *_, last = query.move(connection, Model.STUDY_ROOT, asked, DESTINATION)
            sound = last.status == 0 and last.completed == INSTANCES
            outcome.note(None if sound else f"C-MOVE: {last}")
            time.sleep(_PAUSE["move"])


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
