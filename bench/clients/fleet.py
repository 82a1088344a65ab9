"""Run the same client several times at once, one process each, so that no GIL is shared.

Each process prepares (connects, encodes), all wait for each other, then all work. The time runs from
the first process's start to the last one's end.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import TypeVar

PREPARE_LIMIT = 120  # seconds
WORK_LIMIT = 900  # seconds

Part = TypeVar("Part")


class ClientError(Exception):
    """A client failed; what it did says nothing about speed."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one client, or several that ran at once, took."""

    seconds: float
    client_cpu: float  # seconds of CPU, all processes
    latencies: tuple[float, ...] = ()  # seconds, one an operation

    @property
    def client_cores(self) -> float:
        """Client CPU in cores: 1.0 is one core busy all the time."""
        return self.client_cpu / self.seconds


@dataclass(frozen=True, slots=True)
class _Finished:
    start: float  # time.perf_counter, one clock for all processes of a Linux machine
    end: float
    cpu: float
    latencies: list[float]


def own_cpu(who: int = resource.RUSAGE_SELF) -> float:
    """Return the seconds of CPU that this process (or its ended children) has used."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def run(prepare: Callable[[Part], Callable[[], list[float]]], parts: Sequence[Part]) -> Run:
    """Give each part to a process of its own.

    Args:
        prepare: called in the process with its part; returns the work, which returns its latencies.
        parts: one for each process.

    Raises:
        ClientError: a process failed or did not end in time.
    """
    # Forked, so that what the parent holds is shared; the parent has no threads.
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(parts))
    pipes = [context.Pipe(duplex=False) for _ in parts]
    processes = [
        context.Process(target=_child, args=(prepare, part, barrier, sender))
        for part, (_, sender) in zip(parts, pipes, strict=True)
    ]
    for process, (_, sender) in zip(processes, pipes, strict=True):
        process.start()
        sender.close()
    try:
        results = [_receive(receiver) for receiver, _ in pipes]
    finally:
        for process in processes:
            process.join(1)
            if process.is_alive():
                process.terminate()
                process.join()
    return Run(
        seconds=max(r.end for r in results) - min(r.start for r in results),
        client_cpu=sum(r.cpu for r in results),
        latencies=tuple(latency for r in results for latency in r.latencies),
    )


def _receive(receiver: Connection) -> _Finished:
    if not receiver.poll(PREPARE_LIMIT + WORK_LIMIT):
        raise ClientError(f"a client did not end within {PREPARE_LIMIT + WORK_LIMIT} s")
    try:
        answer = receiver.recv()
    except EOFError:
        raise ClientError("a client process died") from None
    if isinstance(answer, _Finished):
        return answer
    raise ClientError(str(answer))


def _child(
    prepare: Callable[[Part], Callable[[], list[float]]], part: Part, barrier: Barrier, sender: Connection
) -> None:
    try:
        work = prepare(part)
        barrier.wait(PREPARE_LIMIT)
        cpu, start = own_cpu(), time.perf_counter()
        latencies = work()
        sender.send(_Finished(start, time.perf_counter(), own_cpu() - cpu, latencies))
    except Exception as error:  # noqa: BLE001 - the process's edge: told to the parent, which raises it
        barrier.abort()
        sender.send(f"{type(error).__name__}: {error}")
