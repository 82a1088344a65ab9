"""`imagerepo fsck`: hold index and stored bytes against each other."""

from pathlib import Path
from typing import Annotated

import typer

from imagerepo.model.findings import Finding, Treatment
from imagerepo.processes import fsck as process
from imagerepo.settings import load


def fsck(
    data: Annotated[Path | None, typer.Option(help="Data folder.", show_default="data")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")] = None,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Set right what follows from all else: counts.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Hold index and objects against each other, both ways; exit status 1 if something is left that does not fit.

    Replicas may serve meanwhile; on a data folder no server may be running.
    """
    report = process.Report()

    def tell(finding: Finding) -> None:
        report.keep(finding)
        if not as_json:
            typer.echo(process.finding_as_text(finding))

    treatment = Treatment.REPAIR if repair else Treatment.REPORT
    report.examined = process.fsck(load(config, {"data": data}), treatment, tell)
    typer.echo(process.as_json(report) if as_json else process.as_text(report.examined))
    if report.examined.left:
        raise typer.Exit(1)
