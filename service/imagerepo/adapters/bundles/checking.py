"""Index and objects of a cluster held against each other (ports.checking), while replicas serve.

1. Each bucket's listing against rows of objects, and these against the versions that lie in them (object_check.py).
2. Instances, versions, copies and ranges; studies and series against what they have (index_sql/row_check.py).
3. Sums of institutions.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from imagerepo.adapters.bundles.mending import Mender
from imagerepo.adapters.bundles.object_check import MiscountedObject, ObjectCheck
from imagerepo.adapters.index_sql.reads import Row
from imagerepo.adapters.index_sql.row_check import HOLDINGS, INSTITUTIONS, Miscounted, RowCheck, of_holdings
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.dialect import Postgres
from imagerepo.model.findings import Examined, Finding, Treatment

_DIALECT: Final = Postgres(has_trigrams=False)


class BundleCheck:
    """Examines a cluster."""

    def __init__(self, database: Database, store: S3Store, treatment: Treatment, grace: timedelta) -> None:
        """`grace`: how long an object may lie in a bucket without a row that names it."""
        self.examined = Examined()
        self._database = database
        self._mender = Mender(database)
        self._treatment = treatment
        self._rows = RowCheck(self._ask, self.examined)
        self._objects = ObjectCheck(database, store, self.examined, grace)

    def findings(self) -> Iterator[Finding]:
        """All that does not fit."""
        for found in self._all():
            finding = self._treated(found)
            self.examined.add(finding)
            yield finding

    def _all(self) -> Iterator[Finding | Miscounted | MiscountedObject]:
        institutions: dict[str, int] = {name: key for key, name in self._ask(INSTITUTIONS, ())}
        for name in institutions:
            yield from self._objects.findings(name)
        yield from self._objects.astray(set(institutions))
        for window in self._rows.windows():
            yield from self._rows.versions(window)
            yield from self._objects.elsewhere(*window)
        yield from self._rows.counts()
        for name, key in institutions.items():
            yield from self._held(name, key)

    def _held(self, name: str, key: int) -> Iterator[Finding]:
        (row,) = self._mender.ask_long(_DIALECT.statement(HOLDINGS), (key,) * 5)
        finding = of_holdings(name, row)
        if finding is not None:
            yield self._mended(finding, lambda: self._mender.holdings(key))

    def _treated(self, found: Finding | Miscounted | MiscountedObject) -> Finding:
        match found:
            case Finding():
                return found
            case Miscounted(finding, study):
                return self._mended(finding, lambda: self._mender.study(study))
            case MiscountedObject(finding, object_):
                return self._mended(finding, lambda: self._mender.object_(object_))

    def _mended(self, finding: Finding, mend: Callable[[], bool]) -> Finding:
        return replace(finding, repaired=self._treatment is Treatment.REPAIR and mend())

    def _ask(self, statement: str, values: Sequence[object]) -> list[Row]:
        with self._database.reading() as connection:
            return connection.run(_DIALECT.statement(statement), values).fetchall()
