"""STOW-RS and reading over one HTTP connection, streamed both ways."""

import http.client
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.harness.dicom_file import DicomFile

BOUNDARY = "tests-part"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
_HEAD = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_END = f"\r\n--{BOUNDARY}--\r\n".encode()
FAILURES = http.client.HTTPException, OSError


@dataclass(frozen=True)
class Stowed:
    """An answer to STOW-RS."""

    status: int
    stored: frozenset[str]  # SOP Instance UIDs of (0008,1199)
    failed: dict[str, int]  # Failure Reason by SOP Instance UID, of (0008,1198)


class WebClient:
    """One connection, opened at the first request."""

    def __init__(self, port: int, timeout: float = 60, source: str | None = None, root: str = "") -> None:
        """`source` is the address to come from; None: the usual one. `root` precedes the path that is stored to."""
        self._root = root
        comes_from = None if source is None else (source, 0)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout, source_address=comes_from)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def stow(self, *files: DicomFile) -> Stowed:
        """Store; `status` is the answer's."""
        body = b"".join((b"\r\n" if number else b"") + _HEAD + file.part10 for number, file in enumerate(files))
        return self._post(body + _END, len(body) + len(_END))

    def stow_streamed(self, part10: Iterable[bytes], size: int) -> Stowed:
        """Store one file of `size` bytes that comes in chunks."""

        def body() -> Iterator[bytes]:
            yield _HEAD
            yield from part10
            yield _END

        return self._post(body(), len(_HEAD) + size + len(_END))

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def delete(self, path: str) -> int:
        """The status."""
        self._connection.request("DELETE", path)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    @contextmanager
    def opened(self, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
        """An answer whose body the caller reads as it likes."""
        self._connection.request("GET", path, headers=headers)
        yield self._connection.getresponse()

    def _post(self, body: bytes | Iterator[bytes], size: int) -> Stowed:
        headers = {"Content-Type": CONTENT_TYPE, "Content-Length": str(size)}
        self._connection.request("POST", f"{self._root}/dicom-web/studies", body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        said = json.loads(content) if content.startswith(b"{") else {}
        stored = frozenset(_uid(one) for one in said.get("00081199", {}).get("Value", []))
        failed = {
            _uid(one): one["00081197"]["Value"][0]
            for one in said.get("00081198", {}).get("Value", [])
            if "00081155" in one
        }
        return Stowed(answer.status, stored, failed)


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    with WebClient(port) as client:
        return client.get(path, **headers)


def _uid(item: dict[str, dict[str, list[str]]]) -> str:
    return item["00081155"]["Value"][0]
