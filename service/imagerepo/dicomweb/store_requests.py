"""STOW-RS requests of many instances over one connection that is kept.

Source: PS3.18 section 10.5.1 (Request), RFC 2387 (multipart/related).
"""

import http.client
import socket
import ssl
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from imagerepo.dicomweb.store_answers import ALREADY_STORED
from imagerepo.errors import PeerError, PeerFailure
from imagerepo.flows.importing.pieces import pieces
from imagerepo.model.imports import Candidate
from imagerepo.model.peer import PeerTls
from imagerepo.tls.client import client_context

_JOINED: Final = 512 << 10  # bytes that are sent at once, and of the longest piece that is copied for it
_ANSWER: Final = 32 << 20  # bytes of the longest answer that is looked at
_SHOWN: Final = 200  # characters of an answer in a sentence
_LONGEST_WAIT: Final = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Server:
    """A DICOMweb server, and what is shown to it."""

    root: str  # URL to which /studies is added, without slash at its end
    headers: Mapping[str, str] = field(default_factory=dict[str, str])  # of each request: who asks
    tls: PeerTls | None = None  # of https
    timeout: float = 120.0  # seconds without a byte either way; a large request is answered when it is on disk


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    retry_after: float  # seconds; 0: it says nothing
    already: int  # of the stored instances, how many were there before
    location: str  # of a redirection

    @property
    def shown(self) -> str:
        """Its beginning, for a sentence."""
        text = " ".join(self.body[: 4 * _SHOWN].decode("utf-8", "replace").split())
        return text[:_SHOWN] or "nothing more"


class Requests:
    """One connection, made when it is needed. For one thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        parts = urlsplit(server.root)
        self._path = f"{parts.path}/studies"
        self._boundary = uuid.uuid4().hex
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def store(self, candidates: Sequence[Candidate]) -> Answer:
        """Send them, and what is answered.

        Raises:
            BadDicomError: one of them cannot be read any more.
            PeerError: no answer came.
            SettingsError: a file of TLS cannot be used.
        """
        kept = self._connection is not None
        try:
            return self._store(candidates)
        except PeerError as error:
            # A server may end an idle connection at any moment: that says nothing about the next one.
            if not kept or error.failure is not PeerFailure.ABORTED:
                raise
        return self._store(candidates)

    def lacks(self, study: str) -> bool:
        """Whether the server says that it has no such study; one that says nothing of it may have it.

        Source: PS3.18 section 10.6 (Search Transaction).
        """
        try:
            connection = self._connect()
            with self._telling("searching"):
                headers = {"Accept": "application/dicom+json", **self._server.headers}
                connection.request("GET", f"{self._path}?StudyInstanceUID={study}&limit=1", headers=headers)
                response = connection.getresponse()
                body = response.read(_ANSWER)
        except PeerError:
            return False
        connection.close()
        none = response.status == HTTPStatus.OK and body.strip() == b"[]"
        return none or response.status == HTTPStatus.NO_CONTENT

    def _store(self, candidates: Sequence[Candidate]) -> Answer:
        connection = self._connection or self._connect()
        self._connection = None  # unless all goes well
        try:
            with self._telling("sending instances"):
                self._write(connection, candidates)
                response = connection.getresponse()
                body = response.read(_ANSWER)
        except BaseException:
            connection.close()
            raise
        if response.will_close or not response.isclosed():
            connection.close()
        else:
            self._connection = connection
        return Answer(
            status=response.status,
            body=body,
            retry_after=_seconds(response.headers.get("Retry-After", "")),
            already=int(_seconds(response.headers.get(ALREADY_STORED, ""))),
            location=response.headers.get("Location", ""),
        )

    def _write(self, connection: http.client.HTTPConnection, candidates: Sequence[Candidate]) -> None:
        head = f"--{self._boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        end = f"\r\n--{self._boundary}--\r\n".encode()
        size = sum(one.size + len(head) for one in candidates) + 2 * (len(candidates) - 1) + len(end)
        connection.putrequest("POST", self._path, skip_accept_encoding=True)
        kind = f'multipart/related; type="application/dicom"; boundary={self._boundary}'
        headers = {"Content-Type": kind, "Content-Length": str(size), "Accept": "application/dicom+json"}
        for name, value in {**headers, **self._server.headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        # It may have answered before it has read all, and ended the connection: its answer says more.
        with suppress(BrokenPipeError, ConnectionResetError):
            for part in _joined(_parts(candidates, head, end)):
                connection.send(part)

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._server.root)
        host = parts.hostname or ""
        with self._telling("connecting"):
            if parts.scheme == "https":
                tls = self._server.tls or PeerTls(None, None, None, host)
                context = client_context(tls, "--ca, --certificate, --key")
                made: http.client.HTTPConnection = http.client.HTTPSConnection(
                    host, parts.port, timeout=self._server.timeout, context=context
                )
            else:
                made = http.client.HTTPConnection(host, parts.port, timeout=self._server.timeout)
            made.connect()
        return made

    @contextmanager
    def _telling(self, doing: str) -> Generator[None]:
        """Turn what goes wrong with a connection into what it means."""
        root = self._server.root
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise PeerError(f"{root}: no agreement over TLS: {error}; see --ca", PeerFailure.TLS) from error
        except ssl.SSLEOFError as error:
            raise PeerError(f"{root} ended the connection while {doing}: {error}", PeerFailure.ABORTED) from error
        except ssl.SSLError as error:
            raise PeerError(f"{root}: no agreement over TLS: {error}", PeerFailure.TLS) from error
        except TimeoutError as error:
            said = f"{root} was silent for {self._server.timeout:g} s while {doing}"
            raise PeerError(said, PeerFailure.SILENT) from error
        except (ConnectionRefusedError, socket.gaierror) as error:
            raise PeerError(
                f"{root} cannot be reached: {error}; is it the right --to?", PeerFailure.UNREACHABLE
            ) from error
        except (OSError, http.client.RemoteDisconnected) as error:
            raise PeerError(f"{root} ended the connection while {doing}: {error}", PeerFailure.ABORTED) from error
        except http.client.HTTPException as error:
            raise PeerError(f"{root} does not speak HTTP: {error!r}", PeerFailure.MALFORMED) from error


def _parts(candidates: Sequence[Candidate], head: bytes, end: bytes) -> Iterator[bytes]:
    for number, one in enumerate(candidates):
        yield b"\r\n" + head if number else head
        yield from pieces(one)
    yield end


def _joined(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces: each is a system call, and a packet at least."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        if size + len(part) > _JOINED and waiting:
            yield b"".join(waiting)
            waiting, size = [], 0
        if len(part) > _JOINED:
            yield part
        else:
            waiting.append(part)
            size += len(part)
    if waiting:
        yield b"".join(waiting)


def _seconds(text: str) -> float:
    """A number of a header; 0 if it is none, or a date, which servers hardly send here."""
    return min(float(text), _LONGEST_WAIT) if text.isascii() and text.isdecimal() else 0.0
