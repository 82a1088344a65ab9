"""`imagerepo index`: rebuild the index from what is stored."""

import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.status import Status

from imagerepo.model.rebuilt import Rebuilt
from imagerepo.processes import logs
from imagerepo.processes import rebuild as process
from imagerepo.settings import Settings, load
from imagerepo.settings_cluster import Cluster

app = typer.Typer(help="The index.")

_LINES: Final = 30.0  # seconds between two lines where standard error is kept
_SHOWN: Final = 0.2  # seconds between two looks of a terminal


@app.command()
def rebuild(
    data: Annotated[Path | None, typer.Option(help="Data folder.", show_default="data")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")] = None,
) -> None:
    """Make the index anew from what is stored; nothing that serves may be running.

    Of a data folder: beside the old one until it is complete. Of a cluster: in an empty database with the schema, from
    the ledger and the objects in S3; one that was ended goes on when it is run again.
    """
    logs.begin()
    settings = load(config, {"data": data})
    if settings.cluster is not None:
        _rebuild_cluster(settings, settings.cluster)
        return
    replayed = process.rebuild(settings)
    typer.echo(f"{replayed.instances} versions from {replayed.commits} commits")
    if replayed.damaged:
        typer.echo(f"{replayed.damaged} could not be read; their places are in the log above")
        raise typer.Exit(1)


def _rebuild_cluster(settings: Settings, shared: Cluster) -> None:
    with Status("", console=Console(stderr=True)) as status:
        rebuilt = process.rebuild_cluster(settings, shared, _Shown(status))
    typer.echo(process.as_text(rebuilt))
    if not rebuilt.is_whole:
        typer.echo(
            f"{rebuilt.lost} versions without bytes, {rebuilt.damaged} objects or instances that cannot be read; "
            "their names are in the log above"
        )
        raise typer.Exit(1)


class _Shown:
    """How far it is: on a terminal all the time, else a line now and then."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._every = _SHOWN if sys.stderr.isatty() else _LINES
        self._next = time.monotonic() + self._every

    def __call__(self, rebuilt: Rebuilt) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        if sys.stderr.isatty():
            self._status.update(process.as_text(rebuilt))
        else:
            typer.echo(process.as_text(rebuilt), err=True)
