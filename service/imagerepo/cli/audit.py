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
    with_ledger: Annotated[
        bool, typer.Option("--ledger", help="Of a cluster: also verify the copy in S3, and compare the two.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Verify all chains; names the first broken link and ends with status 1."""
    settings = load(config, {"data": data})
    copy = journal.verify_copy(settings) if with_ledger else None
    found = journal.verify(settings, with_bytes=with_bytes)
    if as_json:
        typer.echo(journal.as_json(found, copy))
        return
    typer.echo(journal.as_text(found))
    if copy is not None:
        typer.echo(journal.copy_as_text(copy))


@app.command()
def export(data: _Data = None, config: _Config = None) -> None:
    """Print the journal, one JSON object a line, in order of commit."""
    for line in journal.export(load(config, {"data": data})):
        typer.echo(line)


@app.command()
def acknowledge(
    reason: Annotated[str, typer.Option(help="Why; stands in the signed root.")], config: _Config = None
) -> None:
    """Say that a cluster's database was restored and lacks entries that were signed, or are in a ledger."""
    lost = journal.acknowledge(load(config, {}), reason)
    for one in lost:
        typer.echo(one)
    typer.echo(f"acknowledged as lost: {len(lost)}" if lost else "nothing is lost")


@app.command()
def key() -> None:
    """Make a key that signs the chains' roots, for setting audit.key."""
    typer.echo(journal.new_anchor_key(), nl=False)
