"""`imagerepo get`: fetch instances from a peer into files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from imagerepo.cli.move import as_fields, as_text
from imagerepo.cli.retrieval import Keys, Level, Model
from imagerepo.cli.target import AsJson, Config, OurTitle, Target, resolve
from imagerepo.dimse.client import levels, wanted
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.fetching import Folder
from imagerepo.dimse.client.levels import QueryLevel, Root
from imagerepo.dimse.client.query import get as ask
from imagerepo.errors import BadRequestError


def get(  # noqa: PLR0913 - the options of a command
    node: Target,
    keys: Keys = None,
    to: Annotated[Path, typer.Option(help="Folder for the files; made if missing.")] = Path(),
    level: Level = QueryLevel.STUDY,
    model: Model = Root.STUDY,
    config: Config = None,
    ae_title: OurTitle = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Fetch what the keys name from a peer: C-GET. Each instance becomes a file; status 1 if any did not come."""
    identifier = levels.retrieval(level, model, keys or ())
    ends = resolve(node, config, ae_title)
    folder = _folder(to, ends.peer.ae_title)
    asked = model.model
    proposed = wanted.contexts(asked, wanted.kinds_of(ends.peer, ends.calling, asked, identifier))
    roles = wanted.roles(proposed, asked)
    with Connection.open(ends.peer, ends.calling, proposed, roles=roles) as connection:
        *_, last = ask(connection, asked, identifier, folder)
    if as_json:
        typer.echo(json.dumps({"stored": folder.stored, "bytes": folder.size, **as_fields(last)}))
    else:
        problem = f"\n  {folder.problem}" if folder.problem else ""
        typer.echo(f"{folder.stored} files in {to}; {as_text(last)}{problem}")
    if last.failed or last.failed_uids or last.status:
        raise typer.Exit(1)


def _folder(path: Path, source: str) -> Folder:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequestError(f"cannot make folder {path}: {error.strerror}") from error
    return Folder(path, source)
