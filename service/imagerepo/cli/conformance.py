"""`imagerepo conformance`: the tables of the DICOM conformance statement, for these settings."""

from pathlib import Path
from typing import Annotated

import typer

from imagerepo.cli.target import Config
from imagerepo.dimse import conformance as statement
from imagerepo.errors import BadRequestError
from imagerepo.settings import load


def conformance(
    config: Config = None,
    into: Annotated[
        Path | None,
        typer.Option(help="A statement in Markdown, such as docs/conformance.md, whose tables are made anew."),
    ] = None,
) -> None:
    """Print the tables of the DICOM conformance statement, as these settings make them."""
    settings = load(config, {})
    if into is None:
        typer.echo(statement.tables(settings))
        return
    try:
        into.write_text(statement.filled(into.read_text(encoding="utf-8"), settings), encoding="utf-8")
    except OSError as error:
        raise BadRequestError(f"cannot use {into}: {error.strerror}") from error
    except ValueError as error:
        raise BadRequestError(f"{into}: {error}") from error
