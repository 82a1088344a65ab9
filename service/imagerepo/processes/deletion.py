"""Delete on a data folder that no server uses."""

import getpass
import os
from collections.abc import Generator
from contextlib import contextmanager

from imagerepo.errors import BadRequestError, SettingsError
from imagerepo.flows.deletion import Deletion
from imagerepo.model.caller import Caller, Protocol, Role
from imagerepo.processes import assembly
from imagerepo.processes.assembly import embedded
from imagerepo.processes.assembly.embedded import FolderLock
from imagerepo.settings import Settings

_WRITER = "cli-0"


@contextmanager
def on_folder(settings: Settings) -> Generator[Deletion]:
    """Delete and hold; at the end bytes of what was deleted are given back.

    Raises:
        SettingsError: it is no data folder, or a server runs on it.
    """
    data = embedded.existing_data(settings)
    try:
        lock = FolderLock(data)
    except SettingsError as error:
        raise SettingsError(f"{error}; or have the server that runs do it: --to URL") from error
    with lock:
        shape = embedded.make_ready(settings, data, [_WRITER])
        parts = shape.parts(_WRITER)
        try:
            yield assembly.deletion(settings, parts)
        finally:
            parts.close()
        shape.give_back()


def caller(settings: Settings, institution: str | None) -> Caller:
    """Who runs the command. Raises BadRequestError if it has to say for which institution."""
    known = [one.id for one in settings.tenants]
    if institution is None and len(known) > 1:
        raise BadRequestError(f"there are several institutions; name one of {', '.join(known)} (--institution)")
    if institution is not None and institution not in known:
        raise BadRequestError(f"there is no institution {institution!r}; there are {', '.join(known)}")
    return Caller(institution or known[0], f"cli:{_user()}", "127.0.0.1", Protocol.CLI, frozenset({Role.ADMIN}))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without name, as in containers
        return str(os.getuid())
