"""What the process tells the edge of its server."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServingState:
    """How the process is doing, asked at each probe."""

    draining: Callable[[], bool]
    """Whether the server is on its way out."""
    check: Callable[[], None]
    """Raises UnavailableError where nothing can be read; blocks for some milliseconds."""
    render_metrics: Callable[[], bytes]
    """The text that Prometheus scrapes; blocks for a few milliseconds."""
