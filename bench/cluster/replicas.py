"""Ours as replicas: one that clients ask directly, or four behind the bed's HAProxy."""

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import yaml

from bench.cluster.on_bed import OnBed, buckets, keys_in, missing_bed
from bench.servers.imagerepo import PROGRAM, Imagerepo
from bench.servers.process import Nagle, Usage
from tests.testbed import plan, replica_settings
from tests.testbed.bed import Bed
from tests.testbed.replica_settings import Shared

INSTITUTION = "default"


class Replica(OnBed, Imagerepo):
    """`imagerepo serve` over a database and buckets of its own, a worker a core."""

    name = "ours"
    what = "imagerepo serve on the bed, one replica, asked directly, a worker a core"
    below: ClassVar[tuple[str, ...]] = ("postgres", "osd", "rgw", "mon")
    batch: ClassVar[int] = 0
    """Instances in one request where a workload stores a series; 0: all."""

    def __init__(self, folder: Path, bed: Bed, nagle: Nagle = Nagle.OFF) -> None:
        super().__init__(folder, bed, nagle)
        self.prefix = ""
        self.settings = Path()

    @classmethod
    def missing(cls) -> str:
        """Say whether the package and the bed's programs are installed."""
        return super().missing() or missing_bed()

    def populate(self) -> None:
        """Make a database with the schema, and settings that name it."""
        super().populate()
        database = self.lasting.enter_context(self.bed.postgres.database())
        self.prefix = self.lasting.enter_context(buckets(self.bed, f"b-{uuid.uuid4().hex[:12]}"))
        self.settings = replica_settings.write(self.folder, self.bed.plan, Shared(database, self.prefix))
        self.ask_directly()
        replica_settings.upgrade_schema(self.settings)

    def ask_directly(self) -> None:
        """Take requests as they come, without the header that the balancer puts before them."""
        values = yaml.safe_load(self.settings.read_text(encoding="utf-8"))
        del values["trusted_proxies"]
        self.settings.write_text(yaml.safe_dump(values), encoding="utf-8")

    def configure(self) -> Sequence[str]:
        """Return the documented command."""
        return _command(self, os.cpu_count() or 1)

    def objects(self) -> int:
        """How many objects its bucket has."""
        return len(keys_in(self.bed, f"{self.prefix}-{INSTITUTION}"))


class Singly(Replica):
    """Stores each instance for itself."""

    name = "one by one"
    what = (
        "the same replica; each instance is sent when the one before is answered, so that it is an object of its own"
    )
    batch: ClassVar[int] = 1


class OneOfFour(Imagerepo):
    """One replica behind the balancer."""

    def __init__(self, settings: Path, bed: Bed, place: plan.Replica) -> None:
        super().__init__(settings.with_name(place.name))
        self.settings = settings
        self.bed = bed
        self.place = place
        self.http_port, self.dicom_port = place.http_port, place.dimse_port

    def configure(self) -> Sequence[str]:
        """Return the documented command."""
        return _command(self, 1)

    def ready(self) -> bool:
        """Whether the balancer gives it connections."""
        return all(self.bed.haproxy.replicas(backend).get(self.place.name) == "UP" for backend in ("http", "dimse"))


class FourReplicas(Replica):
    """Four replicas of one repository; its ports are HAProxy's."""

    what = "imagerepo serve on the bed, four replicas of one worker each, behind HAProxy"
    below: ClassVar[tuple[str, ...]] = (*Replica.below, "haproxy")

    def __init__(self, folder: Path, bed: Bed, nagle: Nagle = Nagle.OFF) -> None:
        super().__init__(folder, bed, nagle)
        self.http_port, self.dicom_port = bed.plan.haproxy.http_port, bed.plan.haproxy.dimse_port
        self.all: list[OneOfFour] = []

    def ask_directly(self) -> None:
        """It is not: settings stay as they are."""

    def __enter__(self) -> Self:
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.populate()
            for place in self.bed.plan.haproxy.replicas:
                self.all.append(self.lasting.enter_context(OneOfFour(self.settings, self.bed, place)))
        except BaseException:
            self.lasting.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # They end before their folders go.
        self.lasting.close()
        super().__exit__(kind, error, trace)

    def own_usage(self) -> Usage:
        """Of all replicas."""
        used = [one.own_usage() for one in self.all]
        return Usage(sum(one.cpu for one in used), sum(one.peak_resident for one in used))


def _command(server: Replica | OneOfFour, workers: int) -> Sequence[str]:
    return (
        *(str(PROGRAM), "serve", "--config", str(server.settings), "--data", str(server.folder / "data")),
        *("--listen", f"127.0.0.1:{server.http_port}", "--dicom-listen", f"127.0.0.1:{server.dicom_port}"),
        *("--ae-title", server.ae_title, "--workers", str(workers)),
    )
