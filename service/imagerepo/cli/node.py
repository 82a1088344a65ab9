"""`imagerepo node`: the other application entities of the settings."""

import json

import typer

from imagerepo.cli.target import AsJson, Config, OurTitle, Target, resolve
from imagerepo.dimse.client.check import check as ask
from imagerepo.flows.nodes import Nodes
from imagerepo.settings import load

app = typer.Typer(help="Nodes: the other application entities of the settings.")


@app.command()
def check(node: Target, config: Config = None, ae_title: OurTitle = None, *, as_json: AsJson = False) -> None:
    """Tell in one line what a node accepts, or why it fails; nothing is stored there."""
    ends = resolve(node, config, ae_title)
    checked = ask(ends.peer, ends.calling)
    if as_json:
        shown = {
            "node": ends.peer.name,
            "implementation": checked.implementation,
            "echo_seconds": checked.seconds,
            "services": dict(checked.services),
            "storage": sorted(checked.storage),
            "compressed_transfer_syntaxes": sorted(checked.compressed),
        }
        typer.echo(json.dumps(shown))
    else:
        typer.echo(f"{ends.peer}, {checked.implementation}: {checked}")


@app.command("list")
def names(config: Config = None, *, as_json: AsJson = False) -> None:
    """Print the configured nodes, one a line."""
    for peer in Nodes(load(config, {})).all():
        if as_json:
            fields = {"name": peer.name, "ae_title": peer.ae_title, "host": peer.host, "port": peer.port}
            typer.echo(json.dumps(fields))
        else:
            typer.echo(str(peer))
