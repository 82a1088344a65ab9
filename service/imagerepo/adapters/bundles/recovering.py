"""What was stored after the last line of the journal that was kept: taken from the objects themselves.

Objects come in the order of their names, which is that of time, and go through commits as if they had just arrived:
what is stored already is a duplicate, other bytes under a known UID are the next version. The journal says so: the
caller of such a line is `rebuild:` and whoever sent the instance.

What a commit would refuse may have been acknowledged all the same, after a deletion that nobody knows of any more. It
is told, and gets no row: nothing that is not named here is removed (sweeping.py).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from imagerepo.adapters.bundles import contents, known
from imagerepo.adapters.bundles.item import Item, Stored, made_of
from imagerepo.adapters.bundles.rebuild_headers import undescribed
from imagerepo.adapters.bundles.rebuild_study import Place
from imagerepo.adapters.bundles.transaction import Transactor
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.decide import Decided, Decision, History, as_known, decide
from imagerepo.errors import DamagedError
from imagerepo.model.arrival import InMemory
from imagerepo.model.caller import Caller, Protocol
from imagerepo.model.events import CommitKind, OnDifference, StoreRequest
from imagerepo.model.instance import Range
from imagerepo.model.rebuilt import Rebuilt
from imagerepo.model.uids import Uid

log = logging.getLogger(__name__)

CALLER: Final = "rebuild:"
"""What the name of a line's caller begins with if the line was made by a rebuild."""

_WAIT: Final = "8s"  # for a study's lock, which nobody has
_AT_ONCE: Final = 256  # instances in one transaction, and those of the last object
_PAGE: Final = 500
_NEW: Final = (
    "SELECT name, key, institution, size, instances FROM rebuild_new WHERE (name, key) > (%s, %s) "
    "ORDER BY name, key LIMIT %s"
)
# Also one of which nothing is needed: it was a duplicate.
_HAS_ROW: Final = "SELECT 1 FROM object WHERE store = %s AND key = %s"


class Recovering:
    """Takes up what no journal line knows. For one thread, when all studies are there."""

    def __init__(self, place: Place, on_difference: Callable[[str], OnDifference], rebuilt: Rebuilt) -> None:
        """`on_difference`: what an institution wants of other bytes under a known UID."""
        self._place = place
        self._transactor = Transactor(place.database, place.institutions, place.writer)
        self._on_difference = on_difference
        self._rebuilt = rebuilt

    def run(self) -> None:
        """Take all of it up. Raises UnavailableError; it may be run again."""
        waiting: list[Item] = []
        for key, institution, size, numbers in self._new():
            waiting += self._items(institution, key, size, numbers)
            if len(waiting) >= _AT_ONCE:
                self._commit(waiting)
                waiting = []
        if waiting:
            self._commit(waiting)

    def _new(self) -> Iterator[tuple[str, str, int, Sequence[int]]]:
        """Objects that no row names; where this was ended before, some have got theirs."""
        after = ("", "")
        while True:
            with self._place.database.reading() as connection:
                rows = connection.run(_NEW, (*after, _PAGE)).fetchall()
            for name, key, institution, size, numbers in rows:
                after = (name, key)
                if not self._is_named(institution, key):
                    yield key, institution, size, numbers
            if len(rows) < _PAGE:
                return

    def _is_named(self, institution: str, key: str) -> bool:
        with self._place.database.reading() as connection:
            row = connection.run(_HAS_ROW, (self._place.store.bucket(institution), key)).fetchone()
        return row is not None

    def _items(self, institution: str, key: str, size: int, numbers: Sequence[int]) -> list[Item]:
        """Instances of an object, as if they had just been put."""
        bucket = self._place.store.bucket(institution)
        try:
            said = contents.of(self._place.store.fetch, bucket, key, size).lines
            found = [(fields, next(iter(lines.stores(fields, 0)))) for fields in said]
        except (DamagedError, KeyError, ValueError, StopIteration) as error:
            self._rebuilt.damaged += 1
            log.error("rebuild.object_damaged", extra={"key": key, "reason": str(error)})  # noqa: TRY400 - it says all
            return []
        stored = Stored(bucket, key, size, len(found))
        wanted = [found[number] for number in numbers]
        where = [Range(bucket, key, one.ranges[0].offset, one.ranges[0].length) for _, one in wanted]
        described = self._place.headers.of([(one, at) for (_, one), at in zip(wanted, where, strict=True)])
        requests: list[StoreRequest] = []
        for (fields, one), what in zip(wanted, described, strict=True):
            self._rebuilt.damaged += what is None
            attributes, layout = what or undescribed(one)
            requests.append(
                StoreRequest(
                    caller=_caller(fields),
                    attributes=attributes,
                    layout=layout,
                    transfer_syntax=Uid(one.transfer_syntax),
                    digest=one.digest,
                    crc32=one.crc32,
                    payload=InMemory((), one.size),
                    received_at=one.received_at,
                    on_difference=self._on_difference(institution),
                )
            )
        items = made_of(requests, 0.0)
        for item, at in zip(items, where, strict=True):
            item.object_, item.where = stored, at
        return items

    def _commit(self, items: Sequence[Item]) -> None:
        accepted = list(self._accepted(items))
        if accepted:
            # In doubt, it is found out by the next run, which passes over objects that have rows.
            prepared = self._transactor.run(accepted, _WAIT)
            self._rebuilt.recovered += sum(result.kind is CommitKind.STORED for _, result in prepared.answers)

    def _accepted(self, items: Sequence[Item]) -> Iterator[Item]:
        """Those that a commit does not refuse; nobody else commits meanwhile."""
        named: list[tuple[known.Name, Item, StoreRequest]] = []
        for item in items:
            if isinstance(item.request, StoreRequest):
                institution = self._place.institutions.key(item.request.caller.institution)
                named.append(((institution, item.request.attributes.instance_uid), item, item.request))
        with self._place.database.reading() as connection:
            histories = known.histories(connection, list(dict.fromkeys(name for name, _, _ in named)))
        for name, item, request in named:
            history = histories.setdefault(name, History([], 0))
            decided = decide(request, history)
            match decided.decision:
                case Decision.REFUSE:
                    self._refuse(item, request, decided)
                    continue
                case Decision.STORE:
                    history.known.append(as_known(request, decided.version))
                case Decision.DUPLICATE:
                    pass
            yield item

    def _refuse(self, item: Item, request: StoreRequest, decided: Decided) -> None:
        self._rebuilt.damaged += 1
        key = "" if item.object_ is None else item.object_.key
        said = {"instance": request.attributes.instance_uid, "key": key, "reason": str(decided.error)}
        log.error("rebuild.instance_refused", extra=said)


def _caller(fields: Mapping[str, Any]) -> Caller:
    name = f"{CALLER}{fields['caller'].removeprefix(CALLER)}"
    return Caller(fields["institution"], name, fields["address"], Protocol(fields["protocol"]), frozenset())
