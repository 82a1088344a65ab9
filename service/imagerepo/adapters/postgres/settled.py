"""Transactions of which it is known in the end what became of them, whatever becomes of connection and server.

Each begins with a row of its own, a token. Where COMMIT is in doubt, another connection writes a row of that token.
It waits for the transaction if that is still under way, and meets its row if it was committed. If not, the token is
taken now, and the transaction can never be committed. So it is told after a crash of the server too, and by a standby
that took over.

Who asks always writes, so that the answer is wherever `synchronous_standby_names` has what is committed: what a
server finds in its own log after a crash need not be there yet.

A token begins with the time at which it was made: rows of an hour ago go by a range of the primary key.
"""

import secrets
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar
from uuid import UUID

from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.failures import InDoubtError, RolledBackError
from imagerepo.errors import UnavailableError

Result = TypeVar("Result")

_TRIES: Final = 4  # at what others were in the way of
_ASKED_FOR: Final = 12.0  # seconds: longer than a transaction lasts whose client is gone (connecting.py)
_PAUSE: Final = 0.2  # seconds
_LOCKS: Final = "2s"  # how long a transaction that is still under way is waited for at a time
_FORGOTTEN: Final = 10_000  # rows at once
_RANDOM: Final = 80  # bits of a token, behind milliseconds since 1970

_LOST: Final = "the database was lost while it committed"

_BEGIN: Final = "INSERT INTO settlement (token, stands) VALUES (%s, true)"
# By the database's clock, whatever became of ours meanwhile.
_OLDEST: Final = (
    "(lpad(to_hex((extract(epoch FROM now() - interval '{age}') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid"
)
_ASK: Final = (
    "INSERT INTO settlement (token, stands) SELECT t, false FROM (SELECT %s::uuid AS t) AS o "
    f"WHERE set_config('lock_timeout', %s, true) IS NOT NULL AND t > {_OLDEST.format(age='10 minutes')} "
    "ON CONFLICT (token) DO UPDATE SET stands = settlement.stands RETURNING stands"
)
_FORGET: Final = (
    "DELETE FROM settlement WHERE token IN (SELECT token FROM settlement "
    f"WHERE token < {_OLDEST.format(age='1 hour')} ORDER BY token LIMIT %s FOR UPDATE SKIP LOCKED)"
)


@contextmanager
def settled(database: Database) -> Generator[Connection]:
    """Like `Database.transaction`, without the doubt, and for no round trip more.

    Raises:
        UnavailableError: nothing has changed.
        InDoubtError: the database could not be asked what has.
    """
    token = _new_token()
    try:
        with database.transaction() as connection:
            with connection.pipeline():  # with BEGIN
                connection.run(_BEGIN, (token,))
            yield connection
    except InDoubtError as error:
        if not _stands(database, token):
            raise UnavailableError(f"{error}; it was undone") from error


def in_transaction(database: Database, work: Callable[[Connection], Result]) -> Result:
    """What `work` returns of a transaction, which is tried again where others were in the way. Raises likewise."""
    for _ in range(_TRIES - 1):
        try:
            with settled(database) as connection:
                return work(connection)
        except RolledBackError:
            continue
    with settled(database) as connection:
        return work(connection)


def forget(database: Database) -> int:
    """Remove some rows that nobody asks after any more; how many. Raises UnavailableError."""
    with database.reading() as connection:
        return connection.run(_FORGET, (_FORGOTTEN,)).rowcount


def _new_token() -> UUID:
    return UUID(int=time.time_ns() // 1_000_000 << _RANDOM | secrets.randbits(_RANDOM))


def _stands(database: Database, token: UUID) -> bool:
    """Whether the transaction was committed; if not, it never will be. Raises InDoubtError."""
    deadline = time.monotonic() + _ASKED_FOR
    while True:
        try:
            with database.reading() as connection:
                found = connection.run(_ASK, (token, _LOCKS)).fetchone()
            break
        except UnavailableError as error:
            if time.monotonic() > deadline:
                raise InDoubtError(f"{_LOST}, and cannot be asked what it did") from error
        time.sleep(_PAUSE)
    if found is None:
        raise InDoubtError(f"{_LOST}, too long ago to be asked what it did")
    return found[0]
