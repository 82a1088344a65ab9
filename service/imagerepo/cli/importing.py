"""`imagerepo import`: files, folders, archives and media into a server or a data folder; a folder to a cluster."""

import json
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

import typer

from imagerepo.cli import moving
from imagerepo.cli.import_progress import progress, shown
from imagerepo.cli.import_report import reporting
from imagerepo.cli.remote import Institution, TokenFile
from imagerepo.dicomweb.store_requests import Server
from imagerepo.errors import BadRequestError, ImagerepoError
from imagerepo.flows.importing.tally import SHOWN
from imagerepo.model.imports import Why
from imagerepo.model.peer import PeerTls
from imagerepo.processes import importing as process
from imagerepo.processes import logs
from imagerepo.processes.importing import Destination, Ended, Order, ToFolder, ToServer
from imagerepo.processes.moving import Effort
from imagerepo.settings import load

_Paths = Annotated[
    list[Path] | None, typer.Argument(metavar="PATH...", help="Files, folders, zip or tar archives, DICOMDIRs.")
]
_To = Annotated[
    str | None, typer.Option("--to", metavar="URL", help="Server: http://host:8080, or the root of its DICOMweb.")
]
_OURS: Final = "/dicom-web"
_NOT_HEADERS: Final = frozenset({"content-type", "content-length", "host", "accept", "transfer-encoding"})
_STOPPED: Final = 130  # status, as shells have it of a Ctrl-C


def import_(  # noqa: PLR0913, PLR0917 - one argument an option
    paths: _Paths = None,
    to: _To = None,
    token_file: TokenFile = None,
    header_file: Annotated[Path | None, typer.Option(help="File with further headers for it, one a line.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificates (PEM) that its own is verified against.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Certificate (PEM) that it is shown.")] = None,
    key: Annotated[Path | None, typer.Option(help="Key (PEM) of that certificate.")] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder that no server uses; made if missing.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")] = None,
    from_data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Data folder that is moved to the cluster of --config.")
    ] = None,
    institution: Institution = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Readers, and connections, at the same time.")] = 4,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for a server that stores nothing.")] = 300,
    journal: Annotated[
        Path | None, typer.Option(help="What is noted of what was stored.", show_default="by target")
    ] = None,
    *,
    again: Annotated[bool, typer.Option("--again", help="Also what an earlier run has stored.")] = False,
    report: Annotated[Path | None, typer.Option(help="File for all that was refused, one JSON object a line.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Import what lies on disks and media; what was stopped goes on where it was. Says what was refused and why."""
    logs.begin()
    if from_data is not None:
        others = (paths, to, token_file, header_file, ca, certificate, key, data, institution, journal, again)
        if any(others):
            raise typer.BadParameter("--from-data goes with --config, --jobs, --patience, --report and --json alone")
        moved = moving.move(from_data, config, Effort(jobs, patience), report, as_json=as_json)
        _end(moved.error, moved.tally.counts().refused, stopped=moved.stopped)
        return
    if not paths:
        raise typer.BadParameter("say what: PATH..., or --from-data DIR")
    destination: Destination
    if (to is None) == (data is None):
        raise typer.BadParameter("say where to: --to URL or --data DIR")
    if to is not None:
        server = Server(_root(to, institution), _headers(token_file, header_file), _tls(to, ca, certificate, key))
        destination = ToServer(server, patience)
    else:
        destination = ToFolder(load(config, {"data": data}), institution)
    order = Order(paths, jobs, journal, heed_notes=not again)
    with reporting(report) as on_refusal, progress(hidden=as_json) as show:
        ended = process.run(order, destination, show, on_refusal)
    typer.echo(_as_json(ended) if as_json else _as_text(ended, report))
    _end(ended.error, ended.tally.counts().refused, stopped=ended.stopped)


def _end(error: ImagerepoError | None, refused: int, *, stopped: bool) -> None:
    """With the status that tells how it went."""
    if stopped:
        raise typer.Exit(_STOPPED)
    if error is not None:
        raise error
    if refused:
        raise typer.Exit(1)


def _root(to: str, institution: str | None) -> str:
    """The root of a server's DICOMweb: ours, where only the server is named."""
    parts = urlsplit(to)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadRequestError(f"--to {to!r} is not http:// or https:// with a host")
    if parts.username or parts.query or parts.fragment:
        raise BadRequestError("--to is a plain URL; secrets go into --token-file or --header-file")
    root = to.rstrip("/")
    if not parts.path.rstrip("/"):
        prefix = "" if institution is None else f"/institutions/{quote(institution, safe='')}"
        return f"{root}{prefix}{_OURS}"
    if institution is not None:
        raise BadRequestError("--institution goes with a --to that names the server alone, without a path")
    return root


def _headers(token_file: Path | None, header_file: Path | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if token_file is not None:
        headers["Authorization"] = f"Bearer {_read(token_file, '--token-file').strip()}"
    if header_file is not None:
        for line in _read(header_file, "--header-file").splitlines():
            name, colon, value = line.partition(":")
            if not line.strip():
                continue
            if not colon or not name.strip() or name.strip().lower() in _NOT_HEADERS:
                raise BadRequestError(f"--header-file: {name[:40]!r} in {header_file} is no header that may be given")
            headers[name.strip()] = value.strip()
    return headers


def _read(file: Path, option: str) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"{option}: cannot read {file}: {error}") from error


def _tls(to: str, ca: Path | None, certificate: Path | None, key: Path | None) -> PeerTls:
    if (certificate is None) != (key is None):
        raise BadRequestError("--certificate and --key belong together")
    return PeerTls(ca, certificate, key, urlsplit(to).hostname or "")


def _as_text(ended: Ended, report: Path | None) -> str:
    counts, tally = ended.tally.counts(), ended.tally
    lines = [f"refused: {shown(one.place)}: {shown(one.reason)}" for one in tally.refusals]
    if counts.refused > SHOWN:
        lines.append(f"refused: {counts.refused - SHOWN} more, {'see ' + str(report) if report else 'see --report'}")
    if ended.stopped or ended.error is not None:
        lines.append("it did not come to its end: run it again to go on")
    noted = counts.passed[Why.NOTED]
    if noted:
        lines.append(f"{noted} files were stored by an earlier run, says {ended.journal}; --again sends them again")
    others = counts.passed[Why.NOT_DICOM]
    lines.append(
        f"{counts.stored} stored, {counts.already} there already, {counts.refused} refused"
        f"{f', {others} not DICOM' if others else ''}; {_amount(ended)}"
    )
    return "\n".join(lines)


def _amount(ended: Ended) -> str:
    counts, seconds = ended.tally.counts(), max(ended.tally.seconds, 0.001)
    done = counts.stored + counts.already
    return f"{seconds:.1f} s, {done / seconds:.0f} a second, {counts.stored_bytes / seconds / 1e6:.1f} MB/s"


def _as_json(ended: Ended) -> str:
    counts = ended.tally.counts()
    return json.dumps(
        {
            "stored": counts.stored,
            "already": counts.already,
            "refused": counts.refused,
            "noted": counts.passed[Why.NOTED],
            "not_dicom": counts.passed[Why.NOT_DICOM],
            "bytes": counts.stored_bytes,
            "seconds": round(ended.tally.seconds, 3),
            "complete": ended.error is None and not ended.stopped,
            "journal": str(ended.journal),
            "refusals": [{"place": shown(one.place), "reason": shown(one.reason)} for one in ended.tally.refusals],
        }
    )
