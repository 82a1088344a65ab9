"""Questions to one replica, past HAProxy, by HTTP; and to whoever answers behind HAProxy, by DIMSE."""

import json
import re
import shutil
import subprocess

from tests.cluster.replicas import DIRECT
from tests.harness.dicom_file import DicomFile, data_set_of
from tests.harness.server import COMMAND, Server
from tests.harness.web_client import WebClient


def found(server: Server, study: str) -> list[str]:
    """SOP Instance UIDs of a study, by QIDO-RS."""
    return _instances(server, f"/dicom-web/instances?StudyInstanceUID={study}&limit=5000")


def described(server: Server, study: str) -> list[str]:
    """SOP Instance UIDs of a study, of its metadata by WADO-RS."""
    return _instances(server, f"/dicom-web/studies/{study}/metadata")


def data_set(server: Server, file: DicomFile) -> bytes | None:
    """An instance's data set; None: it is not there."""
    with WebClient(server.http, source=DIRECT) as client:
        status, body = client.get(f"/image/{file.instance}")
    assert status in {200, 404}, (status, body)
    return data_set_of(body) if status == 200 else None


def study_has(server: Server, files: list[DicomFile]) -> bool:
    """Whether a study, by WADO-RS, has the data sets of these files and no other."""
    with WebClient(server.http, source=DIRECT) as client:
        status, body = client.get(f"/dicom-web/studies/{files[0].study}")
    assert status == 200, (status, body[:500])
    return body.count(bytes(128) + b"DICM") == len(files) and all(file.data_set in body for file in files)


def delete(server: Server, path: str) -> int:
    """The status."""
    with WebClient(server.http, source=DIRECT) as client:
        return client.delete(path)


def counted(server: Server, study: str) -> tuple[int, int]:
    """Numbers of Study Related Series and Instances, by QIDO-RS."""
    with WebClient(server.http, source=DIRECT) as client:
        status, body = client.get(f"/dicom-web/studies?StudyInstanceUID={study}")
    assert status == 200, (status, body)
    (one,) = json.loads(body)
    return one["00201206"]["Value"][0], one["00201208"]["Value"][0]


def searches(server: Server) -> float:
    """Searches for studies that it has answered."""
    with WebClient(server.http, source=DIRECT) as client:
        _, body = client.get("/metrics")
    counted = re.findall(
        r'^imagerepo_http_requests_total{[^}]*route="/dicom-web/studies"[^}]*} (\S+)$', body.decode(), re.MULTILINE
    )
    return sum(map(float, counted))


def readyz(server: Server) -> tuple[int, str]:
    """Status and what it says."""
    with WebClient(server.http, source=DIRECT) as client:
        status, body = client.get("/readyz")
    return status, body.decode()


def findscu(port: int, study: str) -> list[str]:
    """SOP Instance UIDs of a study's first series, by C-FIND of dcmtk."""
    keys = ("QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={study}", f"SeriesInstanceUID={study}.1", "SOPInstanceUID")
    said = _dcmtk("findscu", "-S", *(part for key in keys for part in ("-k", key)), "127.0.0.1", str(port))
    return re.findall(r"\(0008,0018\) UI \[([\d.]+)", said)


def movescu(port: int, study: str, to: str) -> None:
    """C-MOVE a study by dcmtk."""
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    said = _dcmtk("movescu", "-S", "-aem", to, *keys, "127.0.0.1", str(port))
    assert "Received Final Move Response (Success)" in said, said


def command(*arguments: str) -> str:
    """What `imagerepo` says."""
    done = subprocess.run([str(COMMAND), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _dcmtk(program: str, *options: str) -> str:
    path = shutil.which(program)
    assert path, f"{program} is not installed: run tests/setup"
    command = [path, "-v", "-aec", "IMAGEREPO", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _instances(server: Server, path: str) -> list[str]:
    with WebClient(server.http, source=DIRECT) as client:
        status, body = client.get(path)
    assert status in {200, 204, 404}, (status, body)
    return sorted(one["00080018"]["Value"][0] for one in json.loads(body)) if status == 200 else []
