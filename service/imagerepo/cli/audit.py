"""`imagerepo audit`: verify and export the journal."""

from pathlib import Path
from typing import Annotated

import typer

from imagerepo.processes import journal
from imagerepo.settings import load

app = typer.Typer(help="The journal: who did what.")

_Data = Annotated[Path | None, typer.Option(help="Data folder.", show_default="data")]
_Config = Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")]


@app.command()
def verify(
    data: _Data = None,
    config: _Config = None,
    *,
    with_bytes: Annotated[bool, typer.Option("--bytes", help="Also compare every instance's bytes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Verify all chains; names the first broken link and ends with status 1."""
    found = journal.verify(load(config, {"data": data}), with_bytes=with_bytes)
    typer.echo(journal.as_json(found) if as_json else journal.as_text(found))


@app.command()
def export(data: _Data = None, config: _Config = None) -> None:
    """Print the journal, one JSON object a line, in order of commit."""
    for line in journal.export(load(config, {"data": data})):
        typer.echo(line)


@app.command()
def key() -> None:
    """Make a key that signs the chains' roots, for setting audit.key."""
    typer.echo(journal.new_anchor_key(), nl=False)
