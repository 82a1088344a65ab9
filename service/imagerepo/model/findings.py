"""What `imagerepo fsck` finds: where index and stored bytes do not fit each other."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum


class Fault(StrEnum):
    """What is wrong at one place."""

    OBJECT_MISSING = "object-missing"  # rows name it, and it is not there
    OBJECT_RESIZED = "object-resized"  # it has not the bytes that its row says
    OBJECT_FOREIGN = "object-foreign"  # nothing here gave it its name
    OBJECT_COUNT = "object-count"  # it does not have as many versions as its row says
    RANGE_OUTSIDE = "range-outside"  # of an object's bytes
    RANGE_ELSEWHERE = "range-elsewhere"  # in an object of another series
    VERSION_INCOMPLETE = "version-incomplete"  # without a copy, or a copy without all of its bytes
    VERSION_UNINDEXED = "version-unindexed"  # the journal names it, the index does not
    VERSION_UNKNOWN = "version-unknown"  # the index names it, the journal does not
    INSTANCE_CURRENT = "instance-current"  # its last version is not the current one
    ROW_ASTRAY = "row-astray"  # what it belongs to is not there
    COUNT = "count"  # of series or instances of a study, of instances of a series
    HOLDINGS = "holdings"  # sums of an institution


class Treatment(Enum):
    """What is done about findings."""

    REPORT = "report"
    REPAIR = "repair"  # what follows from all else; the rest is reported


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    fault: Fault
    institution: str
    place: str  # a UID, or a key
    said: str  # one sentence
    repaired: bool = False


@dataclass(slots=True)
class Examined:
    """How far an examination has come."""

    studies: int = 0
    series: int = 0
    instances: int = 0
    objects: int = 0  # that rows name
    stored: int = 0  # objects that were met in the store
    bytes: int = 0  # of these
    unnamed: int = 0  # objects that no row names, and that are no fault: they are swept
    unnamed_bytes: int = 0
    found: dict[Fault, int] = field(default_factory=dict[Fault, int])
    repaired: int = 0

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        self.found[finding.fault] = self.found.get(finding.fault, 0) + 1
        self.repaired += finding.repaired

    @property
    def left(self) -> int:
        """Findings that were not repaired."""
        return sum(self.found.values()) - self.repaired
