"""Make the index of a cluster anew from what lies in S3: the ledger and the objects. No replica may run.

1. Each institution's journal, as its ledger has it (rebuild_journal.py).
2. All that lies in its bucket is noted.
3. Each study's rows, from its lines and its objects, many studies at a time (rebuild_study.py).
4. What no line knows (recovering.py): it was stored in the last seconds before the database was lost.

Whatever ends it, it goes on where it was when it is run again; until it is complete no replica starts.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg

from imagerepo.adapters.bundles import rebuild_journal, rebuild_study
from imagerepo.adapters.bundles.journaling import Writer
from imagerepo.adapters.bundles.known import Institutions
from imagerepo.adapters.bundles.ledger import is_ledger
from imagerepo.adapters.bundles.rebuild_headers import Headers
from imagerepo.adapters.bundles.rebuild_staging import Stage, Staging, add_studies, copy
from imagerepo.adapters.bundles.rebuild_study import Place
from imagerepo.adapters.bundles.recovering import Recovering
from imagerepo.adapters.objects_s3.store import Listed, S3Store
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.settled import in_transaction
from imagerepo.errors import DamagedError, UnavailableError
from imagerepo.model.events import OnDifference
from imagerepo.model.rebuilt import Rebuilt

log = logging.getLogger(__name__)

_AT_ONCE: Final = 16  # studies
_LISTED: Final = 5000  # objects that are noted in one transaction
_PARTS: Final = 4  # of an object's key: institution, study, series, name


@dataclass(frozen=True, slots=True)
class Means:
    """What a rebuild works with."""

    database: Database  # of at least as many connections as studies are made at a time, and four
    store: S3Store
    scratch: Path
    institutions: Iterable[str]  # of the settings
    on_difference: Callable[[str], OnDifference]
    tell: Callable[[Rebuilt], None]  # is told how far it is, by one thread at a time


class Rebuilding:
    """One rebuild. `run` once."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._rebuilt = Rebuilt()
        self._lock = threading.Lock()

    def run(self) -> Rebuilt:
        """Make the index anew.

        Raises:
            SettingsError: the database is not empty, or in use.
            UnavailableError: database or store do not answer; to be run again.
        """
        with closing(Staging(self._means.database)) as staging:
            staging.begin()
            for institution in sorted({*self._means.institutions, *self._means.store.institutions()}):
                self._note(staging, institution)
            staging.skip_numbers()
            started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
            place = Place(
                self._means.database,
                self._means.store,
                Institutions(self._means.database),
                Headers(self._means.store.fetch, self._means.scratch),
                Writer(f"rebuild/{started}"),
            )
            self._make_studies(staging, place)
            Recovering(place, self._means.on_difference, self._rebuilt).run()
            staging.finish()
        self._tell()
        return self._rebuilt

    def _note(self, staging: Staging, institution: str) -> None:
        """Take over an institution's journal, and note what lies in its bucket."""
        store = self._means.store
        if not store.is_there(store.bucket(institution)):
            return
        self._rebuilt.institutions += 1
        stage = staging.stages().get(institution)
        if stage is None or stage is Stage.FOUND:
            staging.enter(institution, Stage.FOUND)
            staging.forget_journal(institution)
            rebuild_journal.rebuild(self._means.database, store, institution, self._rebuilt)
            staging.enter(institution, Stage.JOURNAL)
            self._tell()
        if stage is not Stage.LISTED:
            staging.run_long("DELETE FROM rebuild_listed WHERE institution = %s", (institution,))
            self._list(institution)
            staging.enter(institution, Stage.LISTED)
            self._tell()

    def _list(self, institution: str) -> None:
        lot: list[Listed] = []
        for listed in self._means.store.list(self._means.store.bucket(institution), f"{institution}/", ""):
            if is_ledger(listed.key) or listed.key.count("/") != _PARTS - 1:
                continue
            lot.append(listed)
            if len(lot) == _LISTED:
                self._enter(institution, lot)
                lot = []
        self._enter(institution, lot)

    def _enter(self, institution: str, lot: list[Listed]) -> None:
        rows = [(institution, one.key.split("/")[1], one.key, one.size) for one in lot]

        def write(connection: Connection) -> None:
            copy(connection, "rebuild_listed", "institution, study, key, size", rows)
            add_studies(connection, institution, {study for _, study, _, _ in rows})

        in_transaction(self._means.database, write)
        self._rebuilt.objects += len(rows)

    def _make_studies(self, staging: Staging, place: Place) -> None:
        self._rebuilt.studies_in_all = staging.count_studies()
        under_way: set[Future[None]] = set()
        with ThreadPoolExecutor(_AT_ONCE, "study") as pool:
            try:
                for institution, study in staging.studies():
                    under_way.add(pool.submit(self._make, place, institution, study))
                    if len(under_way) >= 2 * _AT_ONCE:
                        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                        for one in done:
                            one.result()
                for one in under_way:
                    one.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _make(self, place: Place, institution: str, study: str) -> None:
        rebuilt = Rebuilt()
        try:
            rebuild_study.rebuild(place, institution, study, rebuilt)
        except (DamagedError, UnavailableError) as error:
            # The same instance in two studies: a deletion between them is not known any more.
            if isinstance(error, UnavailableError) and not isinstance(error.__cause__, psycopg.IntegrityError):
                raise
            rebuilt.damaged += 1
            log.error("rebuild.study_damaged", extra={"study": study, "reason": str(error)})  # noqa: TRY400 - it says all
        with self._lock:
            self._rebuilt.add(rebuilt)
            self._means.tell(self._rebuilt)

    def _tell(self) -> None:
        with self._lock:
            self._means.tell(self._rebuilt)
