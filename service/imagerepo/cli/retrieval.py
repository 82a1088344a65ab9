"""What the commands that query and retrieve have in common: levels, models, keys."""

from typing import Annotated

import typer

from imagerepo.dimse.client.levels import QueryLevel, Root

Keys = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY[=VALUE]]...", help="Keywords or tags; with a value they have to match."),
]
Level = Annotated[QueryLevel, typer.Option(help="What the keys describe.")]
Model = Annotated[Root, typer.Option(help="Information model: patient root or study root.")]
