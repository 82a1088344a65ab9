"""`imagerepo send`: send files to a peer."""

import json
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from imagerepo.cli.target import AsJson, Config, Ends, OurTitle, Target, resolve
from imagerepo.dimse.client.files import InstanceFile, UnusableFile, scan
from imagerepo.dimse.client.statuses import explain
from imagerepo.dimse.client.storing import Storing
from imagerepo.errors import BadRequestError, DamagedError, PeerError, PeerFailure
from imagerepo.ports.peers import Kind


@dataclass(slots=True)
class _Report:
    stored: int = 0
    size: int = 0  # bytes of data sets
    warnings: Counter[str] = field(default_factory=Counter[str])
    refused: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])
    error: PeerError | None = None  # what ended it early


def send(
    node: Target,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders with all below them.")],
    config: Config = None,
    ae_title: OurTitle = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Send files to a peer: C-STORE, as they stand. Says what was refused and why; then the status is 1."""
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise BadRequestError(f"there is no {missing}")
    ends = resolve(node, config, ae_title)
    report = _Report()
    files: list[InstanceFile] = []
    for found in scan(paths):
        if isinstance(found, UnusableFile):
            report.refused.append((found.path, found.reason))
        else:
            files.append(found)
    if files:
        _send(ends, files, report)
    typer.echo(_as_json(report) if as_json else _as_text(report, ends))
    if report.refused:
        raise typer.Exit(1)


def _send(ends: Ends, files: list[InstanceFile], report: _Report) -> None:
    """Send over as many associations as the node takes. Raises PeerError."""
    kinds = list(dict.fromkeys(one.kind for one in files))
    waiting = deque(files)
    number = min(ends.peer.associations, len(files))
    # One that takes fewer than it is set to may reject all that ask at once: the first is there before the others.
    first = Storing(ends.peer, ends.calling, kinds)
    with ThreadPoolExecutor(number) as pool:
        jobs = [pool.submit(_over, first, waiting)]
        jobs += [pool.submit(_over_another, ends, kinds, waiting) for _ in range(number - 1)]
        parts = [job.result() for job in jobs]
    for part in parts:
        report.stored += part.stored
        report.size += part.size
        report.warnings.update(part.warnings)
        report.refused += part.refused
    error = next((part.error for part in parts if part.error is not None), None)
    if error is not None and sum(part.stored + len(part.refused) for part in parts) < len(files):
        typer.echo(f"imagerepo: {report.stored} of {len(files)} files were stored before this", err=True)
        raise error


def _over_another(ends: Ends, kinds: list[Kind], waiting: deque[InstanceFile]) -> _Report:
    """Send what waits over a further association, if the node takes one."""
    try:
        storing = Storing(ends.peer, ends.calling, kinds)
    except PeerError as error:
        return _Report(error=error)
    return _over(storing, waiting)


def _over(storing: Storing, waiting: deque[InstanceFile]) -> _Report:
    """Send what waits over one association; what ends it is told in the report, and nothing waits any more."""
    report = _Report()
    try:
        with storing:
            while (one := _taken(waiting)) is not None:
                _send_one(storing, one, report)
    except PeerError as error:
        report.error = error
        waiting.clear()
    return report


def _taken(waiting: deque[InstanceFile]) -> InstanceFile | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _send_one(storing: Storing, one: InstanceFile, report: _Report) -> None:
    try:
        sent = storing.store(one.kind, one.instance_uid, one.data)
    except (DamagedError, PeerError) as error:
        if isinstance(error, PeerError) and error.failure is not PeerFailure.REFUSED:
            raise
        report.refused.append((one.path, str(error)))
        return
    if not sent.stored:
        report.refused.append((one.path, explain(sent.status, sent.comment)))
        return
    report.stored += 1
    report.size += one.data.size - one.data.offset
    if sent.warned:
        report.warnings[explain(sent.status, sent.comment)] += 1


def _as_text(report: _Report, ends: Ends) -> str:
    lines = [f"refused: {path}: {reason}" for path, reason in report.refused]
    lines += [f"warning, {count} times: {shown}" for shown, count in report.warnings.items()]
    lines.append(f"{report.stored} instances sent to {ends.peer}, {len(report.refused)} refused")
    return "\n".join(lines)


def _as_json(report: _Report) -> str:
    return json.dumps(
        {
            "stored": report.stored,
            "bytes": report.size,
            "warnings": dict(report.warnings),
            "refused": [{"path": str(path), "reason": reason} for path, reason in report.refused],
        }
    )
