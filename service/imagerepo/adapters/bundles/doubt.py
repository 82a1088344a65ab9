"""What became of a transaction whose connection was lost during COMMIT."""

import time
from typing import Final

from imagerepo.adapters.bundles import known
from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.failures import InDoubtError
from imagerepo.adapters.postgres.standbys import await_standbys
from imagerepo.errors import UnavailableError

_PATIENCE: Final = 8.0  # seconds until whoever waits is told that it is not known
_PAUSE: Final = 0.05  # seconds before asking again


def is_committed(database: Database, writer: str, commit: int, doubt: InDoubtError) -> bool:
    """Whether a writer's last transaction, which had that number, was committed.

    It has the writer's lock as long as it is under way: who gets the lock finds what is to stay.

    Raises:
        InDoubtError: nobody tells within 8 s; it is `doubt`.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with database.transaction() as connection:
                connection.run(sql.LOCK_WRITER, (known.PATIENCE, known.lock_of_writer(writer)))
                found = connection.run(sql.FIND_COMMIT, (commit, writer)).fetchone()
                await_standbys(connection)
        except UnavailableError:
            if time.monotonic() > deadline:
                raise doubt from None
            time.sleep(_PAUSE)
        else:
            return found is not None
