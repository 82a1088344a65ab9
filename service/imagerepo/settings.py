"""Settings: one YAML file, each field also an `IMAGEREPO_…` variable; flags override variables override the file.

Read once; `institutions` alone is read again while serving (processes/child.py). docs/settings.md lists them all.
"""

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from imagerepo.errors import SettingsError

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB
DAY = 86_400.0  # seconds
PREFIX = "IMAGEREPO_"
LOOPBACK = ("127.0.0.0/8", "::1/128")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _network(text: str) -> str:
    ip_network(text, strict=False)
    return text


def _listen(text: str) -> str:
    split_listen(text)
    return text


def split_listen(text: str) -> tuple[str, int]:
    """Split `host:port` (`[v6]:port`); ValueError says what is wrong."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+\Z")
_PUBLIC_URL = re.compile(
    r"https?://(?:[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?"
    r"(?:/[0-9A-Za-z._~-]+)*/?\Z"
)


def _uid(text: str) -> str:
    # Stricter than for what devices send: nobody has to write a malformed one here.
    if len(text) > 64 or _UID.match(text) is None:
        raise ValueError(f"{text[:70]!r} is not a UID: digits and dots, at most 64 characters (PS3.5 9.1)")
    return text


def _public_url(text: str) -> str:
    found = _PUBLIC_URL.match(text)
    if found is None or not 0 < int(found[1] or 1) <= 65535:
        raise ValueError(
            f"{text[:100]!r} is not http:// or https:// with a host and at most a port and a path, "
            "such as https://pacs.example.org"
        )
    return text.rstrip("/")


def _number(value: object) -> object:
    # YAML's yes, no, on and off would be taken as 1 and 0.
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is not a number")  # noqa: TRY004 - pydantic reports ValueErrors
    return value


Int = Annotated[int, BeforeValidator(_number)]
Float = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Timeout = Annotated[Float, Field(ge=0.01, le=DAY)]
Wait = Annotated[Float, Field(ge=0, le=DAY)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
UidText = Annotated[str, AfterValidator(_uid)]
Network = Annotated[str, AfterValidator(_network)]
Listen = Annotated[str, AfterValidator(_listen)]
AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")]
InstitutionId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class Token(_Section):
    """A bearer token, kept as its hash."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Stands in the journal for whoever holds the token."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the token, hexadecimal and in quotes; `imagerepo token` makes a pair."""
    roles: Annotated[tuple[Literal["read", "write", "admin"], ...], Field(min_length=1)]
    """What its holder may do."""


class Sender(_Section):
    """A device or archive that may open associations."""

    ae_title: AeTitle
    """Its calling AE title."""
    addresses: tuple[Network, ...] = ()
    """Addresses or networks it may call from; empty: loopback only."""


class Institution(_Section):
    """A tenant."""

    id: InstitutionId
    """Stands in URLs, metrics and the journal."""
    called_ae_titles: tuple[AeTitle, ...] = ()
    """AE titles under which this institution is called; empty: the server's `ae_title`."""
    senders: tuple[Sender, ...] = ()
    """Who may call; without any, any AE title on loopback."""
    tokens: tuple[Token, ...] = ()
    """Who may use HTTP; without any in all institutions, anyone on loopback as admin."""
    on_difference: Literal["version", "refuse"] = "version"
    """Different bytes under a known SOP Instance UID: a new version, or a refusal."""


class Dimse(_Section):
    """Limits of the DIMSE server."""

    max_associations: Annotated[Int, Field(ge=1, le=10_000)] = 200
    """Associations at the same time, over all workers; more are rejected: local limit exceeded."""
    max_pdu: Annotated[Int, Field(ge=4 * KIB, le=4 * MIB)] = 256 * KIB
    """Largest PDU that peers may send, in bytes."""
    idle_timeout: Timeout = 60.0
    """An association that sends nothing for so many seconds is aborted."""
    accepted_sop_classes: tuple[UidText, ...] = ()
    """Private storage SOP classes to accept besides the standard's."""
    accepted_transfer_syntaxes: tuple[UidText, ...] = ()
    """Private transfer syntaxes to accept besides the standard's."""


