"""`imagerepo index`: rebuild the index from what is stored."""

from pathlib import Path
from typing import Annotated

import typer

from imagerepo.processes import logs
from imagerepo.processes import rebuild as process
from imagerepo.settings import load

app = typer.Typer(help="The index.")


@app.command()
def rebuild(
    data: Annotated[Path | None, typer.Option(help="Data folder.", show_default="data")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")] = None,
) -> None:
    """Make the index anew from what is stored, beside the old one until it is complete; no server may be running."""
    logs.begin()
    replayed = process.rebuild(load(config, {"data": data}))
    typer.echo(f"{replayed.instances} versions from {replayed.commits} commits")
    if replayed.damaged:
        typer.echo(f"{replayed.damaged} could not be read; their places are in the log above")
        raise typer.Exit(1)
