"""Store files in a DICOMweb server: STOW-RS, many instances a request, each told apart in the answer.

A server may refuse, be busy, run out of room, die in the middle or do so at one instance of many. What may pass is
waited for; a request that fails each time is taken apart until it is known at which instance. Sending again what was
stored is harmless.

Implements ports.imports.Target. Source: PS3.18 section 10.5 (Store Transaction), RFC 9110 section 10.2.3
(Retry-After).
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event, Lock
from typing import Final, Self

from imagerepo.dicomweb import store_answers
from imagerepo.dicomweb.store_requests import Answer, Requests, Server
from imagerepo.errors import BadDicomError, PeerError, PeerFailure, UnavailableError
from imagerepo.model.imports import Candidate, Fate, Result

_FIRST_PAUSE: Final = 0.5  # seconds
_LONGEST_PAUSE: Final = 30.0
_AT_FIRST: Final = 15.0  # seconds of patience with a server that has not done anything yet
_TRIES: Final = 4  # of what may be the fault of one instance
_FURTHER: Final = 2  # likewise, once it is one of fewer
_BUSY: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
        HTTPStatus.INSUFFICIENT_STORAGE,
    }
)
# What is wrong with all instances and not with one.
_NOT_FOR_US: Final = {
    HTTPStatus.UNAUTHORIZED: "check --token-file or --header-file",
    HTTPStatus.FORBIDDEN: "check what the token allows there",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "check --header-file",
    HTTPStatus.NOT_FOUND: "check --to, and --institution if it has several",
    HTTPStatus.METHOD_NOT_ALLOWED: "check --to",
    HTTPStatus.NOT_IMPLEMENTED: "it stores nothing; check --to",
}


class Patience:
    """What all connections know of a server: when it last did its work, and how much it takes at once."""

    def __init__(self, seconds: float, stopping: Event) -> None:
        """Wait for `seconds` at the most, in which it does nothing of what it is asked; less when `stopping`."""
        self._seconds = min(seconds, _AT_FIRST)  # a wrong address should not be told after minutes
        self._later = seconds
        self._lock = Lock()
        self._worked = time.monotonic()
        self.stopping = stopping
        self.most_bytes: int | None = None  # of one request, once it has refused a larger one

    @property
    def worked(self) -> float:
        """Monotonic seconds."""
        return self._worked

    def works(self) -> None:
        """It has stored, or judged, something."""
        with self._lock:
            self._worked = time.monotonic()
            self._seconds = self._later

    def refuses(self, size: int) -> None:
        """It does not take so many bytes at once."""
        with self._lock:
            self.most_bytes = min(size // 2, self.most_bytes or size)

    def wait(self, attempt: int, least: float, cause: Exception) -> None:
        """Wait before asking again, a random time that grows with attempts.

        Raises:
            UnavailableError: it has done nothing for too long, or there is no more time.
        """
        pause = max(least, random.uniform(0.5, 1) * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))  # noqa: S311 - no secret
        left = self._worked + self._seconds - time.monotonic()
        if left <= 0:
            raise UnavailableError(f"{cause}; nothing was stored for {self._seconds:g} s (--patience)") from cause
        if self.stopping.wait(min(pause, left)):
            raise UnavailableError(f"stopped while waiting: {cause}") from cause


@dataclass(slots=True)
class _Batch:
    """Candidates that are sent together, by their places among those that were given."""

    places: list[int]
    tries: int = 0  # that failed in a way that one of them may have caused
    began: float = field(default_factory=time.monotonic)  # when any of them was first sent


class Storing:
    """A connection to a server: ports.imports.Target, for one thread."""

    def __init__(self, server: Server, patience: Patience) -> None:
        self._requests = Requests(server)
        self._server = server
        self._patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.close()

    def store(self, candidates: Sequence[Candidate]) -> Sequence[Result]:
        """See ports.imports.Target."""
        results: dict[int, Result] = {}
        pending = [_Batch(places) for places in self._cut(candidates)]
        while pending:
            batch = pending.pop()
            pending += self._store(candidates, batch, results)
        return [results[place] for place in range(len(candidates))]

    def _cut(self, candidates: Sequence[Candidate]) -> list[list[int]]:
        """Places of what goes into each request."""
        most = self._patience.most_bytes
        if most is None:
            return [list(range(len(candidates)))]
        cut: list[list[int]] = []
        size = 0
        for place, one in enumerate(candidates):
            if not cut or size + one.size > most:
                cut.append([])
                size = 0
            cut[-1].append(place)
            size += one.size
        return cut

    def _store(self, candidates: Sequence[Candidate], batch: _Batch, results: dict[int, Result]) -> list[_Batch]:
        """Send one batch until something is known of it; what is still to be sent."""
        sent = [candidates[place] for place in batch.places]
        attempt = 0
        while True:
            try:
                answer = self._requests.store(sent)
            except BadDicomError as error:  # it cannot be read any more: such a one is alone
                results.update(dict.fromkeys(batch.places, Result(Fate.REFUSED, str(error))))
                return []
            except PeerError as error:
                if not error.failure.passes:
                    raise
                cause, wait, suspect = error, 0.0, error.failure is PeerFailure.ABORTED
            else:
                if answer.status not in _BUSY and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    return self._judge(sent, batch, answer, results)
                self._stop_at(answer)
                cause, wait = self._error(answer), answer.retry_after
                suspect = answer.status not in _BUSY
            attempt += 1
            batch.tries += suspect
            if batch.tries >= _TRIES:
                if len(sent) > 1:
                    return _halves(batch)
                if self._patience.worked > batch.began:  # it stores what others send
                    results[batch.places[0]] = Result(Fate.REFUSED, str(cause))
                    return []
            self._patience.wait(attempt, wait, cause)

    def _judge(
        self, sent: Sequence[Candidate], batch: _Batch, answer: Answer, results: dict[int, Result]
    ) -> list[_Batch]:
        """What an answer says of each; what is to be sent again."""
        self._stop_at(answer)
        if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(sent) > 1:
            self._patience.refuses(sum(one.size for one in sent))
            return _halves(batch)
        self._patience.works()
        if answer.status == HTTPStatus.OK:
            already = min(answer.already, len(sent))
            for number, place in enumerate(batch.places):
                # Which of them were there already is not told, only how many.
                results[place] = Result(Fate.ALREADY if number < already else Fate.STORED)
            return []
        said = store_answers.read(answer.body)
        again: list[int] = []
        unsaid: list[int] = []
        already = answer.already
        for number, (place, one) in enumerate(zip(batch.places, sent, strict=True), 1):
            uid = "" if one.names is None else one.names.instance
            failure = said.failed.get(uid) or said.failed_parts.get(number)
            if failure is not None:
                if failure.passes and batch.tries < _TRIES:
                    again.append(place)
                else:
                    results[place] = Result(Fate.REFUSED, str(failure))
            elif uid in said.stored or (not uid and len(said.stored) == len(sent) == 1):
                results[place] = Result(Fate.ALREADY if already > 0 else Fate.STORED)
                already -= 1
            else:
                unsaid.append(place)
        return self._again(batch, again, answer) + self._alone(unsaid, len(sent), answer, results)

    def _again(self, batch: _Batch, places: list[int], answer: Answer) -> list[_Batch]:
        if not places:
            return []
        self._patience.wait(batch.tries, answer.retry_after, self._error(answer))
        return [_Batch(places, batch.tries + 1, batch.began)]

    def _alone(self, places: list[int], count: int, answer: Answer, results: dict[int, Result]) -> list[_Batch]:
        """Those of which an answer says nothing: sent alone, its status says what became of them."""
        if count > 1:
            return [_Batch([place]) for place in places]
        for place in places:
            failures = store_answers.read(answer.body)
            found = next(iter((*failures.failed.values(), *failures.failed_parts.values())), None)
            results[place] = Result(Fate.REFUSED, str(found or self._error(answer)))
        return []

    def _stop_at(self, answer: Answer) -> None:
        """Raise PeerError at an answer that any instance would get."""
        todo = _NOT_FOR_US.get(HTTPStatus(answer.status)) if answer.status in _STATUSES else None
        if todo is None and HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            todo = f"it is at {answer.location}" if answer.location else "check --to"
        if todo is not None:
            raise PeerError(f"{self._error(answer)}; {todo}", PeerFailure.REJECTED)

    def _error(self, answer: Answer) -> UnavailableError:
        return UnavailableError(f"{self._server.root} answers {answer.status}: {answer.shown}")


_STATUSES: Final = frozenset(int(one) for one in HTTPStatus)


def _halves(batch: _Batch) -> list[_Batch]:
    middle = len(batch.places) // 2
    parts = batch.places[:middle], batch.places[middle:]
    # One of the two is all right, and takes one try; the other one has been tried.
    return [_Batch(part, max(batch.tries - _FURTHER, 0), batch.began) for part in parts]
