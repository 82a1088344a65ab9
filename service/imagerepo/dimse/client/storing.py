"""Sending instances: C-STORE, over one association as long as the peer takes what it is offered.

Each kind of instance (SOP class and transfer syntax) is a presentation context of its own, so that the peer tells
for each whether it takes it. An association has 128 at the most: for what it has no context for, it is released and
another one is opened.

Source: PS3.7 sections 9.1.1 and 9.3.1 (C-STORE), PS3.4 Annex B (Storage Service Class).
"""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from imagerepo.dimse.client import failures
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.negotiation import MOST_CONTEXTS, propose
from imagerepo.dimse.messages import CommandField, Element, Value
from imagerepo.dimse.negotiate import PresentationContext
from imagerepo.dimse.outgoing import Begun, Outgoing
from imagerepo.errors import ImagerepoError, PeerError
from imagerepo.model.instance import Version
from imagerepo.model.peer import Peer
from imagerepo.ports.peers import Kind, Originator, Priority, Sent


def _nothing() -> None:
    """What is done while an answer is on its way, unless there is something to do."""


class Storing:
    """Sends data sets to one peer. Leaving the context releases the association, or aborts it after an error."""

    def __init__(
        self,
        peer: Peer,
        calling_ae_title: str,
        kinds: Collection[Kind],
        *,
        originator: Originator | None = None,
        priority: Priority = Priority.MEDIUM,
    ) -> None:
        """Open an association for as many of `kinds` as it can have. Raises PeerError."""
        self._peer = peer
        self._calling = calling_ae_title
        self._batches = list(_batches(list(dict.fromkeys(kinds)))) or [[]]
        self._request: dict[Element, Value] = {
            Element.COMMAND_FIELD: CommandField.C_STORE_RQ,
            Element.PRIORITY: priority,
        }
        if originator is not None:
            self._request[Element.MOVE_ORIGINATOR_AE_TITLE] = originator.ae_title
            self._request[Element.MOVE_ORIGINATOR_MESSAGE_ID] = originator.message_id
        self._proposed: list[Kind] = []
        self._contexts: dict[Kind, PresentationContext] = {}
        self._changing = threading.Lock()
        self._stopped = False
        self._connection = self._open(self._batches[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.__exit__(kind, error, traceback)

    def stop(self) -> None:
        """End it at once, whatever its thread waits for. May be called by any thread."""
        with self._changing:
            self._stopped = True
            self._connection.stop()

    def accepts(self, kind: Kind) -> bool:
        """Whether the peer takes that kind, as far as it was asked on the present association."""
        return kind in self._contexts

    def begun(self, kind: Kind, data: Outgoing) -> Outgoing:
        """The data set of what comes next, its first bytes read if its context is known; raises what that does."""
        context = self._contexts.get(kind)
        return data if context is None else Begun(data, self._connection.framing(context))

    def store(self, kind: Kind, instance_uid: str, data: Outgoing, meanwhile: Callable[[], object] = _nothing) -> Sent:
        """Send one instance, wait for the answer; after an error the next one opens another association.

        `meanwhile` is called when all is sent, before the answer is waited for; it must not raise.

        Raises:
            PeerError: the peer refuses this kind (REFUSED), which leaves the association open; or it is gone.
        """
        if kind not in self._proposed or not self._connection.is_open:
            self._switch(kind)
        context = self._contexts.get(kind)
        if context is None:
            number = 2 * self._proposed.index(kind) + 1
            what = f"SOP class {kind[0]} in transfer syntax {kind[1]}"
            raise failures.refused(self._peer, what, self._connection.answers.get(number))
        command = {
            **self._request,
            Element.AFFECTED_SOP_CLASS_UID: kind[0],
            Element.AFFECTED_SOP_INSTANCE_UID: instance_uid,
        }
        conversation = self._connection.calls(context, command, data)
        meanwhile()
        *_, told = conversation
        answer = told.command
        return Sent(answer.number(Element.STATUS) or 0, answer.text(Element.ERROR_COMMENT))

    def _switch(self, kind: Kind) -> None:
        """Go on over an association that has a context for `kind`."""
        batch = next((batch for batch in self._batches if kind in batch), None)
        if batch is None:
            if len(self._batches[-1]) == MOST_CONTEXTS:
                self._batches.append([])
            batch = self._batches[-1]
            batch.append(kind)
        with suppress(PeerError):  # what was sent is answered already
            self._connection.release()
        connection = self._open(batch)
        with self._changing:
            self._connection = connection
            if self._stopped:
                connection.stop()

    def _open(self, batch: Sequence[Kind]) -> Connection:
        self._proposed = list(batch) or [_VERIFICATION]
        contexts = propose((sop_class, (syntax,)) for sop_class, syntax in self._proposed)
        connection = Connection.open(self._peer, self._calling, contexts)
        self._contexts = {
            (context.abstract_syntax, context.transfer_syntax): context for context in connection.accepted.values()
        }
        return connection


class VersionSending:
    """Sends stored versions: ports.peers.Stoppable."""

    def __init__(self, storing: Storing, outgoing: Callable[[Version], Outgoing]) -> None:
        """Send over an open way; `outgoing` reads a version's data set."""
        self._storing = storing
        self._outgoing = outgoing
        self._begun: tuple[Version, Outgoing] | None = None  # what comes next, its first bytes read

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._storing.__exit__(kind, error, traceback)

    def stop(self) -> None:
        """End it at once; see ports.peers.Stoppable."""
        self._storing.stop()

    def send(self, version: Version, then: Version | None = None) -> Sent:
        """Send one version; see ports.peers.Sending."""
        begun, self._begun = self._begun, None
        data = begun[1] if begun is not None and begun[0] is version else self._outgoing(version)
        return self._storing.store(_kind(version), version.instance_uid, data, lambda: self._begin(then))

    def _begin(self, version: Version | None) -> None:
        if version is not None:
            with suppress(ImagerepoError):  # told when it is its turn
                self._begun = version, self._storing.begun(_kind(version), self._outgoing(version))


class DimsePeers:
    """Opens ways to peers over DIMSE: ports.peers.Peers."""

    def __init__(self, outgoing: Callable[[Version], Outgoing]) -> None:
        """`outgoing` reads a version's data set."""
        self._outgoing = outgoing

    def sending(
        self,
        peer: Peer,
        calling_ae_title: str,
        kinds: Collection[Kind],
        *,
        originator: Originator | None = None,
        priority: Priority = Priority.MEDIUM,
    ) -> VersionSending:
        """Open a way; see ports.peers.Peers."""
        storing = Storing(peer, calling_ae_title, kinds, originator=originator, priority=priority)
        return VersionSending(storing, self._outgoing)


def _kind(version: Version) -> Kind:
    return version.sop_class_uid, version.transfer_syntax


_VERIFICATION: Kind = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")
"""What is proposed where nothing is known yet of what will be sent: an association needs a context."""


def _batches(kinds: Sequence[Kind]) -> Iterator[list[Kind]]:
    for start in range(0, len(kinds), MOST_CONTEXTS):
        yield list(kinds[start : start + MOST_CONTEXTS])
