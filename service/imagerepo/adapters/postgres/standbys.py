"""What is only read, and then vouched for, has to be wherever a commit would be.

A server that was lost while it waited for its standbys finds in its own log, and shows, what they may never have got.
"""

from typing import Final

from imagerepo.adapters.postgres.connecting import Connection

_WRITE_SOMETHING: Final = (
    "SELECT CASE WHEN current_setting('synchronous_standby_names') <> '' "
    "THEN pg_logical_emit_message(true, 'imagerepo', '') END IS NOT NULL"
)


def await_standbys(connection: Connection) -> bool:
    """Have the end of this transaction, or of this statement outside of one, wait until standbys have all it has seen.

    Returns:
        Whether commits wait for any; if not, nothing is written.
    """
    (told,) = connection.run(_WRITE_SOMETHING).fetchone() or (False,)
    return told
