"""Certificates and who is known by them change while the server runs, and wrong ones change nothing."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from tests.harness.certificates import Authority
from tests.harness.server import NotStartedError, Server
from tests.wire.tls_serving import Place, dcmtk, place, serving

_PATIENCE = 60.0  # seconds; what is promised is ten, on a machine that has time


def _shown(port: int) -> bytes:
    """The certificate that a port of TLS shows, in DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(plain) as tls:
        shown = tls.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def _associate(server: Server, where: Place) -> Association:
    ae = AE("CT1")
    ae.add_requested_context(Verification)
    context = ssl.create_default_context(cafile=where.ours.file)
    context.load_cert_chain(where.ct1.certificate, where.ct1.key)
    made = ae.associate("127.0.0.1", server.dimse_tls, ae_title="IMAGEREPO", tls_args=(context, "localhost"))
    assert made.is_established
    return made


def _becomes(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def _echoes(server: Server, where: Place, calling: str = "CT1") -> bool:
    shown = where.ct1 if calling == "CT1" else where.mr1
    return dcmtk("echoscu", server.dimse_tls, calling, shown, where.ours.file).returncode == 0


def test_a_renewed_certificate_is_shown_at_once_and_no_association_ends(tmp_path: Path) -> None:
    where = place(tmp_path)
    where.server_files.key.chmod(0o644)
    with serving(where) as server:
        assert "tls.key_readable_by_all" in server.said()
        association = _associate(server, where)
        before = _shown(server.dimse_tls)
        where.server_files.replace_by(where.ours.issue("imagerepo", file="renewed", dns=["localhost"]))
        _becomes(lambda: _shown(server.dimse_tls) != before and _shown(server.https) != before)
        assert association.send_c_echo().Status == 0
        association.release()
        assert _echoes(server, where)


def test_what_cannot_be_used_is_named_and_the_old_certificate_stays(tmp_path: Path) -> None:
    where = place(tmp_path)
    certificate, key = where.server_files.certificate, where.server_files.key
    good = certificate.read_bytes()
    other = where.ours.issue("imagerepo", file="other", dns=["localhost"])
    expired = where.ours.issue("imagerepo", file="expired", begins=timedelta(-9), ends=timedelta(-1))
    with serving(where) as server:
        before = _shown(server.dimse_tls)

        def names(*said: str) -> None:
            _becomes(lambda: all(one in server.said() for one in said))
            assert _shown(server.dimse_tls) == before
            assert _shown(server.https) == before

        certificate.write_bytes(other.certificate.read_bytes())
        names("tls.not_reloaded", f"tls.key: {key} is not the key of the certificate in {certificate}")
        certificate.write_bytes(b"nonsense")
        names(f"{certificate} has no certificate in PEM")
        certificate.unlink()
        names(f"tls.certificate: cannot read {certificate}: No such file or directory")
        certificate.write_bytes(good)
        _becomes(lambda: "tls.reloaded" in server.said())
        original = key.read_bytes()
        key.write_bytes(expired.key.read_bytes())
        certificate.write_bytes(expired.certificate.read_bytes())
        names(f"tls.certificate: {certificate} expired at")
        key.write_bytes(original)
        certificate.write_bytes(good)
        assert _echoes(server, where)


def test_a_device_is_shut_out_and_another_let_in_without_a_restart(tmp_path: Path) -> None:
    where = place(tmp_path)
    with serving(where) as server:
        association = _associate(server, where)
        assert not _echoes(server, where, "MR9")
        north, _, south = where.settings["institutions"]
        north["certificates"][0]["ae_titles"] = ["OTHER"]
        south["certificates"][0]["ae_titles"] = ["MR1", "MR9"]
        where.write()
        _becomes(lambda: not _echoes(server, where) and _echoes(server, where, "MR9"))
        assert association.send_c_echo().Status == 0
        association.release()


def test_an_authority_is_exchanged_without_a_restart(tmp_path: Path) -> None:
    where = place(tmp_path)
    with serving(where) as server:
        fresh = Authority(where.folder, "fresh")
        device = fresh.issue("CT1", file="fresh-ct", dns=["ct1.north.example"])
        where.north.file.write_bytes(fresh.file.read_bytes())
        _becomes(lambda: dcmtk("echoscu", server.dimse_tls, "CT1", device, where.ours.file).returncode == 0)
        assert not _echoes(server, where)


def test_what_cannot_be_used_refuses_to_start_and_is_named(tmp_path: Path) -> None:
    where = place(tmp_path)
    where.server_files.key.write_bytes(where.ct1.key.read_bytes())
    with pytest.raises(NotStartedError, match="is not the key of"), serving(where):
        pass


def test_a_key_that_we_may_not_read_is_named(tmp_path: Path) -> None:
    where = place(tmp_path)
    if os.geteuid() == 0:
        # Nothing is forbidden to root but this: a folder is no file.
        where.server_files.key.unlink()
        where.server_files.key.mkdir()
    else:
        where.server_files.key.chmod(0)
    with pytest.raises(NotStartedError, match=r"tls\.key: cannot read"), serving(where):
        pass


def test_a_worker_that_begins_anew_with_a_broken_key_serves_the_rest_until_it_is_mended(tmp_path: Path) -> None:
    where = place(tmp_path)
    north = where.settings["institutions"][0]
    north["senders"] = [{"ae_title": "OLD"}]
    where.write()
    key = where.server_files.key.read_bytes()
    with serving(where) as server:
        where.server_files.key.write_text("nonsense")
        (worker,) = (one for one in server.workers() if one.kind == "dimse")
        os.kill(worker.pid, signal.SIGKILL)
        _becomes(lambda: "tls.not_loaded" in server.said())
        _becomes(lambda: _plain_echo(server, "OLD"))
        assert not _echoes(server, where)
        assert "fault='unready'" in server.said()
        where.server_files.key.write_bytes(key)
        _becomes(lambda: _echoes(server, where))


def _plain_echo(server: Server, calling: str) -> bool:
    command = ["echoscu", "-aet", calling, "-aec", "IMAGEREPO", "127.0.0.1", str(server.dimse)]
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0


def test_a_certificate_taken_out_of_the_settings_opens_nothing_on_a_connection_that_exists(tmp_path: Path) -> None:
    where = place(tmp_path)
    with serving(where) as server:
        context = ssl.create_default_context(cafile=where.ours.file)
        context.load_cert_chain(where.gateway.certificate, where.gateway.key)
        connection = http.client.HTTPSConnection("localhost", server.https, context=context, timeout=20)

        def status() -> int:
            connection.request("GET", "/dicom-web/studies")
            answer = connection.getresponse()
            answer.read()
            return answer.status

        assert status() == 200
        kept = connection.sock
        del where.settings["institutions"][0]["certificates"][1]
        where.write()
        _becomes(lambda: status() == 401)
        assert connection.sock is kept
        connection.close()
