"""The command `imagerepo`: one verb a module; other packages add verbs by entry point (`imagerepo.commands`)."""

import os
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final, NoReturn

import typer
from typer.exceptions import TyperException

from imagerepo.errors import ImagerepoError

VERBS: Final[Mapping[str, str]] = {
    "serve": "serve:serve",
    "worker": "worker:worker",
    "token": "token:token",
    "conformance": "conformance:conformance",
    "passcode": "passcode:passcode",
    "echo": "echo:echo",
    "find": "find:find",
    "send": "send:send",
    "import": "importing:import_",
    "get": "get:get",
    "move": "move:move",
    "node": "node:app",
    "worklist": "worklist:app",
    "delete": "delete:delete",
    "hold": "hold:app",
    "audit": "audit:app",
    "fsck": "fsck:fsck",
    "index": "index:app",
    "reindex": "reindex:reindex",
    "schema": "schema:app",
    "tasks": "tasks:app",
}
"""Module of each verb, and what in it: a function, or verbs below it."""


def command_line(verbs: Iterable[str] = VERBS) -> typer.Typer:
    """These verbs. Each imports what it needs: together they take two seconds."""
    made = typer.Typer(add_completion=False, help="A medical imaging repository.")
    made.callback()(_group)
    for verb in verbs:
        module, _, name = VERBS[verb].partition(":")
        found: Any = getattr(import_module(f"imagerepo.cli.{module}"), name)
        if isinstance(found, typer.Typer):
            made.add_typer(found, name=verb)
        else:
            made.command(verb)(found)
    return made


def _group() -> None:
    """Be a group, even of one verb."""


def main() -> None:
    """Run the command line; a mistake or an error of ours is one sentence and status 1."""
    asked = [one for one in sys.argv[1:2] if one in VERBS]
    app = command_line(asked or VERBS)
    for entry in () if asked else entry_points(group="imagerepo.commands"):
        app.add_typer(entry.load(), name=entry.name)
    try:
        status: object = app(prog_name="imagerepo", standalone_mode=False)
    except TyperException as error:
        _fail(_mistake(error))
    except ImagerepoError as error:
        _fail(str(error))
    except typer.Abort:
        _fail("stopped")
    except BrokenPipeError:
        # Who read our output has left; Python would say so again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _mistake(error: TyperException) -> str:
    """A wrong option or argument, and where the right ones are listed."""
    context: object = getattr(error, "ctx", None)
    path: str = getattr(context, "command_path", "imagerepo")
    text = " ".join(error.format_message().split()).removesuffix(".")
    return f"{text}{'' if text.endswith('?') else ';'} `{path} --help` tells what there is"


def _fail(sentence: str) -> NoReturn:
    print(f"imagerepo: {sentence}", file=sys.stderr)  # noqa: T201 - a command's own output
    sys.exit(1)
