"""Settings of a replica: where rows and bytes are that it shares with others."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from imagerepo.settings_fields import DAY, GIB, KIB, MIB, Float, Int, Section, Timeout, Wait

_DATABASE_URL = re.compile(
    r"postgres(?:ql)?://[^\s/?#@:]+@[0-9A-Za-z.,:\[\]_-]+/[^\s/?#]+(?:\?[0-9A-Za-z_]+=[^\s&#]*(?:&[0-9A-Za-z_]+=[^\s&#]*)*)?\Z"
)
_ENDPOINT = re.compile(
    r"https?://(?:[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?\Z"
)


def _database_url(text: str) -> str:
    if re.match(r"[a-z]+://[^/@]*:[^/@]*@", text) or re.search(r"[?&](?:ssl)?password=", text):
        raise ValueError("a password does not belong into the URL: put it into a file, and name that in password_file")
    if _DATABASE_URL.match(text) is None:
        raise ValueError(
            f"{text[:100]!r} is not postgresql://user@host:port/database, such as "
            "postgresql://imagerepo@db.example.org:5432/imagerepo"
        )
    return text


def _endpoint(text: str) -> str:
    found = _ENDPOINT.match(text)
    if found is None or not 0 < int(found[1] or 1) <= 65535:
        raise ValueError(
            f"{text[:100]!r} is not http:// or https:// with a host and at most a port, such as "
            "https://rgw.example.org:8443"
        )
    return text.rstrip("/")


class Database(Section):
    """PostgreSQL: the index, the journal and deferred work of all replicas."""

    url: Annotated[str, AfterValidator(_database_url)]
    """`postgresql://user@host:port/name`, several hosts separated by commas; options of libpq after `?`."""
    password_file: Path | None = None
    """File with the password; none: the server asks for none, or for a certificate that the URL names."""
    connections: Annotated[Int, Field(ge=2, le=1000)] = 8
    """Connections of each process at the most."""


class Store(Section):
    """S3: the bytes of all replicas."""

    endpoints: Annotated[tuple[Annotated[str, AfterValidator(_endpoint)], ...], Field(min_length=1)]
    """URLs of the gateways, the nearest first; the next is used where one does not answer."""
    access_key: Annotated[str, Field(min_length=1, max_length=128)]
    """Access key of a user who may make buckets."""
    secret_key_file: Path
    """File with the secret key."""
    region: Annotated[str, Field(min_length=1, max_length=64)] = "default"
    """Region that requests are signed for."""
    bucket_prefix: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?$")] = "imagerepo"
    """What names of buckets begin with."""
    verify_reads: bool = False
    """Whether what is read of an instance as a whole is compared with what was stored before its last byte leaves."""


class Compaction(Section):
    """What C-STORE stored singly, put together by workers."""

    quiet_after: Wait = 60.0
    """Seconds without anything new after which a series is looked at."""
    object_size: Annotated[Int, Field(ge=MIB, le=256 * MIB)] = 32 * MIB
    """Bytes of an object at the most; those below a quarter of it are put together. A worker holds several."""
    keep: Wait = 3600.0
    """Seconds that an object stays after its bytes were copied: a database that was restored may name it."""


class Upkeep(Section):
    """What workers do over and over."""

    sweep_interval: Annotated[Float, Field(ge=1, le=365 * DAY)] = DAY
    """Seconds from the beginning of one pass over an institution's objects to that of the next: those that no row
    names are removed."""
    sweep_grace: Annotated[Float, Field(ge=1, le=365 * DAY)] = 3600.0
    """Seconds for which an object is left alone: longer than the largest instance takes on its way."""
    scrub_interval: Annotated[Float, Field(ge=1, le=3650 * DAY)] = 30 * DAY
    """Seconds from the beginning of one pass over all that is stored to that of the next: every byte is read, and
    compared with what was stored."""
    scrub_rate: Annotated[Int, Field(ge=64 * KIB, le=100 * GIB)] = 32 * MIB
    """Bytes that are read for it in a second, by all workers together."""


class Ledger(Section):
    """The journal's copy in S3."""

    interval: Timeout = 10.0
    """Seconds from one look at what was committed since to the next."""


class Roots(Section):
    """Signed roots of the journal's chains, where `audit.key` is set: in a bucket of their own, under object lock."""

    interval: Timeout = 60.0
    """Seconds from one root to the next."""
    retention: Annotated[Int, Field(ge=1, le=36_500)] = 3650
    """Days for which nobody can remove a root."""


class Cluster(Section):
    """What replicas share."""

    database: Database
    store: Store
    compaction: Compaction = Compaction()
    upkeep: Upkeep = Upkeep()
    ledger: Ledger = Ledger()
    roots: Roots = Roots()
