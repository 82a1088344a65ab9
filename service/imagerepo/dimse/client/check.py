"""What a peer accepts: asked by proposing, so that nothing is stored or changed there.

Source: PS3.8 section 7.1.1.13 (Presentation Context Definition Result List).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.negotiation import MOST_CONTEXTS, propose
from imagerepo.dimse.client.verification import IMPLICIT, echo_over
from imagerepo.dimse.client.wanted import USUAL_SYNTAXES
from imagerepo.dimse.negotiate import VERIFICATION, storage_sop_classes
from imagerepo.dimse.query_retrieve import Model
from imagerepo.errors import PeerError, PeerFailure
from imagerepo.model.peer import Peer

SERVICES: Final[Mapping[str, str]] = {
    "C-FIND study root": Model.STUDY_ROOT.find,
    "C-MOVE study root": Model.STUDY_ROOT.move,
    "C-GET study root": Model.STUDY_ROOT.get,
    "C-FIND patient root": Model.PATIENT_ROOT.find,
    "C-MOVE patient root": Model.PATIENT_ROOT.move,
    "C-GET patient root": Model.PATIENT_ROOT.get,
    "storage commitment": "1.2.840.10008.1.20.1",
    "worklist": "1.2.840.10008.5.1.4.31",
    "MPPS": "1.2.840.10008.3.1.2.3.3",
}
"""What is asked about beside storage."""
_UNCOMPRESSED: Final = ("1.2.840.10008.1.2.1", IMPLICIT)
_PROBE: Final = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture: the class that most take in most encodings


@dataclass(frozen=True, slots=True)
class Checked:
    """What a peer accepts."""

    implementation: str
    seconds: float | None  # that a C-ECHO took; None: it does not take C-ECHO
    services: Mapping[str, bool]  # by the names of SERVICES
    storage: frozenset[str]  # SOP classes that it stores
    compressed: frozenset[str]  # of the usual compressed transfer syntaxes those that it takes

    def __str__(self) -> str:
        """One line."""
        yes = [name for name, accepted in self.services.items() if accepted]
        no = [name for name, accepted in self.services.items() if not accepted]
        said = "C-ECHO not accepted" if self.seconds is None else f"C-ECHO in {self.seconds * 1000:.1f} ms"
        storage = f"storage of {len(self.storage)} SOP classes" if self.storage else "no storage"
        if self.compressed:
            storage += f" in {len(self.compressed)} compressed syntaxes"
        refused = f"; not {', '.join(no)}" if no else ""
        return f"{said}; accepts {', '.join([storage, *yes])}{refused}"


def check(peer: Peer, calling: str) -> Checked:
    """Ask a peer what it accepts, over a few associations, one after another.

    Raises:
        PeerError: it is unreachable, rejects the association, or does nothing of what is asked about.
    """
    seconds: float | None = None
    implementation = ""
    accepted: set[str] = set()
    compressed: set[str] = set()
    first = True
    for batch in _batches():
        with Connection.open(peer, calling, propose(batch)) as connection:
            for context in connection.accepted.values():
                if context.transfer_syntax in _UNCOMPRESSED:
                    accepted.add(context.abstract_syntax)
                else:
                    compressed.add(context.transfer_syntax)
            if first and VERIFICATION in accepted:
                seconds = echo_over(connection)
            implementation = implementation or connection.implementation
        first = False
    if not accepted:
        raise PeerError(f"{peer} accepts none of what it was asked about", PeerFailure.REFUSED)
    services = {name: sop_class in accepted for name, sop_class in SERVICES.items()}
    storage = frozenset(accepted & storage_sop_classes())
    return Checked(implementation, seconds, services, storage, frozenset(compressed))


def _batches() -> Iterator[Sequence[tuple[str, Sequence[str]]]]:
    """What is proposed in each association: services first, then storage."""
    asked: list[tuple[str, Sequence[str]]] = [(VERIFICATION, (IMPLICIT,))]
    asked += [(sop_class, _UNCOMPRESSED) for sop_class in SERVICES.values()]
    asked += [(_PROBE, (syntax,)) for syntax in USUAL_SYNTAXES if syntax not in _UNCOMPRESSED]
    asked += [(sop_class, _UNCOMPRESSED) for sop_class in sorted(storage_sop_classes())]
    for start in range(0, len(asked), MOST_CONTEXTS):
        yield asked[start : start + MOST_CONTEXTS]
