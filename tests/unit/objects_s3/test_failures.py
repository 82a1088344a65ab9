"""adapters.objects_s3.failures: what real clients say of requests that were not done."""

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import boto3
import obstore
import pytest
from botocore.config import Config
from obstore.store import S3Store

from imagerepo.adapters.objects_s3 import failures
from imagerepo.adapters.objects_s3.failures import Failed, Failure
from tests.harness.certificates import Authority, Files
from tests.harness.gateway_relay import Relay

_ANSWER = "HTTP/1.1 {status} Something\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        yield opened


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def by_obstore(at: str) -> Failed:
    store = S3Store(
        "bucket",
        config={"endpoint": at, "access_key_id": "a", "secret_access_key": "b", "region": "r"},
        client_options={"allow_http": True, "timeout": timedelta(seconds=1), "connect_timeout": timedelta(seconds=1)},
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
    )
    with pytest.raises(failures.ERRORS) as told:
        obstore.put(store, "key", [b"x"], mode="create")
    return failures.failed(told.value)


def by_boto3(at: str) -> Failed:
    config = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
    client = boto3.client(
        "s3",
        endpoint_url=at,
        region_name="r",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=config,
        verify=ssl.get_default_verify_paths().cafile,
    )
    with pytest.raises(failures.ERRORS) as told:
        client.put_object(Bucket="bucket", Key="key", Body=b"x")
    client.close()
    return failures.failed(told.value)


CLIENTS = pytest.mark.parametrize("ask", [by_obstore, by_boto3])


def answering(listening: socket.socket, ask, answer: bytes) -> Failed:
    """What is told of an answer; none: the connection ends."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(2)
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        return ask(url(listening.getsockname()[1]))
    finally:
        thread.join()


@CLIENTS
@pytest.mark.parametrize(
    ("status", "code", "failure"),
    [
        (503, "SlowDown", Failure.BUSY),
        (503, "", Failure.BUSY),
        (500, "InternalError", Failure.BROKEN),
        (502, "", Failure.BROKEN),
        (400, "XAmzContentSHA256Mismatch", Failure.BROKEN),
        (403, "QuotaExceeded", Failure.FULL),
        (403, "SignatureDoesNotMatch", Failure.REFUSED),
        (403, "RequestTimeTooSkewed", Failure.SKEWED),
        (403, "", Failure.REFUSED),
        (404, "NoSuchBucket", Failure.NO_BUCKET),
        (404, "NoSuchKey", Failure.MISSING),
        (412, "PreconditionFailed", Failure.EXISTS),
        (416, "InvalidRange", Failure.BEYOND),
    ],
)
def test_an_answer_is_told_by_its_code_or_its_status(
    listening: socket.socket, ask, status: int, code: str, failure: Failure
) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>" if code else ""
    told = answering(listening, ask, _ANSWER.format(status=status, length=len(body), body=body).encode())
    assert told.failure is failure
    assert told.said == (code or f"status {status}") or (code == "" and told.said == str(status))


@CLIENTS
def test_nobody_listens(ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told = ask(url(port))
    assert told.failure is Failure.UNREACHABLE
    assert told.said.lower() in {"no connection", "connection refused"}
    assert told.failure.passes
    assert not told.failure.in_doubt


@CLIENTS
def test_no_host_has_that_name(ask) -> None:
    assert ask("http://nobody.invalid").failure is Failure.UNREACHABLE


@CLIENTS
def test_nothing_is_answered(listening: socket.socket, ask) -> None:
    told = ask(url(listening.getsockname()[1]))
    assert told == Failed(Failure.SILENT, "no answer in time")
    assert told.failure.in_doubt


@CLIENTS
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH\r\n"])
def test_the_connection_ends_or_it_is_no_http(listening: socket.socket, ask, answer: bytes) -> None:
    told = answering(listening, ask, answer)
    assert told.failure is Failure.CUT
    assert told.said
    assert len(told.said) <= 200


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def over_tls(certificate: Files, ask) -> Failed:
    with Relay("http://127.0.0.1:9", certificate).running() as relay:
        return ask(relay.url)


@CLIENTS
def test_a_gateways_certificate_is_not_vouched_for(authority: Authority, ask) -> None:
    told = over_tls(authority.issue("gateway"), ask)
    assert told.failure is Failure.UNREACHABLE
    assert told.said in {"Certificate UnknownIssuer", "TLS: unable to get local issuer certificate"}


@CLIENTS
def test_a_gateways_certificate_has_expired(authority: Authority, ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    told = over_tls(authority.issue("gateway", begins=timedelta(days=-2), ends=timedelta(days=-1)), ask)
    assert told.failure is Failure.UNREACHABLE
    assert "expired" in told.said.lower()


@CLIENTS
def test_a_gateway_does_not_speak_tls(ask) -> None:
    with Relay("http://127.0.0.1:9").running() as relay:
        told = ask(relay.url.replace("http:", "https:"))
    assert told.failure is Failure.UNREACHABLE
    assert told.said
