"""A data folder that is left for a cluster: its commits in order, and which versions of theirs are still there.

Nothing runs on the folder. Its index is brought up to its segments, as a start does it; nothing else is changed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.segments import index_file, lines, replay
from imagerepo.adapters.segments.journal import SegmentJournal
from imagerepo.adapters.segments.lines import StoreLine
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.adapters.segments.replay import Commit
from imagerepo.errors import DamagedError

_NAMED: Final = 16  # hexadecimal digits of a folder's name
_INSTITUTIONS: Final = "SELECT name FROM institution UNION SELECT institution FROM chain ORDER BY 1"
_SIZE: Final = "SELECT coalesce(sum(hot_bytes + cold_bytes), 0) FROM holding"
_IS_THERE: Final = (
    "SELECT 1 FROM institution n JOIN instance i ON i.institution_id = n.id AND i.uid = ? "
    "JOIN version v ON v.instance_id = i.id AND v.number = ? AND v.commit_number = ? WHERE n.name = ?"
)


class Leaving:
    """One data folder. For one thread."""

    def __init__(self, data: Path) -> None:
        """Bring its index up; its lock is held.

        Raises:
            DamagedError: its journal is not whole, so that nobody could prove what would be carried over.
            UnavailableError: the disk failed.
        """
        index_file.bring_up(data)
        try:
            SegmentJournal(data, None).verify(with_bytes=False)
        except DamagedError as error:
            raise DamagedError(f"the journal of {data} cannot be carried over as it is: {error}") from error
        self._data = data
        self._index = connect(data / INDEX)
        self.objects = LocalObjects(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()

    def name(self) -> str:
        """By which it is known again, wherever it lies: its first journal line, which stays; empty: none."""
        first = next((line for commit in self.commits() for line in commit.journal), None)
        return "" if first is None else lines.digest_of(first)[:_NAMED]

    def institutions(self) -> tuple[str, ...]:
        """Whose instances or journal lines it has."""
        return tuple(row[0] for row in self._index.execute(_INSTITUTIONS))

    def size(self) -> int:
        """Bytes of all versions that it has now."""
        (size,) = self._index.execute(_SIZE).fetchone()
        return size

    def commits(self) -> Iterator[Commit]:
        """All that count, in order."""
        return replay.counted(self._data)

    def is_there(self, line: StoreLine) -> bool:
        """Whether what a line has stored was not deleted since."""
        names = (line.instance_uid, line.version, line.commit, line.institution)
        return self._index.execute(_IS_THERE, names).fetchone() is not None
