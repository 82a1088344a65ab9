"""Index and stored bytes held against each other, by command."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from imagerepo.model.findings import Examined, Finding, Treatment
from imagerepo.processes.assembly.checking import checking
from imagerepo.settings import Settings

_KEPT: Final = 10_000  # findings in the answer for programs; more are counted


@dataclass
class Report:
    """What came of it."""

    examined: Examined = field(default_factory=Examined)
    findings: list[Finding] = field(default_factory=list[Finding])  # the first ones

    def keep(self, finding: Finding) -> None:
        """Note a finding, as long as there are not too many."""
        if len(self.findings) < _KEPT:
            self.findings.append(finding)


def fsck(settings: Settings, treatment: Treatment, tell: Callable[[Finding], None]) -> Examined:
    """Examine all that is stored; `tell` takes findings as they come.

    Raises:
        SettingsError: there is nothing to be examined, or a server runs on the data folder.
        DamagedError: the index cannot be read.
        UnavailableError: what is needed does not answer.
    """
    with checking(settings, treatment) as examination:
        for finding in examination.findings():
            tell(finding)
        return examination.examined


def finding_as_text(finding: Finding) -> str:
    """A finding for people."""
    repaired = " (repaired)" if finding.repaired else ""
    return f"{finding.fault}: {finding.said}{repaired}"


def as_text(examined: Examined) -> str:
    """What was looked at, for people."""
    looked_at = (
        f"{examined.studies} studies, {examined.series} series, {examined.instances} instances in "
        f"{examined.objects} objects; {examined.stored} objects of {examined.bytes / 1e9:.1f} GB are stored"
    )
    lines = [looked_at]
    if examined.unnamed:
        lines.append(
            f"{examined.unnamed} of them, {examined.unnamed_bytes / 1e9:.1f} GB, no row names: "
            "what arrived when a process died; it is swept"
        )
    found = sum(examined.found.values())
    if not found:
        lines.append("index and objects fit each other")
    else:
        lines.append(f"{found} findings, {examined.repaired} of them repaired")
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """All of it, for programs."""
    examined: dict[str, Any] = asdict(report.examined)
    omitted = sum(report.examined.found.values()) - len(report.findings)
    return json.dumps({**examined, "findings": [asdict(one) for one in report.findings], "omitted": omitted})
