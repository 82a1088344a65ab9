"""`imagerepo schema`: bring the database of a cluster up to this program, as a step of its own."""

from pathlib import Path
from typing import Annotated

import typer

from imagerepo.processes import logs
from imagerepo.processes.assembly import schema
from imagerepo.settings import load

app = typer.Typer(help="The schema of a cluster's database.")

_Config = Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")]


@app.command()
def upgrade(config: _Config = None) -> None:
    """Upgrade the schema to this program's, or make it; replicas may serve meanwhile."""
    logs.begin()
    for sentence in schema.upgrade(load(config, {})):
        typer.echo(sentence)


@app.command()
def check(config: _Config = None) -> None:
    """Tell whether the schema is this program's; exit status 1 if it is not."""
    schema.check(load(config, {}))
    typer.echo("the schema is this program's")
