"""Clients of S3: whom they ask, in whose name, and how long they wait.

Every request has bounds: of the connection, of silence, and of the whole. Who reads hears from a gateway soon, even
of a large object; an answer to who writes comes when all copies are on disks.
"""

import ssl
import threading
from datetime import timedelta
from enum import Enum
from typing import Any, Final, cast

import obstore.store

from imagerepo.errors import SettingsError
from imagerepo.settings_cluster import Store

_CONNECT: Final = 1.0  # seconds
_CONNECTIONS: Final = 64  # of boto3, to one gateway


class Way(Enum):
    """What a client is for: seconds of silence that it bears."""

    READING = 4.0
    WRITING = 8.0
    WRITING_MUCH = 20.0  # all of it is silence, until the last byte has gone out and all copies are on disks
    ARRANGING = 30.0  # a bucket: gateways of the zone are told of it, those too that have just died


_WHOLE: Final = 15.0  # seconds for one request, whatever comes meanwhile, or as long as it may be silent


class Access:
    """Makes each client once, when it is needed first. Safe to call from any number of threads."""

    def __init__(self, settings: Store) -> None:
        self._settings = settings
        self._secret = _secret(settings)
        self._lock = threading.Lock()
        self._stores: dict[tuple[str, str, Way], obstore.store.S3Store] = {}
        self._administration: dict[tuple[str, Way], Any] = {}

    def bytes_of(self, url: str, bucket: str, way: Way) -> obstore.store.S3Store:
        """A client for the bytes of a bucket's objects. It tries once."""
        found = self._stores.get((url, bucket, way))
        if found is None:
            made = self._store(url, bucket, way)
            with self._lock:
                found = self._stores.setdefault((url, bucket, way), made)
        return found

    def administration(self, url: str, way: Way) -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
        """A boto3 client, for buckets, lists and uploads in parts. It tries once."""
        found = self._administration.get((url, way))
        if found is None:
            with self._lock:
                found = self._administration.get((url, way))
                if found is None:
                    found = self._administration[url, way] = self._client(url, way)
        return found

    def close(self) -> None:
        """Let connections go."""
        with self._lock:
            for one in self._administration.values():
                one.close()
            self._administration.clear()
            self._stores.clear()

    def _store(self, url: str, bucket: str, way: Way) -> obstore.store.S3Store:
        # Whatever variables of AWS's the environment has, they are not meant for this store.
        return obstore.store.S3Store(
            bucket,
            config={
                "endpoint": url,
                "aws_endpoint_url_s3": url,
                "region": self._settings.region,
                "skip_signature": False,
                "unsigned_payload": False,  # the gateway refuses what was altered on its way
            },
            credential_provider=lambda: {
                "access_key_id": self._settings.access_key,
                "secret_access_key": self._secret,
                "token": None,
                "expires_at": None,
            },
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=_CONNECT),
                "read_timeout": timedelta(seconds=way.value),
                "timeout": timedelta(seconds=max(_WHOLE, way.value)),
            },
            # Trying again is for `attempts`, which knows other gateways.
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        )

    def _client(self, url: str, way: Way) -> Any:  # noqa: ANN401 - likewise
        # It takes 30 MB, and most processes of a replica neither make buckets nor send what is large.
        import boto3  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs] - it has none
        from botocore.config import Config  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs] - likewise

        session: Any = cast("Any", boto3).Session()
        return session.client(
            "s3",
            endpoint_url=url,
            region_name=self._settings.region,
            aws_access_key_id=self._settings.access_key,
            aws_secret_access_key=self._secret,
            verify=_trusted(),
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=_CONNECT,
                read_timeout=way.value,
                retries={"total_max_attempts": 1},
                max_pool_connections=_CONNECTIONS,
                # Ceph 16 does not know the checksums that boto3 adds by itself.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


def _trusted() -> str | bool:
    """Whom the system trusts, as obstore does: boto3 has a list of its own."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def _secret(settings: Store) -> str:
    try:
        found = settings.secret_key_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(
            f"cluster.store.secret_key_file: {settings.secret_key_file} cannot be read: {reason}; "
            "name a file with the secret key and nothing else"
        ) from error
    if not found or len(found.split()) != 1:
        raise SettingsError(
            f"cluster.store.secret_key_file: {settings.secret_key_file} is not one line with the secret key"
        )
    return found
