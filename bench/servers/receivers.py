"""Receivers that only write files: no index, no fsync. What C-STORE costs without being a repository."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.generate import Instance
from bench.servers.process import Server, ServerError, accepts_associations

PYNETDICOM_SCRIPT = Path(__file__).with_name("pynetdicom_scp.py")
SINK_SCRIPT = Path(__file__).with_name("sink.py")


class Receiver(Server):
    """Writes one file an instance into `received`."""

    def ready(self) -> bool:
        """Whether it takes associations."""
        return accepts_associations(self.dicom_port, self.ae_title)

    def check_holds(self, instances: list[Instance]) -> None:
        """Raise ServerError unless there is a file for each instance, and no smaller than it."""
        files = [file.stat().st_size for file in self.received.iterdir()]
        expected = instances[0].path.stat().st_size - instances[0].data_set_offset
        if len(files) != len(instances) or min(files) < expected:
            raise ServerError(f"{self.name} acknowledged {len(instances)} instances and wrote {len(files)} files")

    @property
    def received(self) -> Path:
        """The folder it writes to."""
        return self.folder / "received"

    def populate(self) -> None:
        """Make that folder."""
        super().populate()
        self.received.mkdir()


class Storescp(Receiver):
    """dcmtk's receiver."""

    name = "storescp"
    what = "dcmtk's storescp --fork --max-pdu 131072 +B (bytes written as they come); no index, no fsync"
    ae_title: ClassVar[str] = "STORESCP"

    @classmethod
    def missing(cls) -> str:
        """Say whether it is installed."""
        return "" if shutil.which("storescp") else "storescp is not installed: run bench/setup"

    def configure(self) -> Sequence[str]:
        """Return its command line."""
        options = ("--fork", "--max-pdu", "131072", "+B", "-aet", self.ae_title)
        return ("storescp", *options, "-od", str(self.received), str(self.dicom_port))


class Pynetdicom(Receiver):
    """The usual way to receive in Python."""

    name = "pynetdicom"
    what = "a pynetdicom SCP whose handler writes event.encoded_dataset() and does nothing else; no index, no fsync"
    ae_title: ClassVar[str] = "PYNETDICOM"

    @classmethod
    def missing(cls) -> str:
        """Nothing: the service itself depends on it."""
        return ""

    def configure(self) -> Sequence[str]:
        """Return its command line."""
        return (sys.executable, str(PYNETDICOM_SCRIPT), str(self.dicom_port), self.ae_title, str(self.received))


class Sink(Server):
    """Reads, answers, keeps nothing: how fast the client could be."""

    name = "sink"
    what = "a loop that answers and throws away: not a peer, but the ceiling that client and loopback set"
    ae_title: ClassVar[str] = "SINK"

    @classmethod
    def missing(cls) -> str:
        """Nothing: it is a script here."""
        return ""

    def configure(self) -> Sequence[str]:
        """Return its command line."""
        return (sys.executable, str(SINK_SCRIPT), str(self.dicom_port))

    def ready(self) -> bool:
        """Whether it takes associations."""
        return accepts_associations(self.dicom_port, self.ae_title)

    def check_holds(self, instances: list[Instance]) -> None:
        """Nothing to check: it promises nothing."""
