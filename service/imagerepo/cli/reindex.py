"""`imagerepo reindex`: attributes of a study or a series, read from the bytes again."""

from pathlib import Path
from typing import Annotated

import typer

from imagerepo.cli.remote import Institution
from imagerepo.model.scope import Scope
from imagerepo.model.uids import parse_uid
from imagerepo.processes import deletion, logs, worker
from imagerepo.settings import load


def reindex(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    series: Annotated[str | None, typer.Option(help="Series Instance UID: only that series.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")] = None,
    institution: Institution = None,
) -> None:
    """Have a cluster's workers read what the index keeps of a study from its bytes again."""
    logs.begin()
    settings = load(config, {})
    scope = Scope(
        deletion.caller(settings, institution).institution,
        parse_uid(study, "Study Instance UID"),
        None if series is None else parse_uid(series, "Series Instance UID"),
    )
    worker.read_again(settings, scope)
    typer.echo("a worker reads it again; `imagerepo tasks list --kind reindex` tells how far it is")
