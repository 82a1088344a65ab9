"""`imagerepo worker`: keeps a cluster in order."""

from pathlib import Path
from typing import Annotated

import typer

from imagerepo.errors import BadRequestError
from imagerepo.processes import logs
from imagerepo.processes import worker as process
from imagerepo.settings import load
from imagerepo.settings_fields import split_listen


def worker(
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")] = None,
    listen: Annotated[
        str | None, typer.Option(help="Address for /healthz, /readyz and /metrics.", show_default="none")
    ] = None,
) -> None:
    """Put small objects together, sweep, scrub and re-index a cluster; any number may run."""
    logs.begin()
    process.work(load(config, {}), config.absolute() if config else None, _parsed(listen), _greet)


def _parsed(listen: str | None) -> tuple[str, int] | None:
    if listen is None:
        return None
    try:
        return split_listen(listen)
    except ValueError as error:
        raise BadRequestError(f"--listen: {error}") from error


def _greet(where: tuple[str, int] | None) -> None:
    typer.echo("imagerepo worker is ready" + (f"; metrics http://{where[0]}:{where[1]}/metrics" if where else ""))
