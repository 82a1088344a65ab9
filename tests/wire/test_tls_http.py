"""HTTP over TLS: real clients against the real server, and whoever does not speak it."""

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.data import get_testdata_file

from tests.harness.certificates import Authority, Files
from tests.harness.server import Server
from tests.wire.tls_serving import TOKEN, Place, place, serving

CT = Path(str(get_testdata_file("CT_small.dcm")))


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(where: Place) -> Iterator[Server]:
    with serving(where) as one:
        yield one


def curl(where: Place, url: str, *arguments: str) -> tuple[int, str]:
    """Status and body."""
    told = subprocess.run(
        ["curl", "-sS", "--cacert", where.ours.file, "-w", "\n%{http_code}", *arguments, url],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    body, _, status = told.stdout.rpartition("\n")
    return int(status), body


def shows(files: Files) -> tuple[str, ...]:
    return ("--cert", str(files.certificate), "--key", str(files.key))


def studies(server: Server) -> str:
    return f"https://localhost:{server.https}/dicom-web/studies"


def test_dicomweb_client_stores_and_searches_with_a_certificate_alone(server: Server, where: Place) -> None:
    with requests.Session() as session:
        session.trust_env = False  # the machine may name authorities of its own
        session.verify = str(where.ours.file)
        session.cert = (str(where.gateway.certificate), str(where.gateway.key))
        client = DICOMwebClient(f"https://localhost:{server.https}/dicom-web", session=session)
        answer = client.store_instances([pydicom.dcmread(CT)])
        (stored,) = answer.ReferencedSOPSequence
        assert stored.RetrieveURL.startswith(f"https://localhost:{server.https}/")
        (study,) = client.search_for_studies()
    assert study["0020000D"]["Value"] == [pydicom.dcmread(CT).StudyInstanceUID]


def test_a_token_works_over_tls_without_a_certificate(server: Server, where: Place) -> None:
    assert curl(where, studies(server), "-H", f"Authorization: Bearer {TOKEN}")[0] == 200


def test_neither_token_nor_certificate_is_401(server: Server, where: Place) -> None:
    status, body = curl(where, studies(server))
    assert (status, body) == (401, "a bearer token or a client certificate is needed\n")


def test_a_certificate_that_settings_do_not_know_is_401_and_told_its_names(server: Server, where: Place) -> None:
    other = where.north.issue("other")
    status, body = curl(where, studies(server), *shows(other))
    assert status == 401
    assert other.fingerprint in body


def test_a_devices_certificate_without_roles_opens_nothing_by_http(server: Server, where: Place) -> None:
    assert curl(where, studies(server), *shows(where.ct1))[0] == 401


def test_a_certificate_opens_its_own_institution_alone(server: Server, where: Place) -> None:
    url = f"https://localhost:{server.https}/institutions/{{}}/dicom-web/studies"
    assert curl(where, url.format("north"), *shows(where.gateway))[0] == 200
    assert curl(where, url.format("south"), *shows(where.gateway))[0] == 403


def test_a_page_of_another_site_cannot_use_a_browsers_certificate_to_store(server: Server, where: Place) -> None:
    posted = ("-X", "POST", "-H", "Content-Type: multipart/related; type=application/dicom; boundary=x", "-d", "")
    sent = (*shows(where.gateway), *posted)
    assert curl(where, studies(server), *sent, "-H", "Sec-Fetch-Site: cross-site")[0] == 403
    assert curl(where, studies(server), *sent, "-H", "Origin: https://evil.example")[0] == 403
    assert curl(where, studies(server), *sent, "-H", f"Origin: https://localhost:{server.https}")[0] == 400


def test_a_certificate_of_an_unknown_authority_ends_the_handshake_and_is_named(server: Server, where: Place) -> None:
    foreign = Authority(where.folder, "foreign").issue("gateway", file="foreign-gateway")
    assert curl(where, studies(server), *shows(foreign))[0] == 0
    assert "http.tls.refused address='127.0.0.1' fault='foreign_certificate'" in server.said()


def test_plain_http_on_a_port_of_tls_is_told_so(server: Server, where: Place) -> None:
    status, body = curl(where, studies(server).replace("https", "http"))
    assert (status, body) == (400, "This port speaks TLS: ask it by https://\n")


def test_tls_on_a_port_in_the_clear_is_told_which_setting_gives_it_one(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.http), 10) as one:
        one.sendall(bytes.fromhex("16030100c8010000c40303") + bytes(189))
        said = b""
        while more := one.recv(4096):
            said += more
    assert b"setting tls.listen" in said


def test_handshakes_that_stall_end_in_time_and_keep_nobody_out(server: Server, where: Place) -> None:
    stalled = [socket.create_connection(("127.0.0.1", server.https), 20) for _ in range(60)]
    try:
        for number, one in enumerate(stalled):
            one.sendall(bytes.fromhex("16030100c8010000c40303")[: number % 11])
        assert curl(where, studies(server), *shows(where.gateway))[0] == 200
        for one in stalled:
            while one.recv(100):
                pass
    finally:
        for one in stalled:
            one.close()


def test_connections_that_end_amid_the_handshake_leave_nothing_behind(server: Server, where: Place) -> None:
    (worker,) = (one for one in server.workers() if one.kind == "http")
    descriptors = Path(f"/proc/{worker.pid}/fd")
    assert curl(where, studies(server), *shows(where.gateway))[0] == 200
    before = len(list(descriptors.iterdir()))
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", server.https), 10) as one:
            one.sendall(bytes.fromhex("16030100c8010000c4"))
    until = time.monotonic() + 10
    while len(list(descriptors.iterdir())) > before:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert curl(where, studies(server), *shows(where.gateway))[0] == 200


def test_large_answers_and_many_requests_on_one_connection_come_whole(server: Server, where: Place) -> None:
    context = ssl.create_default_context(cafile=where.ours.file)
    context.load_cert_chain(where.gateway.certificate, where.gateway.key)
    uid = pydicom.dcmread(CT).StudyInstanceUID
    with requests.Session() as session:
        session.trust_env = False  # the machine may name authorities of its own
        session.verify = str(where.ours.file)
        session.cert = (str(where.gateway.certificate), str(where.gateway.key))
        client = DICOMwebClient(f"https://localhost:{server.https}/dicom-web", session=session)
        many = []
        for number in range(40):
            one = pydicom.dcmread(CT)
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"2.25.77{number}"
            one.Rows = one.Columns = 512
            one.PixelData = bytes([number]) * (512 * 512 * 2)
            many.append(one)
        client.store_instances(many)
    connection = http.client.HTTPSConnection("localhost", server.https, context=context, timeout=60)
    for _ in range(2):
        connection.request(
            "GET",
            f"/dicom-web/studies/{uid}",
            headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
        )
        assert len(connection.getresponse().read()) > 40 * 512 * 512 * 2
    connection.close()
