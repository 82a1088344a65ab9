"""What one call stores to a study goes into one transaction, in its order, whichever of its objects is there first.

Objects hold instances of several calls, so that what goes together may be more than a call.
"""

import threading
from collections.abc import Iterable, Sequence

from imagerepo.adapters.bundles.item import Item
from imagerepo.model.arrival import InMemory
from imagerepo.model.events import StoreRequest


def keep(items: Sequence[Item]) -> None:
    """Have these, of one call, go together, study by study; but nobody waits for a large one."""
    companies: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        request = item.request
        if isinstance(request, StoreRequest) and isinstance(request.payload, InMemory):
            study = (request.caller.institution, request.attributes.study_uid)
            item.company = companies.setdefault(study, [])
            item.company.append(item)


class Together:
    """Knows whose bytes are there. Safe to call from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def arrived(self, items: Sequence[Item]) -> list[list[Item]]:
        """The bytes of these came together, but for those that are answered; what is complete by that, in order."""
        with self._lock:
            lot = [item for item in items if item.result is None]
            for item in lot:
                item.lot = lot
            complete: list[list[Item]] = []
            for one in _lots([*items, *_companions(items)]):
                whole = _whole(one)
                if whole is not None:
                    complete.append(whole)
            return complete


def _companions(items: Iterable[Item]) -> list[Item]:
    """All that have to go with some of these, these among them."""
    companies = {id(item.company): item.company for item in items}
    return [other for company in companies.values() for other in company]


def _lots(items: Iterable[Item]) -> list[list[Item]]:
    """Those that wait to be handed on."""
    return list({id(item.lot): item.lot for item in items if item.lot is not None}.values())


def _whole(lot: list[Item]) -> list[Item] | None:
    """A lot with all that has to go with it, which waits no more; None: some of it is not there yet."""
    if not lot or lot[0].lot is None:
        return None  # went with another one
    found = {id(lot): lot}
    unseen = [lot]
    while unseen:
        for other in _companions(unseen.pop()):
            if other.result is not None or other.is_handed_on:
                continue
            if other.lot is None:
                return None
            if id(other.lot) not in found:
                found[id(other.lot)] = other.lot
                unseen.append(other.lot)
    whole = sorted((item for one in found.values() for item in one), key=lambda item: item.number)
    for item in whole:
        item.lot = None
        item.is_handed_on = True
    return whole
