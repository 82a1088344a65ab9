"""Bytes of what arrived into objects: what is stored already needs none, all of a series share some.

Nothing is visible yet. An object that no transaction names afterwards is removed by who put it, if he lives and knows
that, or else by the sweeper.
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

from imagerepo import telemetry
from imagerepo.adapters.bundles import known
from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.bundle import ALIGNED, Entry, bundle
from imagerepo.adapters.bundles.item import Item, Stored
from imagerepo.adapters.bundles.known import Institutions, Name
from imagerepo.adapters.bundles.loading import Load, Loading, SeriesName
from imagerepo.adapters.bundles.spool import SpoolFile
from imagerepo.adapters.bundles.together import Together
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.standbys import await_standbys
from imagerepo.adapters.segments.decide import Decision, History, as_known, decide
from imagerepo.errors import ImagerepoError, OutOfSpaceError, UnavailableError
from imagerepo.model.arrival import InMemory
from imagerepo.model.events import CommitKind, Committed, StoreRequest
from imagerepo.model.instance import Range

log = logging.getLogger(__name__)

_FULL_FOR: Final = 5.0  # seconds that a store counts as full after it said so
_TIME: Final = 12  # hexadecimal digits of a name that say when it was given, in milliseconds since 1970
_LATE: Final = timedelta(days=1)  # far less than the sweep remembers keys that it has removed


class Placing:
    """Puts objects. Safe to call from any number of threads."""

    def __init__(
        self,
        database: Database,
        store: S3Store,
        institutions: Institutions,
        placed: Callable[[Sequence[Item]], None],
    ) -> None:
        """`placed` takes what a transaction is to be made of, in lots that share objects with no other."""
        self._database = database
        self._store = store
        self._institutions = institutions
        self._placed = placed
        self._loading = Loading(self._send)
        self._together = Together()
        self._full_until = 0.0

    @property
    def is_full(self) -> bool:
        """Whether the store said lately that it has no room."""
        return time.monotonic() < self._full_until

    def place(self, items: Sequence[Item]) -> None:
        """Answer what is stored already; have the rest put, which is handed on then."""
        try:
            wanted = self._wanted(items)
        except UnavailableError as error:
            for item in items:
                item.fail(error)
        else:
            self._loading.add(wanted)

    def remove(self, one: Stored) -> None:
        """Have an object removed that no row names, nor ever will; does not wait for it."""
        self._loading.later(partial(self._remove, one))

    def close(self) -> None:
        """Wait for what is under way."""
        self._loading.close()

    def _wanted(self, items: Sequence[Item]) -> list[tuple[Item, Entry | None]]:
        """Those that are not stored as far as can be seen, with their bytes where these are needed."""
        named = [(item, self._name(_store(item))) for item in items]
        duplicates: list[tuple[Item, int]] = []
        with self._database.reading() as connection:
            histories = known.histories(connection, list(dict.fromkeys(name for _, name in named)))
            for item, name in named:
                decided = decide(_store(item), histories.get(name, History([], 0)))
                if decided.decision is Decision.DUPLICATE:
                    duplicates.append((item, decided.version))
            if duplicates:
                await_standbys(connection)
        for item, version in duplicates:
            item.answer(Committed(CommitKind.DUPLICATE, version))
        wanted: list[tuple[Item, Entry | None]] = []
        coming: dict[Name, History] = {}
        for item, name in named:
            if item.result is not None:
                continue
            request, visible = _store(item), histories.get(name, History([], 0))
            history = coming.setdefault(name, History(list(visible.known), visible.last))
            decided = decide(request, history)
            if decided.decision is Decision.STORE:
                history.known.append(as_known(request, decided.version))
                buffers = request.payload.buffers if isinstance(request.payload, InMemory) else ()
                wanted.append((item, Entry(request, decided.version, buffers)))
            else:
                wanted.append((item, None))
        return wanted

    def _name(self, request: StoreRequest) -> Name:
        return self._institutions.key(request.caller.institution), request.attributes.instance_uid

    def _send(self, load: Load) -> None:
        if load.entries:
            try:
                with telemetry.ingest_step("write").time():
                    stored, ranges = put(self._store, load)
            except ImagerepoError as error:
                if isinstance(error, OutOfSpaceError):
                    self._full_until = time.monotonic() + _FULL_FOR
                _fail(load, error)
            except Exception as error:
                # A defect of ours: those who wait must not wait for ever.
                log.exception("bundle.put_failed")
                _fail(load, UnavailableError(f"an object could not be put: {error}"))
            else:
                for (item, _), where in zip(load.entries, ranges, strict=True):
                    item.lies(stored, where)
        for lot in self._together.arrived(load.items):
            self._placed(lot)

    def _remove(self, one: Stored) -> None:
        with suppress(UnavailableError):
            with self._database.reading() as connection:
                # A second look, since nothing could make it good.
                if connection.run(sql.FIND_OBJECT, (one.store, one.key)).fetchone() is not None:
                    log.error("bundle.named", extra={"key": one.key})
                    return
            self._store.delete(one.store, [one.key])


def _store(item: Item) -> StoreRequest:
    assert isinstance(item.request, StoreRequest)
    return item.request


def put(store: S3Store, load: Load) -> tuple[Stored, Sequence[Range]]:
    """Store an object, which nobody names yet, and where its instances lie in it. Raises what S3Store.put raises."""
    institution = load.series[0]
    bucket, key = store.bucket(institution), new_key(load.series)
    _, entry = load.entries[0]
    payload = entry.request.payload
    if isinstance(payload, SpoolFile):
        where = Range(bucket, key, ALIGNED, payload.size)
        with payload.completed(entry, where) as (file, size):
            store.put_large(key, file, institution=institution)
        return Stored(bucket, key, size, 1), [where]
    made = bundle(bucket, key, [entry for _, entry in load.entries])
    store.put(key, made.parts, institution=institution)
    return Stored(bucket, key, made.size, len(made.ranges)), made.ranges


def late_after(key: str) -> int:
    """From when on nobody may name an object of that key any more; microseconds since 1970, UTC."""
    return int(key.rpartition("/")[2][:_TIME], 16) * 1000 + _LATE // timedelta(microseconds=1)


def new_key(series: SeriesName) -> str:
    """Says what is in the object; those of a series follow each other in time."""
    return "/".join((*series, f"{time.time_ns() // 1_000_000:0{_TIME}x}{secrets.token_hex(10)}"))


def _fail(load: Load, error: ImagerepoError) -> None:
    for item, _ in load.entries:
        item.fail(error)
