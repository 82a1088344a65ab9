"""How often something was deleted in the whole cluster, as this process knows it.

It is looked up about once a second. Bytes of what was deleted stay for longer than that (deletion.reclaim_delay), and
no other bytes ever come to lie under their name: who reads meanwhile reads what was stored.
"""

from imagerepo.adapters.postgres.database import Database

_GENERATION = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM generation"


class Generation:
    """The number; any thread may ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = 0

    def now(self) -> int:
        """As it was when it was last looked up."""
        return self._known

    def look(self) -> None:
        """Look it up. Raises UnavailableError."""
        with self._database.reading() as connection:
            (self._known,) = connection.run(_GENERATION).fetchone() or (self._known,)
