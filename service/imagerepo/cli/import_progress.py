"""How far an import is: a bar on a terminal, a line now and then where standard error is kept."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from imagerepo.flows.importing.tally import Tally
from imagerepo.processes.importing import Found

Show: TypeAlias = Callable[[Tally, Found], None]

_LINES: Final = 30.0  # seconds between two lines
_WINDOW: Final = 30.0  # seconds whose rate is shown


def shown(text: str) -> str:
    """A name or sentence as a terminal can show it: names of files may be any bytes."""
    plain = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in plain)


@contextmanager
def progress(*, hidden: bool) -> Generator[Show]:
    """What shows how far it is."""
    if hidden:
        yield lambda _tally, _found: None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _Lines()


@contextmanager
def _bar() -> Generator[Show]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=_WINDOW) as bar:
        task = bar.add_task("looking", total=None, rate="")

        def show(tally: Tally, found: Found) -> None:
            # Files of an earlier run cost nothing: with them rate and time left would look better than they are.
            counts = tally.counts()
            done, skipped = counts.weight, counts.noted_weight
            refused = f", {counts.refused} refused" if counts.refused else ""
            bar.update(
                task,
                description=f"{counts.stored + counts.already} stored{refused}",
                completed=done - skipped,
                total=max(found.size, done) - skipped if found.complete else None,
                rate=f"{(counts.stored + counts.already) / max(tally.seconds, 0.1):.0f}/s",
            )

        yield show


class _Lines:
    """A line now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _LINES

    def __call__(self, tally: Tally, found: Found) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LINES
        counts = tally.counts()
        of = f" of {found.size / 1e9:.1f}" if found.complete else ""
        typer.echo(
            f"{counts.stored} stored, {counts.already} there already, {counts.refused} refused; "
            f"{counts.weight / 1e9:.1f}{of} GB; {_left(tally, found)}",
            err=True,
        )


def _left(tally: Tally, found: Found) -> str:
    """The time that is left."""
    counts = tally.counts()
    done = counts.weight - counts.noted_weight
    if not found.complete:
        return f"{found.files} files found so far"
    if not done:
        return "nothing done yet"
    left = int((found.size - counts.weight) / done * tally.seconds)
    return f"{max(left, 0) // 3600}:{max(left, 0) // 60 % 60:02}:{max(left, 0) % 60:02} left"
