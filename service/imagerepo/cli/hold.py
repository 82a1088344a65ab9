"""`imagerepo hold`: legal holds, which keep a study from being deleted."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from imagerepo.cli.remote import Institution, Remote, To, TokenFile
from imagerepo.flows.deletion import Deletion
from imagerepo.model.caller import Caller
from imagerepo.model.uids import parse_uid
from imagerepo.processes import deletion, logs
from imagerepo.settings import load

app = typer.Typer(help="Legal holds: a study that is held cannot be deleted.")

_Study = Annotated[str, typer.Argument(help="Study Instance UID.")]
_Reason = Annotated[str, typer.Option(help="Why; it stands in the journal.")]
_Data = Annotated[Path | None, typer.Option(help="Data folder, if no server runs.", show_default="data")]
_Config = Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")]
_PAGE = 1000  # holds asked for at a time


@app.command("set")
def set_hold(
    study: _Study,
    *,
    reason: _Reason,
    to: To = None,
    token_file: TokenFile = None,
    data: _Data = None,
    config: _Config = None,
    institution: Institution = None,
) -> None:
    """Have nothing of a study deleted from now on."""
    uid = parse_uid(study, "Study Instance UID")
    if to is not None:
        Remote(to, token_file, institution).ask("PUT", f"/study/{uid}/hold", {"reason": reason})
    else:
        with _folder(data, config, institution) as (holding, caller):
            holding.hold(caller, uid, reason)
    typer.echo("held")


@app.command()
def lift(
    study: _Study,
    *,
    reason: _Reason,
    to: To = None,
    token_file: TokenFile = None,
    data: _Data = None,
    config: _Config = None,
    institution: Institution = None,
) -> None:
    """Let a study be deleted again."""
    uid = parse_uid(study, "Study Instance UID")
    if to is not None:
        Remote(to, token_file, institution).ask("DELETE", f"/study/{uid}/hold", {"reason": reason})
    else:
        with _folder(data, config, institution) as (holding, caller):
            holding.release(caller, uid, reason)
    typer.echo("lifted")


@app.command("list")
def listing(
    *,
    to: To = None,
    token_file: TokenFile = None,
    data: _Data = None,
    config: _Config = None,
    institution: Institution = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the studies that are held: since when, by whom and why."""
    if to is not None:
        found = _of_server(Remote(to, token_file, institution))
    else:
        with _folder(data, config, institution) as (holding, caller):
            found = _of_folder(holding, caller)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        typer.echo(f"{one['study']}  {one['at'][:10]}  {one['caller']}  {one['reason']}")
    typer.echo(f"{len(found)} studies are held")


def _of_server(server: Remote) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := json.loads(server.ask("GET", "/holds", {"after": found[-1]["study"] if found else ""})):
        found += page
    return found


def _of_folder(holding: Deletion, caller: Caller) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := holding.holds(caller, found[-1]["study"] if found else "", _PAGE):
        found += [
            {"study": one.study_uid, "at": one.at.isoformat(), "caller": one.caller, "reason": one.reason}
            for one in page
        ]
    return found


@contextmanager
def _folder(data: Path | None, config: Path | None, institution: str | None) -> Generator[tuple[Deletion, Caller]]:
    logs.begin()
    settings = load(config, {"data": data})
    caller = deletion.caller(settings, institution)
    with deletion.on_folder(settings) as holding:
        yield holding, caller
