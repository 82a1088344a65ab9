"""`imagerepo delete`: delete a study, a series or an instance."""

import json
from pathlib import Path
from typing import Annotated

import typer

from imagerepo.cli.remote import Institution, Remote, To, TokenFile
from imagerepo.model.scope import Scope
from imagerepo.model.uids import parse_uid
from imagerepo.processes import deletion, logs
from imagerepo.settings import load


def delete(  # noqa: PLR0913 - one argument an option
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    series: Annotated[str | None, typer.Option(help="Series Instance UID: only that series.")] = None,
    instance: Annotated[str | None, typer.Option(help="SOP Instance UID: only that instance, of --series.")] = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; it stands in the journal.")],
    to: To = None,
    token_file: TokenFile = None,
    data: Annotated[Path | None, typer.Option(help="Data folder, if no server runs.", show_default="data")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")] = None,
    institution: Institution = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Delete a study, a series or an instance: by the server --to names, or on a folder that no server uses."""
    if instance is not None and series is None:
        raise typer.BadParameter("--instance needs the --series that it is in")
    scope = Scope(
        institution or "",
        parse_uid(study, "Study Instance UID"),
        None if series is None else parse_uid(series, "Series Instance UID"),
        None if instance is None else parse_uid(instance, "SOP Instance UID"),
    )
    count: int | None = None
    if to is not None:
        Remote(to, token_file, institution).ask("DELETE", _path(scope), {"reason": reason})
    else:
        logs.begin()
        settings = load(config, {"data": data})
        caller = deletion.caller(settings, institution)
        with deletion.on_folder(settings) as deleting:
            count = deleting.delete(caller, scope, reason)
    if as_json:
        typer.echo(json.dumps({"deleted": instance or series or study, "instances": count}))
    else:
        typer.echo("deleted" if count is None else f"deleted: {count} instances")


def _path(scope: Scope) -> str:
    names = [("studies", scope.study_uid), ("series", scope.series_uid), ("instances", scope.instance_uid)]
    return "/dicom-web" + "".join(f"/{name}/{uid}" for name, uid in names if uid is not None)
