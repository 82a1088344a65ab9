"""A suite of workloads as a command: what is measured, with which options, and where the tables go."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import machine, report
from bench.measuring import measure
from bench.workloads.model import Ground, Workload

RESULTS = Path(__file__).with_name("results")
WORK = RESULTS / "work"


@dataclass(frozen=True, slots=True)
class Suite:
    """Workloads that are measured in one run."""

    command: str
    name: str  # of the tables' files
    title: str
    introduction: str
    workloads: tuple[Workload, ...]
    packages: tuple[str, ...]
    """Of the distribution, whose versions a reader needs."""

    full: Ground
    quick: Ground
    stand: Callable[[Ground], AbstractContextManager[Ground]]
    """Make the ground ready to be worked on."""

    @property
    def by_name(self) -> dict[str, Workload]:
        """The workloads."""
        return {workload.name: workload for workload in self.workloads}


def run(suite: Suite, arguments: Sequence[str]) -> int:
    """Run what was asked for; return 0 when all of it was measured."""
    options = _options(suite, arguments)
    chosen = [_with_servers(suite.by_name[name], options.servers) for name in options.only or suite.by_name]
    missing = sorted(set().union(*(workload.missing() for workload in chosen)))
    if missing:
        print("bench: cannot measure, " + "; ".join(missing), file=sys.stderr)
        return 2
    WORK.mkdir(parents=True, exist_ok=True)
    # A server is a session of its own: let its context stop it when this process is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ground = suite.quick if options.quick else suite.full
    if options.scales:
        ground = replace(ground, scales=options.scales)
    repeats = 1 if options.quick else options.repeats
    results = report.Results(
        suite.title, suite.introduction, machine.describe(WORK, suite.packages), _amounts(ground, repeats, options)
    )
    partial = options.quick or options.only or options.servers or options.scales
    folder, name = (WORK, f"{suite.name}-partial") if partial else (RESULTS, suite.name)
    with suite.stand(ground) as standing:
        for workload in chosen:
            measure(workload, standing, 1 if workload.single else repeats, results)
            results.write(folder, name)
    print(f"\nwritten: {folder.name}/{name}.md and .json" + (" (a partial run)" if partial else ""))
    for failure in results.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if results.failures else 0


def _amounts(ground: Ground, repeats: int, options: argparse.Namespace) -> dict[str, str]:
    few, many = ground.scales
    return {
        "repeats": str(repeats),
        "amounts": f"{ground.instances} instances, {ground.series} in the longest series, {ground.seconds} s of load, "
        f"{few:,} and {many:,} indexed"
        + (" — QUICK, less than the workloads' descriptions say" if options.quick else ""),
    }


def _options(suite: Suite, arguments: Sequence[str]) -> argparse.Namespace:
    servers = sorted({server.name for workload in suite.workloads for server in workload.servers})
    parser = argparse.ArgumentParser(
        prog=suite.command,
        description="Measure the service and its peers with the same clients, interleaved, in one run.",
        epilog="Workloads: " + "; ".join(f"{workload.name}: {workload.what}" for workload in suite.workloads),
    )
    parser.add_argument(
        "--only", action="append", choices=suite.by_name, metavar="NAME", help="this workload; may be repeated"
    )
    parser.add_argument("--servers", type=lambda text: text.split(","), help=f"some of {','.join(servers)}")
    parser.add_argument("--repeats", type=int, default=3, help="how often each server is measured (3)")
    parser.add_argument("--quick", action="store_true", help="1 repeat of 100 instances: to see that all works")
    parser.add_argument(
        "--scales", type=_scales, metavar="FEW,MANY", help=f"instances indexed ({_text(suite.full.scales)})"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.servers or ()) - set(servers)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    return options


def _scales(text: str) -> tuple[int, int]:
    few, many = (int(one) for one in text.split(","))
    return few, many


def _text(scales: tuple[int, int]) -> str:
    return ",".join(map(str, scales))


def _with_servers(workload: Workload, names: Sequence[str] | None) -> Workload:
    servers = tuple(server for server in workload.servers if names is None or server.name in names)
    return replace(workload, servers=servers)
