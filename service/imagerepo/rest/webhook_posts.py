"""Post messages to webhooks, signed as Standard Webhooks has it (ports.webhooks.Postings).

Source: Standard Webhooks 1.0.0 (standardwebhooks.com): webhook-id, webhook-timestamp, webhook-signature, symmetric
signatures (v1).
"""

import base64
import binascii
import hashlib
import hmac
import http.client
import time
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from imagerepo.errors import PeerError, PeerFailure, SettingsError
from imagerepo.model.webhook import Webhook
from imagerepo.web.outgoing import connected, ended_after, telling

_SETTING: Final = "institutions[].webhooks[]"
_PREFIX: Final = "whsec_"  # of a secret that is written in base64
_SHORTEST: Final = 24  # bytes of a secret
_ANSWER: Final = 4096  # bytes of an answer that are looked at
_SHOWN: Final = 200  # characters of it in a sentence
_GONE_FOR_NOW: Final = frozenset({
    HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT,
})  # fmt: skip
# What is wrong with all messages and not with one.
_NOT_FOR_US: Final = {
    HTTPStatus.UNAUTHORIZED: "secret_file",
    HTTPStatus.FORBIDDEN: "secret_file",
    HTTPStatus.NOT_FOUND: "url",
    HTTPStatus.METHOD_NOT_ALLOWED: "url",
    HTTPStatus.GONE: "url",
}


class WebhookPostings:
    """Opens ways to webhooks."""

    def posting(self, hook: Webhook) -> "WebhookPosting":
        """Open one; see ports.webhooks.Postings."""
        return WebhookPosting(hook)


class WebhookPosting:
    """A way to one webhook: ports.webhooks.Posting. Connects with the first message."""

    def __init__(self, hook: Webhook) -> None:
        self._hook = hook
        self._path = urlsplit(hook.url).path or "/"
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def post(self, message: str, body: bytes) -> None:
        """Post a message; see ports.webhooks.Posting."""
        secrets = read_secrets(self._hook.secret_file)
        was_open = self._connection is not None
        try:
            self._post(message, body, secrets)
        except PeerError as error:
            self._close()
            # A server may end an idle connection at any moment: that says nothing about the next one.
            if not was_open or error.failure is not PeerFailure.ABORTED:
                raise
            try:
                self._post(message, body, secrets)
            except PeerError:
                self._close()
                raise

    def _post(self, message: str, body: bytes, secrets: list[bytes]) -> None:
        hook = self._hook
        with telling(hook, hook.timeout, "connecting", _SETTING):
            connection = self._connection = self._connection or connected(hook.url, hook.ca, hook.timeout, _SETTING)
        at = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "imagerepo",
            "webhook-id": message,
            "webhook-timestamp": str(at),
            "webhook-signature": " ".join(signature(one, message, at, body) for one in secrets),
        }
        with telling(hook, hook.timeout, "posting a message", _SETTING), ended_after(connection, 2 * hook.timeout):
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            answer = response.read(_ANSWER)
        if response.will_close or not response.isclosed():
            self._close()
        self._judge(response.status, answer)

    def _judge(self, status: int, answer: bytes) -> None:
        shown = answer[:_SHOWN].decode("utf-8", "replace").replace("\n", " ")
        said = f"{self._hook} answers {status}: {shown}".removesuffix(": ")
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise PeerError(f"{said}; redirects are not followed (setting {_SETTING}.url)", PeerFailure.REJECTED)
        if status in _NOT_FOR_US:
            todo = _NOT_FOR_US[HTTPStatus(status)]
            raise PeerError(f"{said}; check {_SETTING}.{todo}", PeerFailure.REJECTED)
        raise PeerError(said, PeerFailure.BUSY if status in _GONE_FOR_NOW else PeerFailure.DECLINED)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def signature(secret: bytes, message: str, at: int, body: bytes) -> str:
    """A message's signature.

    Args:
        secret: the key.
        message: its id.
        at: seconds since 1970, when it is posted.
        body: as it is posted.
    """
    made = hmac.new(secret, f"{message}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(made).decode()}"


def read_secrets(file: Path) -> list[bytes]:
    """The secrets in a file, one a line. Raises SettingsError, which never says one."""
    setting = f"{_SETTING}.secret_file"
    try:
        lines = file.read_text(encoding="ascii").split()
        found = [_decoded(line) for line in lines]
    except OSError as error:
        raise SettingsError(f"{setting}: cannot read {file}: {error.strerror}") from error
    except (UnicodeDecodeError, binascii.Error):
        raise SettingsError(f"{setting}: {file} has a line that is neither ASCII text nor whsec_ and base64") from None
    if not found or min(map(len, found)) < _SHORTEST:
        raise SettingsError(f"{setting}: {file} has to have secrets of at least {_SHORTEST} bytes, one a line")
    return found


def _decoded(line: str) -> bytes:
    if line.startswith(_PREFIX):
        return base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    return line.encode()
