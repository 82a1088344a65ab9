"""Send stored instances to other DICOMweb servers: STOW-RS, one instance a request over a connection that is kept.

Implements ports.web_peers.WebPeers and the way that it opens.

Source: PS3.18 section 10.5 (Store Transaction), Tables 10.5.3-1 (status codes) and I.2-1 (Store Instances Response).
"""

import http.client
import json
import uuid
from contextlib import AbstractContextManager
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from imagerepo.errors import PeerError, PeerFailure
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.model.web_peer import WebPeer
from imagerepo.ports.peers import Sent
from imagerepo.web.outgoing import connected, telling

_SETTING: Final = "forwarding.stow[]"
_PIECE: Final = 640 << 10  # bytes read and sent at a time
_ANSWER: Final = 1 << 20  # bytes of the longest answer that is looked at
_SHOWN: Final = 200  # characters of an answer in a sentence
_REFERENCED, _FAILED, _REASON, _INSTANCE = "00081199", "00081198", "00081197", "00081155"
_CANNOT_UNDERSTAND: Final = 0xC000
# What is wrong with all instances and not with one.
_NOT_FOR_US: Final = {
    HTTPStatus.UNAUTHORIZED: "check forwarding.stow[].token_file",
    HTTPStatus.FORBIDDEN: "check what forwarding.stow[].token_file allows there",
    HTTPStatus.NOT_FOUND: "check forwarding.stow[].url",
    HTTPStatus.METHOD_NOT_ALLOWED: "check forwarding.stow[].url",
}


class WebSendings:
    """Opens ways to DICOMweb servers: ports.web_peers.WebPeers."""

    def __init__(self, retrieve: Retrieve) -> None:
        """Send what `retrieve` reads."""
        self._retrieve = retrieve
        # From before any version was looked up that is sent here: one may wait for its turn until its bytes are gone.
        self._generation = retrieve.generation()

    def sending(self, peer: WebPeer) -> "WebSending":
        """Open a way; see ports.web_peers.WebPeers."""
        return WebSending(peer, self._retrieve, self._generation)


class WebSending:
    """A way to one server: ports.peers.Sending. Leaving the context closes its connection."""

    def __init__(self, peer: WebPeer, retrieve: Retrieve, generation: int) -> None:
        """Connect; `generation` is Retrieve's before versions were looked up. Raises PeerError."""
        self._peer = peer
        self._retrieve = retrieve
        self._generation = generation
        self._path = urlsplit(peer.url).path.rstrip("/") + "/studies"
        self._boundary = uuid.uuid4().hex
        self._token = self._read_token()
        self._connection = self._connect()
        self._fresh = True  # whether nothing was sent over the connection yet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def send(self, version: Version, then: Version | None = None) -> Sent:
        """Send one version; see ports.peers.Sending."""
        del then
        try:
            return self._send(version)
        except PeerError as error:
            # A server may end an idle connection at any moment: that says nothing about the next one.
            if self._fresh or error.failure is not PeerFailure.ABORTED:
                raise
        self._connection.close()
        self._connection = self._connect()
        self._fresh = True
        return self._send(version)

    def _send(self, version: Version) -> Sent:
        with self._telling("sending an instance"):
            self._write(version)
            response = self._connection.getresponse()
            answer = response.read(_ANSWER)
            self._fresh = False
        if response.will_close or not response.isclosed():
            self._connection.close()  # http.client opens it again
        return self._judge(response.status, answer, version)

    def _write(self, version: Version) -> None:
        head = f"--{self._boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{self._boundary}--\r\n".encode()
        connection = self._connection
        connection.putrequest("POST", self._path, skip_accept_encoding=True)
        kind = f'multipart/related; type="application/dicom"; boundary={self._boundary}'
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", str(len(head) + version.size + len(tail)))
        connection.putheader("Accept", "application/dicom+json")
        if self._token:
            connection.putheader("Authorization", f"Bearer {self._token}")
        connection.endheaders(head)
        seal = self._retrieve.seal(version, 0)
        try:
            for offset in range(0, version.size, _PIECE):
                piece = self._retrieve.read(version, offset, min(_PIECE, version.size - offset))
                self._retrieve.check((version,), self._generation)
                seal.add(piece)
                if offset + len(piece) == version.size:
                    seal.close()
                connection.send(piece)
            connection.send(tail)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered before it has read all: its answer says more

    def _judge(self, status: int, answer: bytes, version: Version) -> Sent:
        shown = answer[:_SHOWN].decode("utf-8", "replace").replace("\n", " ")
        if status == HTTPStatus.OK:
            return Sent(0, "")
        if status in _NOT_FOR_US:
            todo = _NOT_FOR_US[HTTPStatus(status)]
            raise PeerError(f"{self._peer} answers {status}; {todo}: {shown}", PeerFailure.REJECTED)
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise PeerError(f"{self._peer} answers {status}: {shown}", PeerFailure.BUSY)
        if status == HTTPStatus.ACCEPTED and _has(answer, version.instance_uid):
            return Sent(0, "")
        reason = _reason(answer)
        return Sent(reason or _CANNOT_UNDERSTAND, f"HTTP {status}" + ("" if reason else f": {shown}"))

    def _connect(self) -> http.client.HTTPConnection:
        with self._telling("connecting"):
            return connected(self._peer.url, self._peer.ca, self._peer.timeout, _SETTING)

    def _telling(self, doing: str) -> AbstractContextManager[None]:
        return telling(self._peer, self._peer.timeout, doing, _SETTING)

    def _read_token(self) -> str:
        file = self._peer.token_file
        if file is None:
            return ""
        try:
            return file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise PeerError(
                f"{self._peer}: the token cannot be read from {file} (setting forwarding.stow[].token_file): {error}",
                PeerFailure.REJECTED,
            ) from error


def _has(answer: bytes, instance_uid: str) -> bool:
    """Whether an answer names the instance as stored."""
    return _first(answer, _REFERENCED, _INSTANCE) == instance_uid


def _reason(answer: bytes) -> int:
    """Why an answer says that the instance was not stored; 0: it does not."""
    found = _first(answer, _FAILED, _REASON)
    return found if isinstance(found, int) else 0


def _first(answer: bytes, sequence: str, attribute: str) -> object:
    """The value of an attribute in the first item of a sequence; None where there is none."""
    try:
        return json.loads(answer)[sequence]["Value"][0][attribute]["Value"][0]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
