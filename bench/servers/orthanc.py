"""Debian's Orthanc with its DICOMweb plugin and its SQLite index.

Its defaults; those that matter are written out. Files are fsynced (`SyncStorageArea`), the index is written with
`synchronous=NORMAL`. PDUs of 128 KB and more DICOM threads were tried and bring nothing.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from bench.clients.download import content
from bench.generate import Instance
from bench.servers.dicomweb import Repository
from bench.servers.process import accepts_associations, answers_http

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Orthanc(Repository):
    """The open-source peer."""

    name = "orthanc"
    what = "Debian's Orthanc and orthanc-dicomweb, SQLite index, files fsynced (SyncStorageArea), no overwriting"
    ae_title: ClassVar[str] = "ORTHANC"

    @classmethod
    def missing(cls) -> str:
        """Say whether program and plugin are there."""
        if shutil.which("Orthanc") is None:
            return "Orthanc is not installed: run bench/setup"
        return "" if PLUGIN.exists() else f"{PLUGIN.name} is not installed: run bench/setup"

    def configure(self) -> Sequence[str]:
        """Write its configuration."""
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(self.settings(), indent=2))
        return ("Orthanc", str(path))

    def settings(self) -> dict[str, Any]:
        """Its configuration; every path is in the folder."""
        # It answers C-GET and C-MOVE for listed modalities only.
        modalities = {"bench": ["BENCH", "127.0.0.1", 1]}
        if self.destination is not None:
            modalities["destination"] = [self.destination.ae_title, "127.0.0.1", self.destination.dicom_port]
        return {
            "Name": "bench",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "StorageCompression": False,
            "SyncStorageArea": True,
            "StoreMD5ForAttachments": True,
            "OverwriteInstances": False,
            "HttpPort": self.http_port,
            "HttpThreadsCount": 50,
            "KeepAlive": True,
            "TcpNoDelay": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "DicomThreadsCount": 4,
            "MaximumPduLength": 16_384,
            "DicomModalities": modalities,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": f"{self.root}/"},
        }

    def ready(self) -> bool:
        """Whether HTTP and DICOM answer."""
        return answers_http(self.http_port, "/system") and accepts_associations(self.dicom_port, self.ae_title)

    def count(self) -> int:
        """Ask its statistics."""
        return int(json.loads(content(self.http_port, "/statistics", "application/json"))["CountInstances"])

    def kept(self, instance: Instance) -> bytes:
        """Pixels only: dcmtk parses what comes by C-STORE and writes the header anew."""
        return instance.pixels()

    def deletion(self, study: str) -> str:
        """Path of a study by the identifier that Orthanc gave it."""
        return f"/studies/{self._identifier('studies', 'StudyInstanceUID', study)}"

    def series_zip(self, series: str) -> str:
        """Path of a series as a zip file, by the identifier that Orthanc gave it."""
        return f"/series/{self._identifier('series', 'SeriesInstanceUID', series)}/archive"

    def _identifier(self, kind: str, tag: str, uid: str) -> str:
        """The identifier that Orthanc gave to what has a UID."""
        all_ = json.loads(content(self.http_port, f"/{kind}?expand", "application/json"))
        return str(next(one["ID"] for one in all_ if one["MainDicomTags"][tag] == uid))
