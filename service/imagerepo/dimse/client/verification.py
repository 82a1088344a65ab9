"""C-ECHO as a service class user.

Source: PS3.7 section 9.1.5, PS3.4 Annex A (Verification Service Class).
"""

import time
from dataclasses import dataclass
from typing import Final

from imagerepo.dimse.client import failures
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.negotiation import propose
from imagerepo.dimse.messages import CommandField, Element
from imagerepo.dimse.negotiate import VERIFICATION
from imagerepo.model.peer import Peer

IMPLICIT: Final = "1.2.840.10008.1.2"


@dataclass(frozen=True, slots=True)
class Echoed:
    """An answer to a C-ECHO."""

    implementation: str  # what the peer says it is
    seconds: float  # from request to response


def echo(peer: Peer, calling_ae_title: str) -> Echoed:
    """Open an association for a C-ECHO alone. Raises PeerError."""
    with Connection.open(peer, calling_ae_title, propose([(VERIFICATION, (IMPLICIT,))])) as connection:
        return Echoed(connection.implementation, echo_over(connection))


def echo_over(connection: Connection) -> float:
    """C-ECHO on an open association; seconds that it took. Raises PeerError."""
    context = connection.context_for(VERIFICATION)
    command = {Element.AFFECTED_SOP_CLASS_UID: VERIFICATION, Element.COMMAND_FIELD: CommandField.C_ECHO_RQ}
    began = time.perf_counter()
    answer = connection.call(context, command)
    seconds = time.perf_counter() - began
    status = answer.number(Element.STATUS) or 0
    if status:
        raise failures.declined(connection.peer, "C-ECHO", status, answer.text(Element.ERROR_COMMENT))
    return seconds
