"""Load pydicom's bundled test files into a running server."""

import http.client
import json
from pathlib import Path

from imagerepo.dicom import samples
from imagerepo.errors import ForbiddenError

_BOUNDARY = "imagerepo-samples"


def send(server: tuple[str, int]) -> tuple[int, int]:
    """Send each bundled file by STOW-RS; how many were stored and refused.

    Raises:
        ForbiddenError: the server asks for tokens.
    """
    connection = http.client.HTTPConnection(*server, timeout=60)
    stored = refused = 0
    for path in samples.files():
        body = (
            f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            + Path(path).read_bytes()
            + f"\r\n--{_BOUNDARY}--\r\n".encode()
        )
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'}
        connection.request("POST", "/dicom-web/studies", body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status in {401, 403, 404}:
            raise ForbiddenError("not loaded: institutions are configured; send files with a token of one")
        if response.status == 200 and "00081199" in json.loads(answer):
            stored += 1
        else:
            refused += 1
    connection.close()
    return stored, refused
