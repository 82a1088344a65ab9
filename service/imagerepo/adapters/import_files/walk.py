"""All files below some paths, in order of their names, a folder at a time.

What is held does not grow with the number of files: the names of a folder are sorted in portions. Links are followed,
but not to a folder that is being walked. What is no file (a pipe, a device) is not opened.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from imagerepo.model.imports import File, Unusable

_PORTION: Final = 20_000  # names that are sorted at once
_DEEPEST: Final = 200  # folders within folders; each costs an open file

Identity = tuple[int, int]
"""Device and inode."""


def identity(path: Path) -> Identity | None:
    """What a path is, by whatever name; None: nothing is there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def walk(paths: Iterable[Path], left_out: frozenset[Identity] = frozenset()) -> Iterator[File | Unusable]:
    """Every file; folders of `left_out` are not walked. What cannot be looked at is told."""
    for path in paths:
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would give another name to what is linked
        try:
            found = absolute.stat()
        except OSError as error:
            yield Unusable(str(absolute), _said(error))
            continue
        if stat.S_ISDIR(found.st_mode):
            yield from _folder(str(absolute), (), left_out)
        elif stat.S_ISREG(found.st_mode):
            yield File(absolute, found.st_size, found.st_mtime_ns, named=True)
        else:
            yield Unusable(str(absolute), "neither file nor folder")


def _folder(folder: str, above: tuple[Identity, ...], left_out: frozenset[Identity]) -> Iterator[File | Unusable]:
    """One folder's files, then those of the folders in it, portion by portion."""
    try:
        found = os.stat(folder)  # noqa: PTH116 - a million folders: text is cheaper than Path
        own = (found.st_dev, found.st_ino)
        if own in above or own in left_out:
            return
        if len(above) >= _DEEPEST:
            yield Unusable(folder, f"folders nested more than {_DEEPEST} deep are not walked")
            return
        entries = os.scandir(folder)
    except OSError as error:
        yield Unusable(folder, _said(error))
        return
    with entries:
        while True:
            portion, failed = _portion(entries)
            folders: list[str] = []
            for entry in portion:
                file = _looked_at(entry, folders)
                if file is not None:
                    yield file
            for below in folders:
                yield from _folder(below, (*above, own), left_out)
            if failed is not None:
                yield Unusable(folder, failed)
            if failed is not None or len(portion) < _PORTION:
                return


def _portion(entries: Iterator[os.DirEntry[str]]) -> tuple[list[os.DirEntry[str]], str | None]:
    """Some entries, sorted, and why there are no more if that is a fault."""
    portion: list[os.DirEntry[str]] = []
    failed = None
    try:
        for entry in entries:
            portion.append(entry)
            if len(portion) == _PORTION:
                break
    except OSError as error:
        failed = _said(error)
    portion.sort(key=lambda entry: entry.name)
    return portion, failed


def _looked_at(entry: os.DirEntry[str], folders: list[str]) -> File | Unusable | None:
    """A file; folders go to `folders`."""
    try:
        if entry.is_dir():
            folders.append(entry.path)
            return None
        found = entry.stat()
    except OSError as error:
        return Unusable(entry.path, _said(error))
    if not stat.S_ISREG(found.st_mode):
        return None
    return File(Path(entry.path), found.st_size, found.st_mtime_ns)


def _said(error: OSError) -> str:
    return error.strerror or str(error)
