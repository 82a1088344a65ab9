"""Debian's Orthanc, as a peer: it queries us, retrieves from us, and is sent to."""

import http.client
import json
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.harness.dcmtk_peers import free_port

AE_TITLE = "ORTHANC"
_WITHIN = 60.0  # seconds


class Orthanc:
    """One Orthanc, on ports and in a folder of its own. Leaving the context ends it."""

    def __init__(self, folder: Path) -> None:
        """Choose its ports: whoever sends to it has to know them before it starts."""
        self.http, self.dimse = free_port(), free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, peer: int) -> Self:
        """Start; `peer` is the DIMSE port at which it calls IMAGEREPO. Returns when it answers."""
        self._folder.mkdir(parents=True)
        configuration = {
            "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"),
            "HttpPort": self.http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": AE_TITLE,
            "DicomPort": self.dimse,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": {"imagerepo": ["IMAGEREPO", "127.0.0.1", peer]},
        }
        path = self._folder / "orthanc.json"
        path.write_text(json.dumps(configuration))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(["Orthanc", str(path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + _WITHIN
        while not self._answers():
            assert time.monotonic() < until, (self._folder / "log").read_text()
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.05)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_WITHIN)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """A request of its REST API; its answer from JSON."""
        status, answer = self._request(method, path, None if body is None else json.dumps(body).encode())
        assert status == 200, (path, status, answer)
        return json.loads(answer)

    def content(self, path: str) -> bytes:
        """The bytes at a path."""
        status, answer = self._request("GET", path, None)
        assert status == 200, (path, status)
        return answer

    def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=_WITHIN)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _answers(self) -> bool:
        try:
            return self._request("GET", "/system", None)[0] == 200
        except OSError:
            return False
