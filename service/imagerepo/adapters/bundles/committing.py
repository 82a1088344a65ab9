"""What becomes of transactions: answered, tried again, found out about, or given up."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import psycopg
from psycopg import errors

from imagerepo import telemetry
from imagerepo.adapters.bundles import known
from imagerepo.adapters.bundles.changing import Changing
from imagerepo.adapters.bundles.item import GIVEN_UP, Item, Stored
from imagerepo.adapters.bundles.placing import Placing
from imagerepo.adapters.bundles.pump import MOST
from imagerepo.adapters.bundles.transaction import Prepared, Transactor
from imagerepo.adapters.postgres.failures import InDoubtError, RolledBackError
from imagerepo.errors import ImagerepoError, UnavailableError
from imagerepo.model.events import ChangeRequest, StoreRequest

_WAIT: Final = "250ms"  # for a study that others have, in a transaction of those who wait for one
_STUDIES: Final = 100  # of a transaction at the most
_OURS: Final = (psycopg.DataError, psycopg.IntegrityError, errors.ProgramLimitExceeded)

Hand = Callable[[Sequence[Item]], None]
"""Takes items that have to come again."""


class Committing:
    """Carries what was placed, and what needs no place, through transactions. For one thread."""

    def __init__(
        self, transactor: Transactor, changing: Changing, placing: Placing, place: Hand, commit: Hand
    ) -> None:
        self._transactor = transactor
        self._changing = changing
        self._placing = placing
        self._place = place
        self._commit = commit

    def carry(self, items: Sequence[Item]) -> None:
        """Commit what can be committed now; changes one by one, after what arrived."""
        others = [item for item in items if not isinstance(item.request, ChangeRequest)]
        fresh, waited = [item for item in others if not item.waited], [item for item in others if item.waited]
        for portion in _portions(fresh):
            self._run(portion, "")
        for portion in _portions(waited):
            self._run(portion, _WAIT)
        for item in items:
            if isinstance(item.request, ChangeRequest):
                self._change(item, item.request)

    def _run(self, items: Sequence[Item], waits: str) -> None:
        with telemetry.ingest_step("index").time():
            try:
                prepared = self._settled(items, waits)
            except RolledBackError:
                self._again(items)
                return
            except InDoubtError as error:
                for item in items:
                    item.fail(error)  # what it has put may have been named: that stays
                return
            except UnavailableError as error:
                self._failed(items, error)
                return
        for item, result in prepared.answers:
            item.answer(result)
        self._again(prepared.again)

    def _settled(self, items: Sequence[Item], waits: str) -> Prepared:
        """Run a transaction; if its connection is lost, find out. Raises what Transactor.run does."""
        try:
            return self._transactor.run(items, waits)
        except InDoubtError as error:
            prepared = self._transactor.prepared
            if prepared is None or not self._transactor.is_committed(prepared, error):
                raise RolledBackError("the database was lost before the commit") from error
            return prepared
        except UnavailableError as error:
            if isinstance(error.__cause__, errors.UniqueViolation):
                raise RolledBackError("the same instance was stored in another study meanwhile") from error
            raise

    def _failed(self, items: Sequence[Item], error: UnavailableError) -> None:
        """Nothing has changed. What the database cannot take for a reason of its own must not fail its neighbours."""
        if isinstance(error.__cause__, _OURS) and (halves := _halves(items)):
            for half in halves:
                self._run(half, _WAIT)
            return
        self._give_up(items, error)

    def _again(self, items: Sequence[Item]) -> None:
        now = time.monotonic()
        left: list[Item] = []
        for lot in _lots(items):
            if now > max(item.until for item in lot):
                self._give_up(lot, GIVEN_UP)
            else:
                left += lot
        unplaced = [item for item in left if isinstance(item.request, StoreRequest) and item.object_ is None]
        placed = [item for item in left if item.object_ is not None or not isinstance(item.request, StoreRequest)]
        for item in placed:
            item.waited = True
        for item in unplaced:
            item.is_handed_on = False
        if unplaced:
            self._place(unplaced)
        if placed:
            self._commit(placed)

    def _give_up(self, items: Sequence[Item], error: UnavailableError) -> None:
        for lot in _lots(items):
            object_ = lot[0].object_
            # All that it has, or it stays: the sweeper knows better.
            if object_ is not None and len(lot) == object_.instances:
                self._placing.remove(object_)
        for item in items:
            item.fail(error)

    def _change(self, item: Item, request: ChangeRequest) -> None:
        try:
            item.answer(self._changing.change(request, item.until))
        except ImagerepoError as error:
            item.fail(error)


def _portions(items: Sequence[Item]) -> list[list[Item]]:
    """What one transaction takes: the server has room for so many locks, a commit has so many positions."""
    by_study: dict[int | None, list[Item]] = {}
    for item in items:
        by_study.setdefault(known.lock_for(item.request), []).append(item)
    portions: list[list[Item]] = []
    studies = 0
    for lots in map(_lots, by_study.values()):
        studies += 1
        for lot in lots:
            if not portions or studies > _STUDIES or len(portions[-1]) + len(lot) > MOST:
                portions.append([])
                studies = 1
            portions[-1] += lot
    return [sorted(portion, key=lambda item: item.number) for portion in portions]


def _lots(items: Sequence[Item]) -> list[list[Item]]:
    """What shares an object goes together."""
    lots: dict[Stored | int, list[Item]] = {}
    for item in items:
        lots.setdefault(item.object_ or id(item), []).append(item)
    return list(lots.values())


def _halves(items: Sequence[Item]) -> list[list[Item]]:
    """Two parts that share no object; none if there is one alone."""
    lots = _lots(items)
    middle = len(lots) // 2
    return [[item for lot in part for item in lot] for part in (lots[:middle], lots[middle:])] if middle else []
