"""Refusals of an import, into a file where one is named."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from imagerepo.cli.import_progress import shown
from imagerepo.errors import SettingsError
from imagerepo.flows.importing.tally import Refusal


@contextmanager
def reporting(report: Path | None) -> Generator[Callable[[Refusal], None]]:
    """Takes refusals, into a file where one is named."""
    if report is None:
        yield lambda _refusal: None
        return
    try:
        file = report.open("w", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--report: cannot write {report}: {error.strerror}") from error
    with file:
        yield lambda one: print(json.dumps({"place": shown(one.place), "reason": one.reason}), file=file)
