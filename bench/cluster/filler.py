"""A replica above an index that has many instances already, whose rows PostgreSQL made itself; they have no bytes."""

import sys
from contextlib import closing

from bench.cluster.ground import BedGround
from bench.cluster.replicas import INSTITUTION, Replica
from imagerepo.adapters.postgres.database import Database
from imagerepo.settings import load
from tests.harness.index_rows import INSTANCES_A_STUDY, make_rows

AT_ONCE = 500
"""Studies in one transaction."""
_TOLD = 10_000  # studies


class Filled(Replica):
    """One replica, started on a database that is full already."""

    def __init__(self, ground: BedGround, instances: int) -> None:
        super().__init__(ground.work / "data" / f"{self.name}-{instances}", ground.bed)
        self.studies = instances // INSTANCES_A_STUDY

    def populate(self) -> None:
        """Put the rows there, counted and with nothing left to tidy, as they are in a database that is not new."""
        super().populate()
        shared = load(self.settings, {}).cluster
        assert shared is not None
        with closing(Database(shared.database.url, shared.database.password_file)) as database:
            for first in range(0, self.studies, AT_ONCE):
                make_rows(database, 1, INSTITUTION, range(first, min(first + AT_ONCE, self.studies)))
                if first % _TOLD == 0 and first:
                    print(f"  {first * INSTANCES_A_STUDY:,} instances indexed", file=sys.stderr, flush=True)
            with database.place.connect_for_changes() as connection:
                connection.execute("VACUUM (ANALYZE)")
