"""`imagerepo worklist`: put items into a server's worklist, list and remove them, over HTTP."""

import json
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import quote

import typer

from imagerepo.cli.remote import Institution, Remote, TokenFile
from imagerepo.errors import BadRequestError

app = typer.Typer(help="The worklist that modalities ask for.", no_args_is_help=True)

To = Annotated[str, typer.Option("--to", metavar="URL", help="The server.")]
Id = Annotated[str, typer.Argument(help="The item's id.")]
_SERVER = "http://127.0.0.1:8080"


@app.command("add")
def add(  # noqa: PLR0913, PLR0917 - an option an attribute
    id: Id,  # noqa: A002 - the option's name
    patient_name: Annotated[str | None, typer.Option(help="Such as Doe^Jane.")] = None,
    patient_id: Annotated[str | None, typer.Option()] = None,
    birth_date: Annotated[str | None, typer.Option(help="YYYYMMDD")] = None,
    sex: Annotated[str | None, typer.Option(help="M, F or O")] = None,
    accession_number: Annotated[str | None, typer.Option()] = None,
    modality: Annotated[str | None, typer.Option(help="Such as CT.")] = None,
    station: Annotated[str | None, typer.Option(help="AE title of the modality that is to do it.")] = None,
    date: Annotated[str | None, typer.Option(help="YYYYMMDD on which it starts.")] = None,
    time: Annotated[str | None, typer.Option(help="HHMM at which it starts.")] = None,
    description: Annotated[str | None, typer.Option(help="What is to be done.")] = None,
    file: Annotated[Path | None, typer.Option(help="JSON with further attributes, or all; options override.")] = None,
    to: To = _SERVER,
    token_file: TokenFile = None,
    institution: Institution = None,
) -> None:
    """Put an item into the worklist, or change it as a whole."""
    item = _read(file)
    step = _step_of(item, file)
    of_item = {
        "PatientName": patient_name,
        "PatientID": patient_id,
        "PatientBirthDate": birth_date,
        "PatientSex": sex,
        "AccessionNumber": accession_number,
        "RequestedProcedureDescription": description,
    }
    of_step = {
        "Modality": modality,
        "ScheduledStationAETitle": station,
        "ScheduledProcedureStepStartDate": date,
        "ScheduledProcedureStepStartTime": time,
        "ScheduledProcedureStepDescription": description,
    }
    item.update({name: value for name, value in of_item.items() if value is not None})
    step.update({name: value for name, value in of_step.items() if value is not None})
    Remote(to, token_file, institution).ask("PUT", _path(id), body=json.dumps(item).encode())
    typer.echo(f"{id} is in the worklist")


@app.command("list")
def listing(
    start: Annotated[str | None, typer.Option("--first-day", help="YYYYMMDD.")] = None,
    end: Annotated[str | None, typer.Option("--last-day", help="YYYYMMDD.")] = None,
    patient: Annotated[str | None, typer.Option(help="Patient ID.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    to: To = _SERVER,
    token_file: TokenFile = None,
    institution: Institution = None,
) -> None:
    """List items that are scheduled or started."""
    asked = {name: one for name, one in (("from", start), ("to", end), ("patient", patient)) if one}
    body = Remote(to, token_file, institution).ask("GET", "/worklist", asked)
    if as_json:
        typer.echo(body.decode())
        return
    items: dict[str, Any] = json.loads(body)
    for id_, item in items.items():
        step = item["00400100"]["Value"][0]
        told = (step, "00400002"), (step, "00400003"), (step, "00080060"), (step, "00400001"), (step, "00400020")
        shown = [_text(of, tag) for of, tag in (*told, (item, "00100020"), (item, "00100010"))]
        typer.echo("  ".join((id_, *(one or "-" for one in shown))))


@app.command("remove")
def remove(
    id: Id,  # noqa: A002 - the option's name
    to: To = _SERVER,
    token_file: TokenFile = None,
    institution: Institution = None,
) -> None:
    """Remove an item."""
    Remote(to, token_file, institution).ask("DELETE", _path(id))
    typer.echo(f"{id} is no longer in the worklist")


def _step_of(item: dict[str, Any], file: Path | None) -> dict[str, Any]:
    steps: Any = item.setdefault("ScheduledProcedureStepSequence", [{}])
    if not isinstance(steps, list) or len(cast("list[Any]", steps)) != 1 or not isinstance(steps[0], dict):
        raise BadRequestError(f"{file}: ScheduledProcedureStepSequence has to be an array of one object")
    return cast("dict[str, Any]", steps[0])


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        found: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise BadRequestError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise BadRequestError(f"{file} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequestError(f"{file} is not a JSON object of attributes")
    return cast("dict[str, Any]", found)


def _text(item: dict[str, Any], tag: str) -> str:
    match item.get(tag):
        case {"Value": [{"Alphabetic": name}, *_]}:
            return str(name)
        case {"Value": [value, *_]}:
            return str(value)
        case _:
            return ""


def _path(id: str) -> str:  # noqa: A002 - the option's name
    return f"/worklist/{quote(id, safe='')}"
