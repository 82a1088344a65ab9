"""What is asked of the service, so that a table says whether it was reached. Nothing fails for a missed target."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """Against peers and against the clock, for one metric of one workload."""

    ratios: Mapping[str, float] = field(default_factory=dict[str, float])
    """How many times better than each peer, at least."""

    bound: float | None = None
    """In the metric's unit: at most where lower is better, at least where higher is."""


TARGETS: Mapping[tuple[str, str], Target] = {
    ("cstore-1", "instances"): Target({"orthanc": 1.5, "pynetdicom": 2}),
    ("cstore-4", "instances"): Target({"orthanc": 1.5, "pynetdicom": 3}),
    ("cstore-small-4", "instances"): Target({"orthanc": 3}),
    ("stow-50", "instances"): Target({"orthanc": 3}),
    ("stow-small", "instances"): Target({"orthanc": 3}),
    ("nagle", "storescu"): Target(bound=0.5),
    ("nagle", "dcmsend"): Target(bound=0.5),
    ("wado-instance", "requests"): Target({"orthanc": 3, "nginx": 0.4}),
    ("wado-study", "first read after ingest"): Target({"orthanc": 3}),
    ("wado-study", "throughput"): Target({"orthanc": 3}),
    ("series-zip", "throughput"): Target(bound=800),
    ("series-zip", "whole"): Target(bound=0.8),
    ("metadata-500", "first request right after ingest"): Target({"orthanc": 10}),
    ("metadata-500", "first request 2 s after ingest"): Target({"orthanc": 10}),
    ("metadata-500", "repeated"): Target({"orthanc": 10}),
    ("cfind-1000", "whole answer"): Target({"orthanc": 5}),
    ("cmove-500", "instances"): Target({"orthanc": 2}),
    ("cmove-500", "of our sender from memory"): Target(bound=0.7),
    ("cget-500", "instances"): Target({"orthanc": 2}),
    ("delete-500", "gone"): Target(bound=0.05),
    ("scale", "C-FIND p95, many ÷ few"): Target(bound=1.5),
    ("qido", "requests"): Target({"orthanc": 10}),
    ("scale", "QIDO p95, many ÷ few"): Target(bound=1.5),
    ("scale", "C-STORE p95, many ÷ few"): Target(bound=1.5),
    # On Ceph and PostgreSQL.
    ("put-stow", "instances"): Target({"obstore": 0.7}),
    ("put-cstore", "instances"): Target({"obstore": 0.7}),
    ("get", "requests"): Target({"obstore": 0.6}),
    ("series-500", "throughput"): Target({"one by one": 2}),
    ("metadata", "first request right after ingest"): Target(bound=0.05),
    ("metadata", "first request 2 s after ingest"): Target(bound=0.05),
    ("metadata", "repeated"): Target(bound=0.05),
    ("ingest-2000", "instances"): Target({"one by one": 5, "obstore": 5}),
    ("ingest-2000", "objects"): Target(bound=4),
    ("stow-4-replicas", "instances"): Target(bound=800),
    **{
        ("qido-scale", f"{question}, p95, many ÷ few"): Target(bound=1.5)
        for question in ("newest", "Patient ID", "part of a name", "dates", "series of a study")
    },
}
NONE = Target()
