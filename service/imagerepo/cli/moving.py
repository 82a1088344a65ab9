"""`imagerepo import --from-data`: an embedded repository to a cluster, and what is said of it."""

import json
from pathlib import Path
from typing import Final

import typer

from imagerepo.cli.import_progress import progress, shown
from imagerepo.cli.import_report import reporting
from imagerepo.errors import BadRequestError
from imagerepo.flows.importing.tally import SHOWN
from imagerepo.processes import moving as process
from imagerepo.processes.moving import Effort, Ended
from imagerepo.settings import load

LONGEST_PATIENCE: Final = 1800.0
"""Seconds; objects that nobody has named for longer may be swept."""


def move(folder: Path, config: Path | None, effort: Effort, report: Path | None, *, as_json: bool) -> Ended:
    """Move, and say what came of it."""
    if effort.patience > LONGEST_PATIENCE:
        raise BadRequestError(f"--patience: at most {LONGEST_PATIENCE:.0f} seconds with --from-data")
    settings = load(config, {})
    with reporting(report) as on_refusal, progress(hidden=as_json) as show:
        ended = process.run(settings, folder, effort, show, on_refusal)
    typer.echo(_as_json(ended) if as_json else _as_text(ended, report))
    return ended


def _as_text(ended: Ended, report: Path | None) -> str:
    counts, tally = ended.tally.counts(), ended.tally
    said = [f"refused: {shown(one.place)}: {shown(one.reason)}" for one in tally.refusals]
    if counts.refused > SHOWN:
        said.append(f"refused: {counts.refused - SHOWN} more, {'see ' + str(report) if report else 'see --report'}")
    if ended.stopped or ended.error is not None:
        said.append("it did not come to its end: run it again to go on")
    if ended.tasks:
        said.append(f"{ended.tasks} tasks were not done there and stay in the folder: `imagerepo tasks list --data`")
    seconds = max(tally.seconds, 0.001)
    said.append(
        f"{counts.stored} versions stored, {counts.already} there already, {counts.refused} refused; "
        f"{ended.entries} journal entries carried over; "
        f"{seconds:.1f} s, {counts.stored / seconds:.0f} a second, {counts.stored_bytes / seconds / 1e6:.1f} MB/s"
    )
    return "\n".join(said)


def _as_json(ended: Ended) -> str:
    counts = ended.tally.counts()
    return json.dumps(
        {
            "stored": counts.stored,
            "already": counts.already,
            "refused": counts.refused,
            "entries": ended.entries,
            "tasks": ended.tasks,
            "bytes": counts.stored_bytes,
            "seconds": round(ended.tally.seconds, 3),
            "complete": ended.error is None and not ended.stopped,
            "refusals": [{"place": shown(one.place), "reason": shown(one.reason)} for one in ended.tally.refusals],
        }
    )
