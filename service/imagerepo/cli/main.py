"""The command `imagerepo`: one verb a module; other packages add verbs by entry point (`imagerepo.commands`)."""

import os
import sys
from importlib.metadata import entry_points
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from imagerepo.cli import (
    audit,
    conformance,
    delete,
    echo,
    find,
    get,
    hold,
    importing,
    index,
    move,
    node,
    passcode,
    schema,
    send,
    serve,
    tasks,
    token,
    worklist,
)
from imagerepo.errors import ImagerepoError

app = typer.Typer(add_completion=False, help="A medical imaging repository.")
app.command("serve")(serve.serve)
app.command("token")(token.token)
app.command("conformance")(conformance.conformance)
app.command("passcode")(passcode.passcode)
app.command("echo")(echo.echo)
app.command("find")(find.find)
app.command("send")(send.send)
app.command("import")(importing.import_)
app.command("get")(get.get)
app.command("move")(move.move)
app.add_typer(node.app, name="node")
app.add_typer(worklist.app, name="worklist")
app.command("delete")(delete.delete)
app.add_typer(hold.app, name="hold")
app.add_typer(audit.app, name="audit")
app.add_typer(index.app, name="index")
app.add_typer(schema.app, name="schema")
app.add_typer(tasks.app, name="tasks")


def main() -> None:
    """Run the command line; a mistake or an error of ours is one sentence and status 1."""
    for entry in entry_points(group="imagerepo.commands"):
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