class Http(_Section):
    """Limits of the HTTP server."""

    idle_timeout: Timeout = 60.0
    """A request whose body stalls for so many seconds is ended with 408."""
    send_timeout: Timeout = 60.0
    """A connection whose client takes nothing of an answer for so many seconds is ended."""
    keep_alive: Timeout = 30.0
    """An idle connection is kept for so many seconds."""
    max_connections: Annotated[Int, Field(ge=1, le=100_000)] = 1000
    """Connections at the same time in each worker; on more, all but probes is answered 503."""
    max_parts: Annotated[Int, Field(ge=1, le=1_000_000)] = 20_000
    """Instances in one STOW-RS request."""
    max_search_results: Annotated[Int, Field(ge=1, le=100_000)] = 5000
    """Entities in one search answer; more are had by offset."""


class Storage(_Section):
    """The data folder."""

    segment_size: Annotated[Int, Field(ge=1 * MIB, le=TIB)] = 256 * MIB
    """A segment that has grown to so many bytes is closed and the next one begun."""
    file_threshold: Annotated[Int, Field(ge=64 * KIB, le=GIB)] = 8 * MIB
    """Instances above so many bytes are streamed to a file of their own."""
    buffer_budget: Annotated[Int, Field(ge=8 * MIB, le=TIB)] = 96 * MIB
    """Bytes of arriving instances that one worker holds in memory; what exceeds it is written to files as it comes."""
    reserve: Annotated[Int, Field(ge=0, le=1024 * TIB)] = 256 * MIB
    """Free bytes on the disk below which nothing more is ingested."""
    instance_size_limit: Annotated[Int, Field(ge=1 * MIB, le=16 * TIB)] = 16 * GIB
    """Largest accepted instance, in bytes."""


class Audit(_Section):
    """The journal."""

    interval: Timeout = 60.0
    """Reads of one study by one caller within so many seconds are one entry and one count."""
    anchor: Path | None = None
    """A folder, best on other storage that cannot be rewritten, where signed roots of the chains are put."""
    key: Path | None = None
    """A file with the secret that signs the roots; keep it outside the data folder."""


