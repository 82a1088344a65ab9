"""Which gateway is asked: the nearest that is up.

One that cannot be reached, or was silent and does not answer a probe either, is down until a probe finds it answering.
While all are down, whoever wants one waits for the probe; nobody else asks them.
"""

import http.client
import logging
import random
import ssl
import threading
import time
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from imagerepo.errors import UnavailableError

_PROBE_WITHIN: Final = 1.0  # seconds
_PROBE_EVERY: Final = 0.25  # seconds, at first
_PROBE_SELDOM: Final = 2.0  # seconds, after a while
_SETTLED: Final = 5.0  # seconds for which what was last known of a gateway is believed

log = logging.getLogger(__name__)


class Gateways:
    """The gateways of one zone, the nearest first. Safe to call from any number of threads."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(urls)
        self._down: dict[str, str] = {}  # why
        self._back: dict[str, float] = {}  # monotonic: when a probe last found it answering
        self._not_before: dict[str, float] = {}  # monotonic: when it is probed next
        self._heard = 0.0  # monotonic: when any of them last answered
        self._changed = threading.Condition()
        self._probing = False
        self._closed = False

    def choose(self, tried: Collection[str], deadline: float) -> str:
        """The nearest that is up and was not tried yet, or else the nearest that is up; waits until one is.

        Args:
            tried: those that failed before at the same request.
            deadline: until when to wait, monotonic.

        Raises:
            UnavailableError: none is up by then.
        """
        with self._changed:
            while True:
                up = [url for url in self._urls if url not in self._down]
                if up:
                    return next((url for url in up if url not in tried), up[0])
                left = deadline - time.monotonic()
                if left <= 0 or self._closed:
                    raise UnavailableError(self._complaint())
                self._changed.wait(left)

    def answered(self) -> None:
        """One of them did what it was asked."""
        self._heard = time.monotonic()

    def lost(self, url: str, why: str) -> None:
        """It cannot be reached: others are asked until it is back."""
        with self._changed:
            if url in self._down or self._closed:
                return
            self._down[url] = why
            now = time.monotonic()
            # A probe that it answers may be all that it does.
            again_soon = now - self._back.get(url, -_SETTLED) < _SETTLED
            self._not_before[url] = now + (_PROBE_SELDOM if again_soon else 0)
            log.warning("store.gateway_down", extra={"endpoint": url, "why": why})
            if not self._probing:
                self._probing = True
                threading.Thread(target=self._probe_all, name="gateway-probe", daemon=True).start()

    def doubt(self, url: str, why: str) -> None:
        """It was silent, or broke off: find out whether it is up; blocks for as long as a probe may."""
        if not _answers(url):
            self.lost(url, why)

    def complaint(self) -> str:
        """Why nothing can be asked of any of them; empty: something can. Blocks for as long as probes may."""
        if time.monotonic() - self._heard > _SETTLED:
            for url in self._urls:
                if url in self._down:
                    continue
                if _answers(url):
                    self.answered()
                    return ""
                self.lost(url, "no answer")
        with self._changed:
            return self._complaint() if len(self._down) == len(self._urls) else ""

    def close(self) -> None:
        """Nobody asks any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _complaint(self) -> str:
        found = ", ".join(f"{url} ({why})" for url, why in self._down.items())
        return f"no gateway of S3 answers: {found}; see cluster.store.endpoints, and whether they run"

    def _probe_all(self) -> None:
        pause = _PROBE_EVERY
        while True:
            with self._changed:
                if not self._down or self._closed:
                    self._probing = False
                    return
                now = time.monotonic()
                waiting = [url for url in self._down if self._not_before[url] <= now]
            for url in waiting:
                if _answers(url):
                    pause = _PROBE_EVERY
                    with self._changed:
                        del self._down[url]
                        self._back[url] = time.monotonic()
                        self._changed.notify_all()
                    log.warning("store.gateway_up", extra={"endpoint": url})
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads probes, keeps no secret
            pause = min(pause * 1.2, _PROBE_SELDOM)


def _answers(url: str) -> bool:
    """Whether a gateway speaks HTTP there. Without a signature it looks nothing up."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.netloc, timeout=_PROBE_WITHIN, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=_PROBE_WITHIN)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < HTTPStatus.INTERNAL_SERVER_ERROR
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False
