"""`imagerepo find`: query a peer."""

import json
from collections.abc import Generator, Sequence
from typing import Annotated

import typer

from imagerepo.cli.retrieval import Keys, Level, Model
from imagerepo.cli.target import AsJson, Config, OurTitle, Target, resolve
from imagerepo.dimse.client import keys as written
from imagerepo.dimse.client import levels
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.levels import QueryLevel, Root
from imagerepo.dimse.client.negotiation import propose
from imagerepo.dimse.client.query import SYNTAXES
from imagerepo.dimse.client.query import find as ask
from imagerepo.dimse.client.statuses import explain
from imagerepo.model.header import Header


def find(  # noqa: PLR0913 - the options of a command
    node: Target,
    keys: Keys = None,
    level: Level = QueryLevel.STUDY,
    model: Model = Root.STUDY,
    limit: Annotated[int | None, typer.Option(min=1, help="Cancel after so many.", show_default="all")] = None,
    config: Config = None,
    ae_title: OurTitle = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Query a peer: C-FIND. Prints a line for each match, values between tabs; with --json DICOM JSON."""
    identifier = levels.query(level, model, keys or ())
    ends = resolve(node, config, ae_title)
    sop_class = model.model.find
    shown = levels.columns(level, identifier)
    with Connection.open(ends.peer, ends.calling, propose([(sop_class, SYNTAXES)])) as connection:
        connection.context_for(sop_class)
        if not as_json:
            typer.echo("\t".join(written.name_of(tag) for tag in shown))
        status = _print(ask(connection, model.model, identifier, limit), None if as_json else shown)
    if status:
        typer.echo(f"imagerepo: {ends.peer} ends with {explain(status)}", err=True)


def _print(found: Generator[Header, None, int], columns: Sequence[str] | None) -> int:
    """Print each match as it comes; the final status."""
    while True:
        try:
            header = next(found)
        except StopIteration as end:
            status: int = end.value
            return status
        if columns is None:
            typer.echo(json.dumps(written.as_json(header), ensure_ascii=False))
        else:
            typer.echo("\t".join(_one_line(written.text_of(header.get(tag))) for tag in columns))


def _one_line(text: str) -> str:
    """Without what would move a terminal's cursor: the peer chose the text."""
    return "".join(one if one.isprintable() else " " for one in text)
