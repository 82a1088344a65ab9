"""Re-index: what a study or a series says of itself, read from the bytes again.

For when a later release reads more of a header, or what was written of one has turned out to be wrong. Nothing is
stored: versions and bytes stay what they are.
"""

import json
import logging
import threading
from typing import Final

from imagerepo.dicom import part10
from imagerepo.errors import BadDicomError, DamagedError, NotFoundError, TooLargeError
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.upkeep.steps import Again
from imagerepo.flows.work import now
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.model.task import NewTask, Task, TaskKind, TaskState
from imagerepo.model.uids import Uid
from imagerepo.ports.index import Index
from imagerepo.ports.tasks import Selection, Tasks
from imagerepo.ports.upkeep import Reindexer, Reread

log = logging.getLogger(__name__)

_INSTANCES: Final = 200  # of a step
_LARGEST: Final = 256 << 20  # bytes of a header


class Reindex:
    """Does tasks of kind REINDEX (steps.Step): payload `study`, `series` (or null) and `after`, a position."""

    def __init__(self, index: Index, retrieve: Retrieve, reindexer: Reindexer) -> None:
        self._index = index
        self._retrieve = retrieve
        self._reindexer = reindexer

    def __call__(self, task: Task, stop: threading.Event) -> Again | None:
        """Read some instances."""
        said = json.loads(task.payload)
        study = Uid(said["study"])
        series = None if said["series"] is None else Uid(said["series"])
        scope, after = Scope(task.institution, study, series), said["after"]
        try:
            page = self._index.versions(scope, after, _INSTANCES)
        except NotFoundError as error:
            return self._without(task, after, error)
        found: list[Reread] = []
        for position, version in page:
            if stop.is_set():
                break
            found.append(self._read(position, version))
        self._reindexer.describe(scope, found)
        if len(found) == len(page) < _INSTANCES:
            log.info("reindex.done", extra={"task": task.id, "study": study})
            return None
        return Again(json.dumps({**said, "after": found[-1].instance if found else after}), now())

    def _without(self, task: Task, after: int, error: NotFoundError) -> Again | None:
        """What to do where the study, or the instance behind which it goes on, is not there."""
        log.info("reindex.gone", extra={"task": task.id, "reason": str(error)})
        return Again(json.dumps({**json.loads(task.payload), "after": 0}), now()) if after else None

    def _read(self, position: int, version: Version) -> Reread:
        """What a version's header says. Raises DamagedError, UnavailableError."""
        begin, end = version.layout.data_set_offset, version.layout.header_length
        if end - begin > _LARGEST:
            raise DamagedError(f"instance {version.instance_uid}: its header has {end} bytes")
        header = self._retrieve.read(version, begin, end - begin)
        try:
            attributes, _ = part10.read_data_set(header, version.transfer_syntax, begin)
        except (BadDicomError, TooLargeError, ValueError) as error:
            raise DamagedError(f"instance {version.instance_uid} cannot be read again: {error}") from error
        names = (attributes.study_uid, attributes.series_uid, attributes.instance_uid)
        if names != (version.study_uid, version.series_uid, version.instance_uid):
            raise DamagedError(f"instance {version.instance_uid}: its bytes are those of {'/'.join(names)}")
        return Reread(position, version.number, attributes)


def add(tasks: Tasks, scope: Scope) -> None:
    """Have a study, or a series of it, read again; one that is to be already, or was parked, is begun anew."""
    assert scope.study_uid is not None
    payload = json.dumps({"study": scope.study_uid, "series": scope.series_uid, "after": 0})
    name = "/".join(filter(None, (scope.study_uid, scope.series_uid)))
    queue = scope.institution
    tasks.add([NewTask(TaskKind.REINDEX, scope.institution, queue, scope.study_uid, name, payload, now())])
    tasks.retry(Selection(TaskKind.REINDEX, queue, TaskState.PARKED, name=name))
