"""`imagerepo move`: have a peer send to another."""

import json
from typing import Annotated

import typer

from imagerepo.cli.retrieval import Keys, Level, Model
from imagerepo.cli.target import AsJson, Config, OurTitle, Target, checked, resolve
from imagerepo.dimse.client import levels
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.levels import QueryLevel, Root
from imagerepo.dimse.client.negotiation import propose
from imagerepo.dimse.client.query import SYNTAXES, Progress
from imagerepo.dimse.client.query import move as ask
from imagerepo.dimse.client.statuses import explain


def move(  # noqa: PLR0913 - the options of a command
    node: Target,
    to: Annotated[str, typer.Option(help="AE title of the destination, as the peer knows it.")],
    keys: Keys = None,
    level: Level = QueryLevel.STUDY,
    model: Model = Root.STUDY,
    config: Config = None,
    ae_title: OurTitle = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Have a peer send what the keys name to another one: C-MOVE. Ends with status 1 if anything was not sent."""
    identifier = levels.retrieval(level, model, keys or ())
    to = checked(to)
    ends = resolve(node, config, ae_title)
    with Connection.open(ends.peer, ends.calling, propose([(model.model.move, SYNTAXES)])) as connection:
        *_, last = ask(connection, model.model, identifier, to)
    typer.echo(json.dumps(as_fields(last)) if as_json else f"to {to}: {as_text(last)}")
    if last.failed or last.failed_uids or last.status:
        raise typer.Exit(1)


def as_text(progress: Progress) -> str:
    """What came of a retrieval, for people."""
    counts = f"{progress.completed} instances, {progress.warned} with warnings, {progress.failed} failed"
    failed = "".join(f"\n  failed: {uid}" for uid in progress.failed_uids)
    return f"{counts}: {explain(progress.status, progress.comment)}{failed}"


def as_fields(progress: Progress) -> dict[str, object]:
    """What came of a retrieval, for programs."""
    return {
        "status": progress.status,
        "comment": progress.comment,
        "completed": progress.completed,
        "warned": progress.warned,
        "failed": progress.failed,
        "failed_uids": list(progress.failed_uids),
    }
