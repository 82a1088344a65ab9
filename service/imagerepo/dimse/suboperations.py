"""Sub-operations of a retrieval: the versions to be sent, what became of them, and what the requestor is told.

Source: PS3.4 C.4.2.1.5 to C.4.2.1.7 and C.4.3.1.4 (responses, counts, statuses), PS3.7 sections 9.1.3, 9.1.4, 9.3.3.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from imagerepo.dicom.data_set_writer import encode_data_set
from imagerepo.dimse.messages import Element, Status, Value
from imagerepo.dimse.outgoing import BATCH
from imagerepo.dimse.selection import Selection
from imagerepo.dimse.services import Request
from imagerepo.errors import ImagerepoError, NotFoundError
from imagerepo.flows.repository import Repository
from imagerepo.model.caller import Caller
from imagerepo.model.header import Attribute
from imagerepo.model.instance import Version
from imagerepo.ports.peers import Kind, Sent

log = logging.getLogger(__name__)

FAILED_SOP_INSTANCE_UIDS: Final = "00080058"
_MOST_COUNTED: Final = 0xFFFF
"""What the US of a count holds, and the most failed UIDs that are listed."""
_AHEAD: Final = 8  # instances that are brought nearer before it is their turn


class Tally:
    """What became of the sub-operations so far. Safe to use from any number of threads."""

    def __init__(self, total: int) -> None:
        """Begin with `total` of them remaining."""
        self._lock = threading.Lock()
        self._total = total
        self._completed = self._warned = self._failed = 0
        self._failed_uids: list[str] = []
        self.problem = ""  # the first failure, as a sentence

    def add(self, version: Version, sent: Sent) -> None:
        """Count what a receiver answered."""
        if not sent.stored:
            self.fail(version, f"status {sent.status:04X} {sent.comment}".rstrip())
            return
        with self._lock:
            if sent.warned:
                self._warned += 1
            else:
                self._completed += 1

    def fail(self, version: Version, reason: str) -> None:
        """Count what could not be sent."""
        with self._lock:
            self._failed += 1
            if len(self._failed_uids) < _MOST_COUNTED:
                self._failed_uids.append(version.instance_uid)
            self.problem = self.problem or reason

    @property
    def failed_uids(self) -> Sequence[str]:
        """What failed."""
        with self._lock:
            return tuple(self._failed_uids)

    @property
    def final_status(self) -> int:
        """The status once all is done."""
        with self._lock:
            if not self._failed and not self._warned:
                return Status.SUCCESS
            if not self._completed and not self._warned:
                return Status.CANNOT_PERFORM_SUBOPERATIONS
            return Status.SUBOPERATIONS_WITH_FAILURES

    def counts(self) -> dict[Element, Value]:
        """The counts that every response has."""
        with self._lock:
            counts = {
                Element.COMPLETED_SUBOPERATIONS: self._completed,
                Element.FAILED_SUBOPERATIONS: self._failed,
                Element.WARNING_SUBOPERATIONS: self._warned,
            }
        return {element: min(count, _MOST_COUNTED) for element, count in counts.items()}

    def counts_with_remaining(self) -> dict[Element, Value]:
        """Likewise with what is left, which responses before the end have."""
        with self._lock:
            left = self._total - self._completed - self._warned - self._failed
        return {**self.counts(), Element.REMAINING_SUBOPERATIONS: min(max(left, 0), _MOST_COUNTED)}


class Replies:
    """Responses to one retrieval. Belongs to the association's thread."""

    def __init__(self, request: Request, tally: Tally, interval: float) -> None:
        """Prepare; `interval` in seconds between pending responses."""
        self._request = request
        self._tally = tally
        self._interval = interval
        self._due = time.monotonic() + interval

    def pending(self) -> None:
        """Tell how far it is, if it is time to."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._interval
            self._request.respond(Status.PENDING, elements=self._tally.counts_with_remaining())

    def cancelled(self) -> None:
        """Tell that it was cancelled, and how far it came."""
        self._respond(Status.CANCEL, self._tally.counts_with_remaining(), self._tally.problem)

    def broken_off(self, error: ImagerepoError) -> None:
        """Tell that what is left cannot be sent; it is on us."""
        self._respond(Status.CANNOT_PERFORM_SUBOPERATIONS, self._tally.counts_with_remaining(), str(error))

    def final(self) -> None:
        """Tell that it is done."""
        self._respond(self._tally.final_status, self._tally.counts(), self._tally.problem)

    def _respond(self, status: int, counts: dict[Element, Value], comment: str) -> None:
        request = self._request
        failed = self._tally.failed_uids
        told = {"status": f"{status:04X}", "failed": len(failed), "reason": comment}
        log.log(logging.WARNING if failed else logging.INFO, "dimse.retrieve.done", extra=told)
        data_set = None
        if failed:
            listed = {FAILED_SOP_INSTANCE_UIDS: Attribute("UI", tuple(failed))}
            data_set = encode_data_set(listed, request.context.transfer_syntax)
        request.respond(status, comment, elements=counts, data_set=data_set)


class Source:
    """The versions to be sent, one after another. Safe to use from any number of threads.

    That a study is read is in the journal before the first of its versions is given. What was deleted since its page
    was looked up counts as failed. What comes next is brought nearer.
    """

    def __init__(self, repository: Repository, caller: Caller, selection: Selection, tally: Tally) -> None:
        """Look up the first page."""
        self._repository = repository
        self._caller = caller
        self._tally = tally
        self._lock = threading.Lock()
        self._pages = self._all_pages(selection)
        self._page: deque[Version] = deque()
        self._expected: deque[Version] = deque()
        self._generation = 0
        self._study = ""
        self._next_page()

    @property
    def kinds(self) -> Sequence[Kind]:
        """Kinds of instances to come, as far as is known."""
        with self._lock:
            return tuple(dict.fromkeys((one.sop_class_uid, one.transfer_syntax) for one in self._page))

    def take(self) -> Version | None:
        """The next one; None: there are no more. Raises UnavailableError."""
        with self._lock:
            while self._page or self._next_page():
                version = self._page.popleft()
                self._expect()
                try:
                    self._repository.retrieve.check((version,), self._generation)
                except NotFoundError as error:
                    self._tally.fail(version, str(error))
                    continue
                if version.study_uid != self._study:
                    self._repository.blocking_audit.read(self._caller, version.study_uid)
                    self._study = version.study_uid
                return version
            return None

    def peek(self) -> Version | None:
        """The next one as far as is known, without taking it."""
        with self._lock:
            return self._page[0] if self._page else None

    def give_back(self, version: Version) -> None:
        """One that was taken was not sent: somebody else may."""
        with self._lock:
            self._page.appendleft(version)

    def _all_pages(self, selection: Selection) -> Iterator[Sequence[Version]]:
        for scope in selection.scopes:
            yield from self._repository.retrieve.pages(scope)

    def _next_page(self) -> bool:
        self._generation = self._repository.retrieve.generation()
        page = next(self._pages, ())
        self._page.extend(page)
        self._expected.extend(page)
        self._bring_nearer([self._expected.popleft() for _ in range(min(_AHEAD, len(self._expected)))])
        return bool(page)

    def _expect(self) -> None:
        if self._expected:
            self._bring_nearer((self._expected.popleft(),))

    def _bring_nearer(self, versions: Iterable[Version]) -> None:
        self._repository.retrieve.expect((one, 0, min(one.size, BATCH)) for one in versions)
