"""The command `imagerepo`: one verb a module; other packages add verbs by entry point (`imagerepo.commands`)."""

import sys
from importlib.metadata import entry_points

import typer

from imagerepo.cli import audit, index, serve, token
from imagerepo.errors import ImagerepoError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A medical imaging repository.")
app.command("serve")(serve.serve)
app.command("token")(token.token)
app.add_typer(audit.app, name="audit")
app.add_typer(index.app, name="index")


def main() -> None:
    """Run the command line; an error of ours is one sentence and status 1."""
    for entry in entry_points(group="imagerepo.commands"):
        app.add_typer(entry.load(), name=entry.name)
    try:
        app()
    except ImagerepoError as error:
        print(f"imagerepo: {error}", file=sys.stderr)  # noqa: T201 - a command's own output
        sys.exit(1)
