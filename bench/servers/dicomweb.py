"""What the two repositories, ours and Orthanc, have in common: DICOMweb paths and how to count with them."""

import json
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

from bench.clients.download import content
from bench.generate import Instance
from bench.servers.process import Server, ServerError

JSON = "application/dicom+json"
# Any transfer syntax: the bytes as they are stored, so that no server transcodes (PS3.18 section 8.7.3.5.2).
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class Repository(Server):
    """A server that stores, finds and gives back."""

    root: ClassVar[str] = "/dicom-web"
    destination: Server | None = None
    """Where C-MOVE may send to; to be set before the start."""

    @abstractmethod
    def count(self) -> int:
        """How many instances it says that it holds."""

    @abstractmethod
    def series_zip(self, series: str) -> str:
        """Path of a series as a zip file."""

    @abstractmethod
    def deletion(self, study: str) -> str:
        """Path whose DELETE removes a study."""

    def kept(self, instance: Instance) -> bytes:
        """What of an instance must come back byte for byte: all of its data set."""
        return instance.data_set()

    def study(self, study: str) -> str:
        """Path of a study (PS3.18 section 10.4.1)."""
        return f"{self.root}/studies/{study}"

    def instance(self, instance: Instance) -> str:
        """Path of an instance."""
        return f"{self.study(instance.study)}/series/{instance.series}/instances/{instance.uid}"

    def count_found(self, study: str) -> int:
        """Count a study's instances with QIDO, page by page."""
        page, total = 500, 0
        while True:
            path = f"{self.study(study)}/instances?limit={page}&offset={total}"
            found = len(json.loads(content(self.http_port, path, JSON) or b"[]"))
            total += found
            if found == 0:
                return total

    def check_holds(self, instances: list[Instance], kept: Callable[[Instance], bytes] | None = None) -> None:
        """Raise ServerError unless it counts all, and gives the first and last back as `kept` says, or its own one."""
        kept = kept or self.kept
        if (held := self.count()) != len(instances):
            raise ServerError(f"{self.name} acknowledged {len(instances)} instances and holds {held}")
        for instance in (instances[0], instances[-1]):
            if kept(instance) not in content(self.http_port, self.instance(instance), AS_STORED):
                raise ServerError(f"{self.name} gives {instance.uid} back with other bytes")
