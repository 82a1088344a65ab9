"""A standby that takes over: found by replicas that name both servers, with all that was acknowledged."""

import threading
from datetime import UTC, datetime

from imagerepo.adapters.postgres import schema, upgrading
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.tasks import PostgresTasks
from imagerepo.model.task import NewTask, TaskKind
from imagerepo.ports.tasks import Selection
from tests.harness import databases
from tests.harness.database_relay import Loss, between
from tests.harness.standby import following, take_over
from tests.testbed.shared import own_postgres

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def add(database: Database, name: str) -> None:
    PostgresTasks(database, "any").add([NewTask(TaskKind.FORWARD, "default", "ARCHIVE", "lane", name, "{}", NOW)])


def names(database: Database) -> list[str]:
    return [one.name for one in PostgresTasks(database, "any").page(Selection(), 0, 1000)]


def test_what_was_acknowledged_is_on_the_standby_that_takes_over() -> None:
    primary = own_postgres()
    standby = following(primary)
    first, second = primary.plan.postgres, standby.plan.postgres
    with between(first.port) as relay:
        both = first.url.replace(f":{first.port}/", f":{second.port},127.0.0.1:{relay.port}/")  # the standby first
        with databases.opened(both) as database:
            upgrading.upgrade(database)
            acknowledged = [str(number) for number in range(50)]
            for name in acknowledged:
                add(database, name)
            relay.loss = Loss.ALL_FROM_COMMIT
            taking_over = threading.Timer(0.5, take_over, (primary, standby))
            taking_over.start()
            add(database, "in doubt")  # the standby tells
            taking_over.join()
            add(database, "afterwards")
            schema.check(database)
            assert names(database) == [*acknowledged, "in doubt", "afterwards"]
