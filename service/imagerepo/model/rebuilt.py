"""What came of making the index of a cluster anew."""

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Rebuilt:
    """How far it has come; all of it is what this run did."""

    institutions: int = 0
    commits: int = 0  # rows of the journal, from the ledger
    objects: int = 0  # that lie in the buckets
    studies: int = 0  # that were looked at
    studies_in_all: int = 0
    instances: int = 0  # versions that got rows, from journal lines
    recovered: int = 0  # versions that no journal line names, from objects alone
    lost: int = 0  # versions that the journal names, and whose bytes nobody has
    damaged: int = 0  # objects, of the ledger too, and instances that cannot be read

    def add(self, other: "Rebuilt") -> None:
        """Count what a part of it did."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def is_whole(self) -> bool:
        """Whether all that was ever acknowledged, as far as it is known, is there."""
        return not (self.lost or self.damaged)
