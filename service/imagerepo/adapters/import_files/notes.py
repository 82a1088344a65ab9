"""Notes of what was stored, so that an import that was stopped goes on where it was: one SQLite file a target.

A note is a digest of path, size and time of modification: what has changed since is imported again. A crash may take
the last of them away; what they were about is then stored once more.
"""

import os
import sqlite3
from collections.abc import Collection
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

from imagerepo.errors import OutOfSpaceError, SettingsError, UnavailableError
from imagerepo.model.imports import File

_FORMAT: Final = "1"
_KEY: Final = 16  # bytes; among a thousand million files two of one key are less likely than any other mishap
_AT_ONCE: Final = 500  # keys in one statement
_PATIENCE: Final = 60.0  # seconds for another import that writes the same notes
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS done (key BLOB PRIMARY KEY) WITHOUT ROWID;
"""


def key_of(file: File) -> bytes:
    """Of a file as it stands."""
    made = blake2b(os.fsencode(file.path), digest_size=_KEY)
    made.update(b"\0%d\0%d" % (file.size, file.modified))
    return made.digest()


def key_within(whole: bytes, member: str, place: int) -> bytes:
    """Of a member of an archive whose key is `whole`; several may have one name, but not one place."""
    made = blake2b(whole, digest_size=_KEY)
    made.update(b"%d\0" % place + member.encode("utf-8", "surrogateescape"))
    return made.digest()


class SqlNotes:
    """ports.imports.Notes in a file. Use as a context."""

    def __init__(self, file: Path, target: str) -> None:
        """Open or begin the notes of what is stored in `target`.

        Raises:
            SettingsError: it is no such file, or about another target.
        """
        self._lock = Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"--journal: cannot use {file}: {error}") from error
        try:
            self._begin(target)
        except sqlite3.Error as error:
            self._connection.close()
            raise SettingsError(f"--journal: {file} is no journal of an import: {error}") from error
        except SettingsError as error:
            self._connection.close()
            raise SettingsError(f"--journal: {file} {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._connection.close()

    def known(self, keys: Collection[bytes]) -> set[bytes]:
        """See ports.imports.Notes."""
        wanted = list(keys)
        found: set[bytes] = set()
        with self._lock:
            for start in range(0, len(wanted), _AT_ONCE):
                part = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                statement = f"SELECT key FROM done WHERE key IN ({marks})"  # noqa: S608 - marks alone
                found.update(key for (key,) in self._connection.execute(statement, part))
        return found

    @property
    def study(self) -> str:
        """See ports.imports.Notes."""
        with self._lock:
            return dict(self._connection.execute("SELECT name, value FROM about")).get("study", "")

    def note(self, keys: Collection[bytes], study: str = "") -> None:
        """See ports.imports.Notes. Raises UnavailableError."""
        try:
            with self._lock, closing(self._connection.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                cursor.executemany("INSERT OR IGNORE INTO done VALUES (?)", [(key,) for key in keys])
                if study:
                    cursor.execute("INSERT OR REPLACE INTO about VALUES ('study', ?)", (study,))
                cursor.execute("COMMIT")
        except sqlite3.Error as error:
            kind = OutOfSpaceError if error.sqlite_errorcode == sqlite3.SQLITE_FULL else UnavailableError
            raise kind(f"the journal (--journal) cannot be written: {error}") from error

    def _begin(self, target: str) -> None:
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL"):
            self._connection.execute(statement)
        self._connection.executescript(_SCHEMA)
        given = {"format": _FORMAT, "target": target}
        self._connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", list(given.items()))
        about = dict(self._connection.execute("SELECT name, value FROM about"))
        if about["format"] != _FORMAT:
            raise SettingsError("was written by another imagerepo; give a new one")
        if about["target"] != target:
            raise SettingsError(f"is about {about['target']}, not {target}; give another")
