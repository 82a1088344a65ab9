"""Files that a DICOMDIR names, as they are called on a medium, or on what it was copied to.

A medium has upper case; copies of it often have lower case, and ISO 9660's version numbers or final dots.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

_VERSION: Final = re.compile(r"\.?(;\d+)?\Z")
_KEPT: Final = 64  # folders whose names are remembered


class Medium:
    """The folder of a DICOMDIR."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names = lru_cache(_KEPT)(_names)

    def find(self, components: Sequence[str]) -> Path | None:
        """The file of that ID; None: it is not there, or would lie outside."""
        place = self._root
        for component in components:
            if component in {"", ".", ".."} or "\0" in component:
                return None
            exact = place / component
            if not exact.exists():
                name = self._names(place).get(_folded(component))
                if name is None:
                    return None
                exact = place / name
            place = exact
        return place if place.is_file() else None


def _names(folder: Path) -> dict[str, str]:
    try:
        return {_folded(one): one for one in _listed(folder)}
    except OSError:
        return {}


def _listed(folder: Path) -> Iterator[str]:
    yield from (one.name for one in folder.iterdir())


def _folded(name: str) -> str:
    return _VERSION.sub("", name).casefold()
