"""`imagerepo echo`: ask a peer whether it is there."""

import json

import typer

from imagerepo.cli.target import AsJson, Config, OurTitle, Target, resolve
from imagerepo.dimse.client.verification import echo as verify


def echo(node: Target, config: Config = None, ae_title: OurTitle = None, *, as_json: AsJson = False) -> None:
    """Ask a peer whether it is there: C-ECHO."""
    ends = resolve(node, config, ae_title)
    echoed = verify(ends.peer, ends.calling)
    if as_json:
        shown = {"node": ends.peer.name, "implementation": echoed.implementation, "seconds": round(echoed.seconds, 6)}
        typer.echo(json.dumps(shown))
    else:
        typer.echo(f"{ends.peer} answers ({echoed.implementation}), in {echoed.seconds * 1000:.1f} ms")