class Settings(_Section):
    """Everything that can be set."""

    data: Path = Path("data")
    """The data folder."""
    listen: Listen = "127.0.0.1:8080"
    """Where HTTP is served."""
    public_url: PublicUrl | None = None
    """The URL under which a balancer offers this server; links are made of it."""
    dicom_listen: Listen = "127.0.0.1:11112"
    """Where DIMSE is served."""
    ae_title: AeTitle = "IMAGEREPO"
    """Our AE title."""
    workers: Annotated[Int, Field(ge=1, le=64)] | None = None
    """HTTP processes, and as many DIMSE processes; default: cores."""
    drain_delay: Wait = 0.0
    """Seconds at SIGTERM during which all is served while `/readyz` says no: time for a balancer to turn away."""
    drain_grace: Wait = 30.0
    """Seconds that requests and associations in flight are given at SIGTERM."""
    trusted_proxies: tuple[Network, ...] = ()
    """Balancers whose PROXY protocol v2 header names the sender."""
    institutions: tuple[Institution, ...] = ()
    """Tenants; without any there is one, `default`."""
    dimse: Dimse = Dimse()
    http: Http = Http()
    storage: Storage = Storage()
    audit: Audit = Audit()

    @model_validator(mode="after")
    def _exposed_only_with_a_list(self) -> "Settings":
        ids = [institution.id for institution in self.institutions]
        if len(set(ids)) != len(ids):
            raise ValueError("institutions: each id may stand once")
        if not _loopback(self.listen) and not any(one.tokens for one in self.institutions):
            raise ValueError(
                f"listen: {self.listen} is beyond loopback and no institution has tokens; "
                "add institutions[].tokens or listen on 127.0.0.1"
            )
        if not _loopback(self.dicom_listen) and not any(one.senders for one in self.institutions):
            raise ValueError(
                f"dicom_listen: {self.dicom_listen} is beyond loopback and no institution lists senders; "
                "add institutions[].senders or listen on 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _told_apart(self) -> "Settings":
        held: dict[str, str] = {}
        calling: dict[tuple[str, str], list[tuple[str, Sender]]] = {}
        for one in self.institutions:
            for token in one.tokens:
                holder = f"{one.id}: {token.name}"
                if token.sha256 in held:
                    raise ValueError(
                        f"institutions[].tokens: {held[token.sha256]!r} and {holder!r} have the same sha256; "
                        "a token opens one institution"
                    )
                held[token.sha256] = holder
            for called in one.called_ae_titles or (self.ae_title,):
                for sender in one.senders:
                    calling.setdefault((called, sender.ae_title), []).append((one.id, sender))
        for (called, title), senders in calling.items():
            for (first, one), (second, other) in combinations(senders, 2):
                if first != second and _overlap(one, other):
                    raise ValueError(
                        f"institutions[].senders: {title!r} calls {called!r} from the same addresses in {first!r} "
                        f"and {second!r}; give one of them another of called_ae_titles, or other addresses"
                    )
        return self

    @property
    def tenants(self) -> tuple[Institution, ...]:
        """The institutions, or the one there is without any."""
        return self.institutions or (Institution(id="default"),)


def _overlap(one: Sender, other: Sender) -> bool:
    return any(
        mine.version == theirs.version and mine.overlaps(theirs)
        for mine in networks(one.addresses or LOOPBACK)
        for theirs in networks(other.addresses or LOOPBACK)
    )


def _loopback(listen: str) -> bool:
    host, _ = split_listen(listen)
    return host == "localhost" or ((host[:1].isdigit() or ":" in host) and ip_address(host).is_loopback)


def networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parsed networks of a validated setting."""
    return tuple(ip_network(text, strict=False) for text in texts)


def load(file: Path | None, flags: Mapping[str, object], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from `file`, variables and `flags` (dotted field names), later ones overriding earlier ones.

    Raises:
        SettingsError: names the field, the source and what is wrong.
    """
    values: dict[str, Any] = _read(file) if file is not None else {}
    for name, text in (os.environ if environment is None else environment).items():
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS and not _KUBERNETES.match(name):
            path = name.removeprefix(PREFIX).lower().split("__")
            _put(values, path, _parse_variable(name, text))
    for name, value in flags.items():
        if value is not None:
            _put(values, name.split("."), value)
    return _validated(values, file)


def with_institutions_of(settings: Settings, other: Settings) -> Settings:
    """These settings with the institutions of others. Raises SettingsError if they do not go together."""
    return _validated({**settings.model_dump(), "institutions": other.model_dump()["institutions"]}, None)


def _validated(values: dict[str, Any], file: Path | None) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error, file)) from error


_NOT_SETTINGS = frozenset({"IMAGEREPO_CONFIG"})

# What Kubernetes puts into every pod beside a Service that is named imagerepo.
_KUBERNETES = re.compile(r"IMAGEREPO_(SERVICE_(HOST|PORT(_.*)?)|PORT(_.*)?)\Z")


def _read(file: Path) -> dict[str, Any]:
    try:
        content: object = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read settings {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings {file} are not YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"settings {file} must be fields with values, not a {type(content).__name__}")
    return cast("dict[str, Any]", content)


def _parse_variable(name: str, text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"variable {name} is not a YAML value: {error}") from error


def _put(values: dict[str, Any], path: list[str], value: object) -> None:
    for step in path[:-1]:
        inner = values.get(step)
        values[step] = dict(cast("dict[str, Any]", inner)) if isinstance(inner, dict) else {}
        values = values[step]
    values[path[-1]] = value


def _explain(error: ValidationError, file: Path | None) -> str:
    where = f" in {file}" if file else ""
    lines: list[str] = []
    for one in error.errors():
        field = ".".join(str(part) for part in one["loc"])
        message = "no such setting" if one["type"] == "extra_forbidden" else one["msg"].removeprefix("Value error, ")
        lines.append(f"{field}: {message}" if field else message)
    return f"settings{where}: " + "; ".join(lines)
