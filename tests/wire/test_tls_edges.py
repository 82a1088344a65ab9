"""TLS behind a balancer, at the end of a server, and many at once."""

import contextlib
import io
import socket
import ssl
import struct
import subprocess
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from imagerepo.proxy_protocol import SIGNATURE
from tests.harness.dicom_file import DicomFile, ct
from tests.harness.server import Server
from tests.wire.dimse_peer import associate_rq
from tests.wire.tls_serving import Place, dcmtk, place, serving


def _proxied(address: str) -> bytes:
    return SIGNATURE + struct.pack(">BBH", 0x21, 0x11, 12) + socket.inet_aton(address) + bytes(8)


def _tls(port: int, where: Place, first: bytes = b"") -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=where.ours.file)
    context.load_cert_chain(where.gateway.certificate, where.gateway.key)
    plain = socket.create_connection(("127.0.0.1", port), 20)
    plain.sendall(first)
    return context.wrap_socket(plain, server_hostname="localhost")


def test_a_balancer_names_the_sender_before_the_handshake(tmp_path: Path) -> None:
    where = place(tmp_path)
    where.settings["trusted_proxies"] = ["127.0.0.1"]
    where.settings["tls"]["dimse_clients"] = "optional"
    where.settings["institutions"][0]["senders"] = [{"ae_title": "OLD", "addresses": ["192.0.2.7"]}]
    where.write()
    with serving(where) as server:
        for address, answer in (("192.0.2.7", b"\2"), ("192.0.2.8", b"\3")):
            with _tls(server.dimse_tls, where, _proxied(address)) as one:
                one.sendall(associate_rq(calling="OLD"))
                assert one.recv(1) == answer
        with _tls(server.https, where, _proxied("192.0.2.9")) as one:
            one.sendall(b"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert one.recv(15) == b"HTTP/1.1 200 OK"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _tls(server.https, where)  # without the header
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _tls(server.dimse_tls, where)
        assert server.said().count("no PROXY protocol version 2 header") == 2


def test_at_sigterm_an_association_over_tls_finishes_and_stalled_handshakes_hinder_nothing(tmp_path: Path) -> None:
    where = place(tmp_path)
    where.settings["tls"]["handshake_timeout"] = 3600
    where.settings["drain_grace"] = 6
    where.write()
    ae = AE("CT1")
    ae.add_requested_context(Verification)
    context = ssl.create_default_context(cafile=where.ours.file)
    context.load_cert_chain(where.ct1.certificate, where.ct1.key)
    with serving(where) as server, contextlib.ExitStack() as stack:
        for port in (server.dimse_tls, server.https) * 3:
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
        association = ae.associate(
            "127.0.0.1", server.dimse_tls, ae_title="IMAGEREPO", tls_args=(context, "localhost")
        )
        assert association.is_established
        server.terminate()
        while _ready(server):
            time.sleep(0.02)
        assert association.send_c_echo().Status == 0
        association.release()
        assert server.wait() == 0


def _ready(server: Server) -> bool:
    asked = subprocess.run(["curl", "-sS", "--fail", f"{server.url}/readyz"], capture_output=True, check=False)
    return asked.returncode == 0


def test_more_handshakes_than_connections_let_the_newest_in(tmp_path: Path) -> None:
    where = place(tmp_path)
    where.settings["tls"]["handshake_timeout"] = 3600
    where.settings["http"] = {"max_connections": 20}
    where.write()
    with serving(where) as server, contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.https), 20))
        with _tls(server.https, where) as one:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert one.recv(15) == b"HTTP/1.1 200 OK"


def test_many_devices_at_once_are_served_while_certificates_change(tmp_path: Path) -> None:
    where = place(tmp_path)
    renewed = [where.ours.issue("imagerepo", file=f"renewed-{number}", dns=["localhost"]) for number in range(3)]
    with serving(where) as server:
        stop = threading.Event()

        def change() -> None:
            while not stop.is_set():
                for one in renewed:
                    where.server_files.replace_by(one)
                    stop.wait(1)

        def echo(_: int) -> int:
            return dcmtk("echoscu", server.dimse_tls, "CT1", where.ct1, where.ours.file).returncode

        changing = threading.Thread(target=change)
        changing.start()
        try:
            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(echo, range(150))) == {0}
        finally:
            stop.set()
            changing.join()
        _let_go_of_all(server)


def _let_go_of_all(server: Server) -> None:
    """No association is left in the metrics, though each was over TLS."""
    until = time.monotonic() + 10
    while True:
        told = subprocess.run(
            ["curl", "-sS", f"{server.url}/metrics"], capture_output=True, text=True, check=True
        ).stdout
        if "imagerepo_dimse_associations 0.0" in told:
            break
        assert time.monotonic() < until
        time.sleep(0.1)
    assert 'imagerepo_tls_handshakes_total{outcome="agreed",protocol="dimse"} 150.0' in told


def _get(server: Server, where: Place, path: str) -> ssl.SSLSocket:
    """Ask for something over TLS, into a small window."""
    context = ssl.create_default_context(cafile=where.ours.file)
    context.load_cert_chain(where.gateway.certificate, where.gateway.key)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
    plain.settimeout(60)
    plain.connect(("127.0.0.1", server.https))
    secured = context.wrap_socket(plain, server_hostname="localhost")
    secured.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return secured


def _store(server: Server, where: Place, files: list[DicomFile]) -> None:
    boundary = b"--x\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(boundary + file.part10 + b"\r\n" for file in files) + b"--x--\r\n"
    with _tls(server.https, where) as one:
        head = "POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
        kind = 'Content-Type: multipart/related; type="application/dicom"; boundary=x'
        one.sendall(f"{head}{len(body)}\r\n{kind}\r\n\r\n".encode() + body)
        assert one.recv(15) == b"HTTP/1.1 200 OK"


def test_slow_readers_get_what_was_stored_though_buffers_are_used_again(tmp_path: Path) -> None:
    where = place(tmp_path)
    where.write()
    files = [ct(number, size=size * 1024) for number, size in enumerate((512, 20, 700, 3, 1500, 512, 1, 2000), 1)]

    def read(pause: float) -> bytes:
        received = bytearray()
        with _get(server, where, f"/study/{files[0].study}") as one:
            while piece := one.recv(64 << 10):
                received += piece
                time.sleep(pause)
        return bytes(received).partition(b"\r\n\r\n")[2]

    with serving(where) as server, ThreadPoolExecutor(5) as readers:
        _store(server, where, files)
        for body in readers.map(read, [0.0005 * number for number in range(5)]):
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                found = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}
            assert {name: len(content) for name, content in found.items()} == {
                f"{file.instance}.dcm": len(file.part10) for file in files
            }
            for file in files:
                assert found[f"{file.instance}.dcm"] == file.part10


def test_a_client_that_takes_nothing_is_let_go(tmp_path: Path) -> None:
    where = place(tmp_path)
    where.settings["http"] = {"send_timeout": 0.5}
    where.write()
    files = [ct(number, size=2 << 20) for number in range(1, 9)]
    with serving(where) as server:
        _store(server, where, files)
        with _get(server, where, f"/study/{files[0].study}"):
            until = time.monotonic() + 30
            while "http.client_stalled" not in server.said():
                assert time.monotonic() < until
                time.sleep(0.1)
