"""`imagerepo tasks`: deferred work, such as what waits to be forwarded, or to be put in order."""

from pathlib import Path
from typing import Annotated

import typer

from imagerepo.errors import BadRequestError
from imagerepo.model.task import TaskKind, TaskState
from imagerepo.ports.tasks import Selection, Tasks
from imagerepo.processes import tasks as process
from imagerepo.settings import load

app = typer.Typer(help="Deferred work: what waits to be forwarded or reported, and why.")

_Data = Annotated[Path | None, typer.Option(help="Data folder.", show_default="data")]
_Config = Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")]
_Kind = Annotated[TaskKind | None, typer.Option(help="Only of this kind.")]
_Queue = Annotated[
    str | None, typer.Option(help="Only of this queue: a destination, INSTITUTION/AE for reports, an institution.")
]
_State = Annotated[TaskState | None, typer.Option(help="Only in this state.")]
_Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Tasks by number.", show_default=False)]


@app.command("list")
def list_(
    data: _Data = None,
    config: _Config = None,
    kind: _Kind = None,
    queue: _Queue = None,
    state: _State = None,
    limit: Annotated[int, typer.Option(min=0, help="Tasks shown at the most.")] = 20,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show queues, and the tasks that wait longest, with what went wrong."""
    tasks = _open(data, config)
    queues = [one for one in tasks.queues() if kind in {None, one.kind} and queue in {None, one.name}]
    found = process.found(tasks, Selection(kind, queue, state), limit)
    if as_json:
        typer.echo(process.as_json(queues, found))
        return
    for one in queues:
        typer.echo(process.queue_as_text(one))
    for task in found:
        typer.echo(process.task_as_text(task))


@app.command()
def retry(
    ids: _Ids = None, data: _Data = None, config: _Config = None, kind: _Kind = None, queue: _Queue = None
) -> None:
    """Try tasks again at once, parked ones too, as if for the first time."""
    typer.echo(f"{_open(data, config).retry(_selected(ids, kind, queue))} are tried again")


@app.command()
def drop(
    ids: _Ids = None, data: _Data = None, config: _Config = None, kind: _Kind = None, queue: _Queue = None
) -> None:
    """Remove tasks without doing them."""
    typer.echo(f"{_open(data, config).drop(_selected(ids, kind, queue))} dropped")


def _open(data: Path | None, config: Path | None) -> Tasks:
    return process.opened(load(config, {"data": data}))


def _selected(ids: list[int] | None, kind: TaskKind | None, queue: str | None) -> Selection:
    if not ids and kind is None and queue is None:
        raise BadRequestError("say which tasks: by number, --kind or --queue")
    return Selection(kind, queue, ids=tuple(ids) if ids else None)
