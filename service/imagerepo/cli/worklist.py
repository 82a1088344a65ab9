"""`imagerepo worklist`: put items into a server's worklist, list and remove them, over HTTP."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import quote, urlencode

import typer

from imagerepo.errors import BadRequestError, RefusedError, UnavailableError

app = typer.Typer(help="The worklist that modalities ask for.", no_args_is_help=True)

Url = Annotated[str, typer.Option(help="The server; with /institutions/ID, one of several institutions.")]
Token = Annotated[str | None, typer.Option(help="A bearer token.", envvar="IMAGEREPO_TOKEN", show_default=False)]
Id = Annotated[str, typer.Argument(help="The item's id.")]
_SERVER = "http://127.0.0.1:8080"
_TIMEOUT = 30.0  # seconds


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
    url: Url = _SERVER,
    token: Token = None,
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
    _ask("PUT", f"{url}/worklist/{quote(id, safe='')}", token, json.dumps(item).encode())
    typer.echo(f"{id} is in the worklist")


@app.command("list")
def listing(
    start: Annotated[str | None, typer.Option("--from", help="First day, YYYYMMDD.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last day, YYYYMMDD.")] = None,
    patient: Annotated[str | None, typer.Option(help="Patient ID.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    url: Url = _SERVER,
    token: Token = None,
) -> None:
    """List items that are scheduled or started."""
    asked = urlencode({name: one for name, one in (("from", start), ("to", end), ("patient", patient)) if one})
    body = _ask("GET", f"{url}/worklist?{asked}", token)
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
def remove(id: Id, url: Url = _SERVER, token: Token = None) -> None:  # noqa: A002 - the option's name
    """Remove an item."""
    _ask("DELETE", f"{url}/worklist/{quote(id, safe='')}", token)
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


def _ask(method: str, url: str, token: str | None, body: bytes | None = None) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise BadRequestError(f"{url!r} is not a URL of http or https")
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - its scheme was looked at
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 - likewise
            return answer.read()
    except urllib.error.HTTPError as error:
        with error:
            raise RefusedError(error.read().decode("utf-8", "replace").strip()) from error
    except OSError as error:
        raise UnavailableError(f"{url} does not answer: {error}") from error
