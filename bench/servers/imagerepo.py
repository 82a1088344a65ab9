"""Ours, as `make run` starts it, with one worker a core."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.clients.download import content
from bench.servers.dicomweb import JSON, Repository
from bench.servers.process import accepts_associations, answers_http

PROGRAM = Path(sys.executable).with_name("imagerepo")


class Imagerepo(Repository):
    """The service under test."""

    name = "ours"
    what = "imagerepo serve, a worker a core, durable and fully indexed before each acknowledgement"
    settling: ClassVar[float] = 2.5  # its processes of lower priority begin two seconds after it
    ae_title: ClassVar[str] = "IMAGEREPO"

    @classmethod
    def missing(cls) -> str:
        """Say whether the package is installed beside this interpreter."""
        return "" if PROGRAM.exists() else f"{PROGRAM.name} is not beside this Python: run `make install`"

    def configure(self) -> Sequence[str]:
        """Return the documented command."""
        more: tuple[str, ...] = ()
        if self.destination is not None:
            where = {"name": "destination", "ae_title": self.destination.ae_title, "host": "127.0.0.1"}
            settings = self.folder / "settings.yaml"
            settings.write_text(json.dumps({"nodes": [where | {"port": self.destination.dicom_port}]}))
            more = ("--config", str(settings))
        return (
            str(PROGRAM),
            "serve",
            *("--data", str(self.folder / "data")),
            *("--listen", f"127.0.0.1:{self.http_port}"),
            *("--dicom-listen", f"127.0.0.1:{self.dicom_port}"),
            *("--ae-title", self.ae_title),
            *("--workers", str(os.cpu_count() or 1)),
            *more,
        )

    def ready(self) -> bool:
        """Whether it reads and takes associations."""
        return answers_http(self.http_port, "/readyz") and accepts_associations(self.dicom_port, self.ae_title)

    def count(self) -> int:
        """Count every study's instances with QIDO."""
        total = studies = 0
        while True:
            path = f"{self.root}/studies?limit=100&offset={studies}"
            page = json.loads(content(self.http_port, path, JSON) or b"[]")
            if not page:
                return total
            studies += len(page)
            total += sum(self.count_found(study["0020000D"]["Value"][0]) for study in page)

    def deletion(self, study: str) -> str:
        """Path of a study, with the reason that is asked for."""
        return f"{self.study(study)}?reason=bench"

    def series_zip(self, series: str) -> str:
        """Path of a series as a zip file."""
        return f"/series/{series}"
