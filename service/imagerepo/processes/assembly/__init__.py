"""The only place where adapters meet flows.

A shape opens what keeps the ports' promises (parts.py); flows.py puts the flows over it, the same ones whichever the
shape. A process imports the adapters of its own shape alone.
"""
# ruff: noqa: PLC0415 - a process loads one shape's adapters: those of the other cost memory and time at each start

from collections.abc import Sequence
from pathlib import Path

from imagerepo.errors import SettingsError
from imagerepo.ports.journal import Journal, Roots
from imagerepo.ports.tasks import Tasks
from imagerepo.processes.assembly.flows import Assembled, assembled, deletion, office
from imagerepo.processes.assembly.shape import Attendance, Shape
from imagerepo.settings import Settings

__all__ = [
    "Assembled", "Attendance", "Shape",
    "acknowledge", "assembled", "deletion", "found", "journal", "make_ready", "office", "signed_roots", "tasks_of",
]  # fmt: skip


def make_ready(settings: Settings, data: Path, writers: Sequence[str]) -> Shape:
    """In the parent: bring everything up to date before anything arrives; the folder's lock is held.

    Raises:
        SettingsError: something in it is not for this program, or a setting cannot be used.
        DamagedError: what is stored is of another format.
        UnavailableError: what is needed does not answer.
    """
    if settings.cluster is None:
        from imagerepo.processes.assembly import embedded

        made = embedded.make_ready(settings, data, writers)
        embedded.begin_work(settings, data)
        return made
    from imagerepo.processes.assembly import cluster

    return cluster.make_ready(settings, settings.cluster, data)


def found(settings: Settings, data: Path, start: str, writers: Sequence[str]) -> Shape:
    """In its processes: what the parent made ready at that start."""
    if settings.cluster is None:
        from imagerepo.processes.assembly.embedded import Embedded

        return Embedded.found(settings, data, start, writers)
    from imagerepo.processes.assembly import cluster

    return cluster.found(settings, settings.cluster, data, start)


def journal(settings: Settings) -> Journal:
    """The journal, whether a server runs or not. Raises SettingsError, UnavailableError."""
    if settings.cluster is None:
        from imagerepo.processes.assembly import embedded

        return embedded.journal(settings, embedded.existing_data(settings))
    from imagerepo.processes.assembly import cluster

    return cluster.journal(settings, settings.cluster)


def acknowledge(settings: Settings, reason: str) -> Sequence[str]:
    """Say, signed, which signed entries a cluster's journal lacks. Raises SettingsError, UnavailableError."""
    if settings.cluster is None:
        raise SettingsError("cluster: there is none in these settings; a data folder is restored with its journal")
    from imagerepo.processes.assembly import cluster

    return cluster.acknowledge(settings, settings.cluster, reason)


def signed_roots(settings: Settings, data: Path) -> Roots | None:
    """What signs the roots of a data folder's chains; None: nobody wants it, or replicas do it among their tasks."""
    if settings.cluster is not None:
        return None
    from imagerepo.processes.assembly import embedded

    return embedded.signed_roots(settings, data)


def tasks_of(settings: Settings) -> Tasks:
    """The tasks, whether a server runs or not. Raises SettingsError, UnavailableError."""
    if settings.cluster is None:
        from imagerepo.processes.assembly import embedded

        return embedded.tasks_of(embedded.existing_data(settings))
    from imagerepo.processes.assembly import cluster

    return cluster.tasks_of(settings.cluster)
