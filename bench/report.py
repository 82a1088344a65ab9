"""What was measured, as a table to read and as JSON to compute with."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.servers.imagerepo import Imagerepo
from bench.targets import NONE, TARGETS, Target
from bench.workloads.model import Better, Measurement, Metric, Subject, Workload

OURS = Imagerepo.name
HEADER = (
    "| figure | server | median | min to max | ours is better by (min to max) | asked "
    "| client cores | server cores | server peak MB |"
)
HEADER_RULE = "|---|---|--:|--:|--:|---|--:|--:|--:|"


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of one workload on one server, over all repeats."""

    workload: str
    metric: str
    unit: str
    better: Better
    server: str
    samples: tuple[float, ...]  # in order of repeats
    client_cores: float
    server_cores: float
    server_peak: int  # bytes

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.samples)

    def times_better(self, peer: "Row") -> float:
        """How many times better than a peer, whichever way the metric is better."""
        mine, other = self.median, peer.median
        return mine / other if self.better is Better.HIGHER else other / mine

    def times_better_by_repeat(self, peer: "Row") -> tuple[float, float]:
        """Return the least and the most of it among repeats, each compared with the peer's own repeat."""
        pairs = zip(self.samples, peer.samples, strict=False)
        ratios = [a / b if self.better is Better.HIGHER else b / a for a, b in pairs]
        return min(ratios), max(ratios)


@dataclass(slots=True)
class Results:
    """Everything of one run."""

    title: str
    introduction: str
    machine: Mapping[str, str]
    settings: Mapping[str, str]
    workloads: list[Workload] = field(default_factory=list[Workload])
    measurements: dict[tuple[str, str, str], list[Measurement]] = field(
        default_factory=dict[tuple[str, str, str], list[Measurement]]
    )
    failures: list[str] = field(default_factory=list[str])

    def add(self, workload: Workload, server: type[Subject], measured: Sequence[Measurement]) -> None:
        """Keep what one repeat brought."""
        for one in measured:
            self.measurements.setdefault((workload.name, one.metric, server.name), []).append(one)

    def drop(self, workload: Workload, server: type[Subject]) -> None:
        """Forget a server's earlier repeats: one that failed or lost data has no figure."""
        for metric in workload.metrics:
            self.measurements.pop((workload.name, metric.name, server.name), None)

    def rows(self, workload: Workload, metric: Metric) -> list[Row]:
        """Return one row a server, in the workload's order."""
        found: list[Row] = []
        for server in workload.servers:
            kept = self.measurements.get((workload.name, metric.name, server.name), [])
            if kept:
                found.append(
                    Row(
                        workload.name,
                        metric.name,
                        metric.unit,
                        metric.better,
                        server.name,
                        tuple(one.value for one in kept),
                        statistics.median(one.client_cores for one in kept),
                        statistics.median(one.server_cores for one in kept),
                        max(one.server_peak for one in kept),
                    )
                )
        return found

    def write(self, folder: Path, name: str) -> None:
        """Write `name`.md and `name`.json."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text(_markdown(self))
        (folder / f"{name}.json").write_text(json.dumps(_as_json(self), indent=1, ensure_ascii=False) + "\n")


def verdict(target: Target, row: Row, peer: Row | None) -> str:
    """Say what was asked and whether it was reached; empty where nothing is asked."""
    if peer is not None and peer.server in target.ratios:
        asked = target.ratios[peer.server]
        reached = row.times_better(peer) >= asked
        return f"≥{asked:g}x: {'met' if reached else 'MISSED'}"
    if peer is None and target.bound is not None:
        higher = row.better is Better.HIGHER
        reached = row.median >= target.bound if higher else row.median <= target.bound
        return f"{'≥' if higher else '≤'}{target.bound:g} {row.unit}: {'met' if reached else 'MISSED'}"
    return ""


def figure(value: float) -> str:
    """Three significant digits without an exponent."""
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def table(results: Results, workload: Workload) -> list[str]:
    """Return the Markdown lines of one workload."""
    lines = [
        f"### {workload.name}",
        "",
        f"{workload.what}.",
        "",
        HEADER,
        HEADER_RULE,
    ]
    for metric in workload.metrics:
        rows = results.rows(workload, metric)
        ours = next((row for row in rows if row.server == OURS), None)
        target = TARGETS.get((workload.name, metric.name), NONE)
        for row in rows:
            compared, asked = "", ""
            if row is ours:
                asked = verdict(target, row, None)
            elif ours is not None:
                low, high = ours.times_better_by_repeat(row)
                compared = f"{figure(ours.times_better(row))}x ({figure(low)} to {figure(high)})"
                asked = verdict(target, ours, row)
            lines.append(
                f"| {metric.name}, {metric.unit} | {row.server} | {figure(row.median)} |"
                f" {figure(min(row.samples))} to {figure(max(row.samples))} | {compared} | {asked} |"
                f" {row.client_cores:.2f} | {row.server_cores:.2f} | {row.server_peak / 1e6:.0f} |"
            )
    return [*lines, ""]


def _markdown(results: Results) -> str:
    lines = [
        f"# {results.title}",
        "",
        results.introduction,
        "",
        *(f"- {name}: {value}" for name, value in (results.machine | results.settings).items()),
        "",
    ]
    if results.failures:
        lines += ["**NOT EVERYTHING WAS MEASURED:**", "", *(f"- {failure}" for failure in results.failures), ""]
    servers = dict.fromkeys((one.name, one.what) for workload in results.workloads for one in workload.servers)
    lines += [*(f"- **{name}**: {what}" for name, what in servers), ""]
    for workload in results.workloads:
        lines += table(results, workload)
    return "\n".join(lines).rstrip() + "\n"


def _as_json(results: Results) -> dict[str, object]:
    figures: list[dict[str, object]] = []
    for workload in results.workloads:
        for metric in workload.metrics:
            rows = results.rows(workload, metric)
            ours = next((row for row in rows if row.server == OURS), None)
            for row in rows:
                entry: dict[str, object] = {
                    "workload": row.workload,
                    "metric": row.metric,
                    "unit": row.unit,
                    "better": row.better.value,
                    "server": row.server,
                    "median": row.median,
                    "min": min(row.samples),
                    "max": max(row.samples),
                    "samples": row.samples,
                    "client_cores": round(row.client_cores, 3),
                    "server_cores": round(row.server_cores, 3),
                    "server_peak_bytes": row.server_peak,
                }
                if ours is not None and row is not ours:
                    entry["ours_times_better"] = ours.times_better(row)
                    entry["ours_times_better_min_max"] = ours.times_better_by_repeat(row)
                figures.append(entry)
    return {
        "machine": dict(results.machine),
        "settings": dict(results.settings),
        "failures": results.failures,
        "figures": figures,
    }
