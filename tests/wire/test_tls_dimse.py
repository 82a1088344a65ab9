"""DIMSE over TLS: real clients against the real server, and whoever does not speak it."""

import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import CTImageStorage, Verification

from tests.harness.certificates import Authority, Files
from tests.harness.server import Server
from tests.wire.dimse_peer import Peer, associate_rq
from tests.wire.tls_serving import PASSCODE, TOKEN, Place, dcmtk, place, serving

CT = Path(str(get_testdata_file("CT_small.dcm")))


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Place:
    assert shutil.which("echoscu"), "dcmtk is missing; see tests/setup"
    return place(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(where: Place) -> Iterator[Server]:
    with serving(where) as one:
        yield one


def client_context(where: Place, shown: Files | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=where.ours.file)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def echoes(server: Server, where: Place, calling: str, shown: Files) -> bool:
    return dcmtk("echoscu", server.dimse_tls, calling, shown, where.ours.file).returncode == 0


def said_after(server: Server, before: str, *needles: str) -> str:
    """What the server says beyond `before`, once it says all of these."""
    until = time.monotonic() + 15
    while not all(needle in server.said()[len(before) :] for needle in needles):
        assert time.monotonic() < until, f"none of {needles}: {server.said()[len(before) :]}"
        time.sleep(0.05)
    return server.said()[len(before) :]


def test_storescu_stores_over_tls_and_the_bytes_are_the_same(server: Server, where: Place) -> None:
    stored = dcmtk("storescu", server.dimse_tls, "CT1", where.ct1, where.ours.file, str(CT))
    assert stored.returncode == 0, stored.stdout + stored.stderr
    answer = subprocess.run(
        ["curl", "-sS", "--fail", "--cacert", where.ours.file, "-H", f"Authorization: Bearer {TOKEN}",
         f"https://localhost:{server.https}/image/1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert pydicom.dcmread(BytesIO(answer.stdout)).PixelData == pydicom.dcmread(CT).PixelData


def test_pynetdicom_stores_over_tls(server: Server, where: Place) -> None:
    ae = AE("CT1")
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage)
    context = client_context(where, where.ct1)
    association = ae.associate("127.0.0.1", server.dimse_tls, ae_title="IMAGEREPO", tls_args=(context, "localhost"))
    assert association.is_established
    assert [association.send_c_store(CT).Status for _ in range(5)] == [0] * 5
    association.release()


def test_a_certificate_opens_its_own_ae_title_and_institution_alone(server: Server, where: Place) -> None:
    assert echoes(server, where, "CT1", where.ct1)
    assert echoes(server, where, "MR1", where.mr1)
    assert not echoes(server, where, "MR1", where.ct1)
    assert not echoes(server, where, "CT1", where.mr1)


def test_an_ae_title_that_a_certificate_proves_is_worth_nothing_without_it(server: Server) -> None:
    plain = subprocess.run(
        ["echoscu", "-aet", "CT1", "-aec", "IMAGEREPO", "127.0.0.1", str(server.dimse)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Calling AE Title Not Recognized" in plain.stdout + plain.stderr
    assert "without a certificate" in server.said()


def test_another_institutions_authority_does_not_vouch_for_a_device(server: Server, where: Place) -> None:
    imposter = where.south.issue("CT1", file="imposter", dns=["ct1.north.example"])
    assert not echoes(server, where, "CT1", imposter)


def test_a_certificate_of_an_unknown_authority_is_refused_and_named(server: Server, where: Place) -> None:
    before = server.said()
    foreign = Authority(where.folder, "foreign").issue("CT1", file="foreign-ct", dns=["ct1.north.example"])
    assert not echoes(server, where, "CT1", foreign)
    said_after(server, before, "foreign_certificate", "not accepted")


def test_an_expired_certificate_is_refused_and_named(server: Server, where: Place) -> None:
    before = server.said()
    old = where.north.issue("CT1", file="old", dns=["ct1.north.example"], begins=timedelta(-9), ends=timedelta(-1))
    assert not echoes(server, where, "CT1", old)
    said_after(server, before, "certificate has expired")


def test_a_device_without_a_certificate_is_refused_and_named(server: Server, where: Place) -> None:
    before = server.said()
    with (
        socket.create_connection(("127.0.0.1", server.dimse_tls), 10) as plain,
        client_context(where, None).wrap_socket(plain, server_hostname="localhost") as tls,
        pytest.raises(ssl.SSLError, match="certificate required"),
    ):
        tls.recv(1)
    said_after(server, before, "no_certificate")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(server: Server, where: Place, version: ssl.TLSVersion) -> None:
    context = client_context(where, where.ct1)
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", server.dimse_tls), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        tls.sendall(associate_rq(calling="CT1"))
        assert tls.recv(1) == b"\2"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-tls1"],
        ["-tls1_1"],
        ["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],  # no forward secrecy
        ["-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384:@SECLEVEL=0"],  # CBC
        ["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0"],  # finite-field key exchange
        ["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"],
    ],
)
@pytest.mark.parametrize("port", ["dimse_tls", "https"])
def test_what_bcp_195_forbids_is_refused(server: Server, arguments: list[str], port: str) -> None:
    if arguments[0] in {"-tls1", "-tls1_1"}:
        arguments = [*arguments, "-cipher", "ALL:@SECLEVEL=0"]
    told = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{getattr(server, port)}", *arguments],
        input=b"", capture_output=True, check=False, timeout=20,
    )  # fmt: skip
    assert told.returncode != 0
    assert b"alert" in told.stderr


def test_renegotiation_is_refused_and_the_server_goes_on(server: Server, where: Place) -> None:
    # The line R makes s_client ask for it.
    with subprocess.Popen(
        ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{server.dimse_tls}",
         "-cert", where.ct1.certificate, "-key", where.ct1.key],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as client:  # fmt: skip
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"R\n")
        client.stdin.flush()
        said = b""
        while b"no renegotiation" not in said.lower() and (line := client.stdout.readline()):
            said += line
        client.kill()
    assert b"no renegotiation" in said.lower()
    assert echoes(server, where, "CT1", where.ct1)


def test_plain_bytes_on_a_port_of_tls_end_the_connection_and_are_named(server: Server) -> None:
    before = server.said()
    with Peer(server.dimse_tls) as peer:
        peer.send(associate_rq(calling="CT1"))
        while peer.receive() != (0, b""):
            pass
    said_after(server, before, "plain_bytes", "not TLS")


def test_tls_on_a_port_in_the_clear_is_named(server: Server, where: Place) -> None:
    before = server.said()
    assert dcmtk("echoscu", server.dimse, "CT1", where.ct1, where.ours.file).returncode != 0
    said_after(server, before, "setting tls.dicom_listen gives it a port")


def test_handshakes_that_stall_end_in_time_and_keep_nobody_out(server: Server, where: Place) -> None:
    before = server.said()
    hello = bytes.fromhex("16030100c8010000c40303")  # of a handshake that never goes on
    stalled = [socket.create_connection(("127.0.0.1", server.dimse_tls), 20) for _ in range(60)]
    try:
        for number, one in enumerate(stalled):
            one.sendall(hello[: number % len(hello)])
        assert echoes(server, where, "CT1", where.ct1)
        for one in stalled:
            while one.recv(100):
                pass
    finally:
        for one in stalled:
            one.close()
    assert said_after(server, before, "silent").count("no handshake within 4 seconds") == len(stalled)


def test_connections_that_end_amid_the_handshake_leave_nothing_behind(server: Server, where: Place) -> None:
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", server.dimse_tls), 10) as one:
            one.sendall(bytes.fromhex("16030100c8010000c4"))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert echoes(server, where, "CT1", where.ct1)
    (worker,) = (one for one in server.workers() if one.kind == "dimse")
    until = time.monotonic() + 10
    while any("association-" in (path / "comm").read_text() for path in Path(f"/proc/{worker.pid}/task").iterdir()):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_peer_that_garbles_its_records_ends_its_own_association_alone(server: Server, where: Place) -> None:
    context = client_context(where, where.ct1)
    with (
        socket.create_connection(("127.0.0.1", server.dimse_tls), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        tls.sendall(associate_rq(calling="CT1"))
        assert tls.recv(1) == b"\2"
        with socket.socket(fileno=socket.dup(tls.fileno())) as beneath:
            beneath.sendall(bytes.fromhex("170303002000") + bytes(31))
            # Whatever else comes, it ends.
            beneath.settimeout(10)
            while beneath.recv(4096):
                pass
    assert echoes(server, where, "CT1", where.ct1)


def as_user(port: int, passcode: bytes, context: ssl.SSLContext | None, calling: str = "ANNA") -> Association:
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.primary_field, identity.secondary_field = b"anna", passcode
    identity.positive_response_requested = True
    ae = AE(calling)
    ae.add_requested_context(Verification)
    tls = (context, "localhost") if context else None
    return ae.associate("127.0.0.1", port, ae_title="WEST", ext_neg=[identity], tls_args=tls)


def test_a_user_with_a_passcode_is_known_over_tls(server: Server, where: Place) -> None:
    association = as_user(server.dimse_tls, PASSCODE, client_context(where, where.ct1))
    assert association.is_established
    assert association.acceptor.user_identity is not None
    assert association.send_c_echo().Status == 0
    association.release()


def test_a_wrong_passcode_or_ae_title_is_rejected(server: Server, where: Place) -> None:
    before = server.said()
    assert not as_user(server.dimse_tls, b"guess", client_context(where, where.ct1)).is_established
    assert not as_user(server.dimse_tls, PASSCODE, client_context(where, where.ct1), "OTHER").is_established
    said_after(server, before, "'anna' may not call as 'ANNA', or has", "'anna' may not call as 'OTHER', or has")


def test_a_passcode_in_the_clear_proves_nothing(server: Server) -> None:
    assert not as_user(server.dimse, PASSCODE, None).is_established
