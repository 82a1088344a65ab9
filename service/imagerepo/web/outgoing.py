"""Our side of HTTP: connections that we open, and what it means when they fail."""

import http.client
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from imagerepo.errors import PeerError, PeerFailure, SettingsError
from imagerepo.model.peer import PeerTls
from imagerepo.tls.client import client_context


def connected(url: str, ca: Path | None, timeout: float, setting: str) -> http.client.HTTPConnection:
    """A connection to the server of `url`; follows no redirect, and asks no proxy.

    Args:
        url: http or https.
        ca: certificates (PEM) that its own is verified against; None: the system's.
        timeout: seconds without a byte either way.
        setting: where `ca` is set.

    Raises:
        OSError: it cannot be reached, or TLS fails; see `telling`.
        SettingsError: `ca` cannot be used.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = client_context(PeerTls(ca, None, None, host), setting)
        made: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=timeout, context=context
        )
    else:
        made = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    made.connect()
    return made


@contextmanager
def telling(peer: object, timeout: float, doing: str, setting: str) -> Generator[None]:
    """Turn what goes wrong with a connection into what it means.

    Args:
        peer: whom it is to, as its text says it.
        timeout: seconds, as for `connected`.
        doing: what is being done.
        setting: where the peer is set.

    Raises:
        PeerError: whatever went wrong.
    """
    try:
        yield
    except SettingsError as error:
        raise PeerError(f"{peer}: {error}", PeerFailure.REJECTED) from error
    except ssl.SSLError as error:
        raise PeerError(f"{peer}: no agreement over TLS: {error}", PeerFailure.TLS) from error
    except TimeoutError as error:
        raise PeerError(
            f"{peer} was silent for {timeout:g} s while {doing} (setting {setting}.timeout)", PeerFailure.SILENT
        ) from error
    except (ConnectionRefusedError, socket.gaierror) as error:
        raise PeerError(f"{peer} cannot be reached: {error}", PeerFailure.UNREACHABLE) from error
    except (OSError, http.client.RemoteDisconnected) as error:
        raise PeerError(f"{peer} ended the connection while {doing}: {error}", PeerFailure.ABORTED) from error
    except http.client.HTTPException as error:
        raise PeerError(f"{peer} does not speak HTTP: {error!r}", PeerFailure.MALFORMED) from error


@contextmanager
def ended_after(connection: http.client.HTTPConnection, seconds: float) -> Generator[None]:
    """Have whoever waits for a connection fail after so long: who sends a byte now and then is never silent."""
    # Now: where the answer is the last one of a connection, this has none once the answer's head is there.
    opened: socket.socket | None = connection.sock

    def end() -> None:
        if opened is not None:
            with suppress(OSError):
                socket.socket.shutdown(opened, socket.SHUT_RDWR)  # not TLS's own, which belongs to who waits

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
