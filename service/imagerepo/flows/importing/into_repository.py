"""Store what is imported by the ordinary way in: ports.imports.Target over Ingest."""

from collections.abc import Sequence
from contextlib import ExitStack
from threading import Event
from typing import Final, Self

from imagerepo.errors import OutOfSpaceError, RefusedError
from imagerepo.flows.importing.pieces import pieces
from imagerepo.flows.ingest.ingest import Arrival, Ingest
from imagerepo.model.arrival import InMemory, Outcome, OutcomeKind, Payload
from imagerepo.model.caller import Caller
from imagerepo.model.imports import Candidate, Fate, Result

_TRIES: Final = 5
_PAUSE: Final = 1.0  # seconds, before the second try; longer before each further one

_FATES: Final = {
    OutcomeKind.STORED: Fate.STORED,
    OutcomeKind.NEW_VERSION: Fate.STORED,
    OutcomeKind.DUPLICATE: Fate.ALREADY,
}


class IntoRepository:
    """For one thread."""

    def __init__(self, ingest: Ingest, caller: Caller, stopping: Event) -> None:
        """Store as `caller`; nothing is tried again once it is `stopping`."""
        self._ingest = ingest
        self._caller = caller
        self._stopping = stopping

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def store(self, candidates: Sequence[Candidate]) -> Sequence[Result]:
        """See ports.imports.Target."""
        if not self._ingest.accepts():
            raise OutOfSpaceError("there is no room to store anything (setting storage.reserve)")
        results: dict[int, Result] = {}
        for number in range(1, _TRIES + 1):
            waiting = [place for place in range(len(candidates)) if place not in results]
            try:
                outcomes = self._store([candidates[place] for place in waiting])
            except RefusedError as error:
                # Too large, or it can no longer be read: what is not held in memory comes alone.
                return [Result(Fate.REFUSED, str(error)) for _ in candidates]
            done = (one for one in zip(waiting, outcomes, strict=True) if one[1].kind is not OutcomeKind.UNAVAILABLE)
            results.update((place, _result(outcome)) for place, outcome in done)
            error = next((one.error for one in outcomes if one.kind is OutcomeKind.UNAVAILABLE), None)
            if error is None:
                break
            hopeless = isinstance(error, OutOfSpaceError) or number == _TRIES
            if hopeless or self._stopping.wait(_PAUSE * number):
                raise error
        return [results[place] for place in range(len(candidates))]

    def _store(self, candidates: Sequence[Candidate]) -> list[Outcome]:
        with ExitStack() as kept:
            return self._ingest.store([Arrival(self._caller, self._payload(one, kept)) for one in candidates])

    def _payload(self, candidate: Candidate, kept: ExitStack) -> Payload:
        content = candidate.content
        if isinstance(content, bytes):
            return InMemory((content,), len(content))
        receiver = kept.enter_context(self._ingest.receiver())
        for piece in pieces(candidate):
            receiver.write(piece)
        return receiver.payload()


def _result(outcome: Outcome) -> Result:
    fate = _FATES.get(outcome.kind)
    return Result(Fate.REFUSED, str(outcome.error)) if fate is None else Result(fate)
