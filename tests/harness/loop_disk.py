"""A small disk of its own: an ext4 file system in a file, mounted through a loop device."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NoDiskError(Exception):
    """The tests of full disks cannot run here."""


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Path]:
    """A mount point with `size` bytes below `folder`. Raises NoDiskError: there is no other way to test this."""
    image, point = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(size)
    point.mkdir()
    try:
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        _run("mount", "-o", "loop", str(image), str(point))
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or b""
        raise NoDiskError(
            "THE FULL DISK WAS NOT TESTED: these tests mount a small loop device and need root, mkfs.ext4 and mount "
            f"(run them as root, or in a privileged container): {error} {said.decode(errors='replace')}"
        ) from error
    try:
        yield point
    finally:
        _run("umount", "-l", str(point))


def fill(point: Path, leave: int) -> Path:
    """Write a file that leaves `leave` bytes free; returns it."""
    path = point / "filler"
    with path.open("ab") as file:
        while (free := _free(point)) > leave + 4096:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), min(free - leave, 1 << 24))
            except OSError:
                break
            file.seek(0, os.SEEK_END)
    return path


def _free(point: Path) -> int:
    stat = os.statvfs(point)
    return stat.f_bavail * stat.f_frsize


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
