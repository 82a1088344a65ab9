"""In a network of its own: what a process hears of its database when packets are swallowed, then when they are not.

Writes lines of what came of it. The new network's loopback interface is down at first.
"""

import sys
import threading

from imagerepo.adapters.postgres.database import Database
from imagerepo.errors import UnavailableError
from tests.harness.loopback import set_loopback
from tests.testbed.shared import own_postgres


def ask(database: Database, what: str, statement: str) -> None:
    try:
        with database.reading() as connection:
            answer: object = connection.execute(statement.encode()).fetchone()
    except UnavailableError as error:
        answer = error
    sys.stdout.write(f"{what} {answer}\n")


def main() -> None:
    set_loopback(up=True)
    database = Database(own_postgres().plan.postgres.url)
    with database.reading(), database.reading():
        pass
    waiting = threading.Thread(target=ask, args=(database, "waiting:", "SELECT pg_sleep(29)"))
    waiting.start()
    while True:
        with database.reading() as connection:
            if connection.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep(29)%'").fetchone():
                break
    set_loopback(up=False)
    ask(database, "asking:", "SELECT 2")
    waiting.join()
    set_loopback(up=True)
    ask(database, "later:", "SELECT 3")


if __name__ == "__main__":
    main()
