"""Settings: one YAML file, each field also an `IMAGEREPO_…` variable; flags override variables override the file.

Read once; what `RELOADED` names is read again while serving (processes/child.py). docs/settings.md lists them all.
"""

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import Field, ValidationError, model_validator

from imagerepo.errors import SettingsError
from imagerepo.settings_cluster import Cluster
from imagerepo.settings_deletion import Deletion
from imagerepo.settings_fields import (
    GIB,
    KIB,
    MIB,
    TIB,
    AeTitle,
    InstitutionId,
    Int,
    Listen,
    Network,
    PublicUrl,
    Section,
    Timeout,
    UidText,
    Wait,
    split_listen,
)
from imagerepo.settings_nodes import Node, conflict
from imagerepo.settings_rendering import Rendering
from imagerepo.settings_search import Searching
from imagerepo.settings_tls import Certificate, Tls
from imagerepo.settings_tls import conflict as certificate_conflict
from imagerepo.settings_users import User
from imagerepo.settings_webhooks import Webhook
from imagerepo.settings_work import Commitment, Forwarding, Retry
from imagerepo.settings_work import conflict as forwarding_conflict

PREFIX = "IMAGEREPO_"
LOOPBACK = ("127.0.0.0/8", "::1/128")


class Token(Section):
    """A bearer token, kept as its hash."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Stands in the journal for whoever holds the token."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the token, hexadecimal and in quotes; `imagerepo token` makes a pair."""
    roles: Annotated[tuple[Literal["read", "write", "delete", "admin"], ...], Field(min_length=1)]
    """What its holder may do."""


class Sender(Section):
    """A device or archive that may open associations."""

    ae_title: AeTitle
    """Its calling AE title."""
    addresses: tuple[Network, ...] = ()
    """Addresses or networks it may call from; empty: loopback only."""


class Institution(Section):
    """A tenant."""

    id: InstitutionId
    """Stands in URLs, metrics and the journal."""
    called_ae_titles: tuple[AeTitle, ...] = ()
    """AE titles under which this institution is called; empty: the server's `ae_title`."""
    senders: tuple[Sender, ...] = ()
    """Who may call without proof; without any, and no `certificates` or `users`, any AE title on loopback."""
    tokens: tuple[Token, ...] = ()
    """Who may use HTTP; without any in all institutions, anyone on loopback as admin."""
    certificates: tuple[Certificate, ...] = ()
    """Who is known by a client certificate, over TLS."""
    users: tuple[User, ...] = ()
    """Who is known by a user name and passcode, over TLS."""
    client_ca: Path | None = None
    """File with the certificates (PEM) of those who issue them, for this institution alone; none: `tls.client_ca`."""
    on_difference: Literal["version", "refuse"] = "version"
    """Different bytes under a known SOP Instance UID: a new version, or a refusal."""
    webhooks: tuple[Webhook, ...] = ()
    """Who is told by HTTP what changes."""

    @model_validator(mode="after")
    def _webhooks_have_names(self) -> "Institution":
        names = [one.name for one in self.webhooks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"webhooks: the name {name!r} may stand once")
        return self


class Dimse(Section):
    """Limits of the DIMSE server."""

    max_associations: Annotated[Int, Field(ge=1, le=10_000)] = 200
    """Associations at the same time, over all workers; more are rejected: local limit exceeded."""
    max_pdu: Annotated[Int, Field(ge=4 * KIB, le=4 * MIB)] = 256 * KIB
    """Largest PDU that peers may send, in bytes."""
    idle_timeout: Timeout = 60.0
    """An association that sends nothing for so many seconds is aborted."""
    max_find_results: Annotated[Int, Field(ge=1, le=100_000_000)] = 100_000
    """Matches answered to one C-FIND; what has more ends with a warning, B001."""
    pending_interval: Timeout = 1.0
    """Seconds between two responses that tell how far a C-MOVE or C-GET is."""
    move_retries: Annotated[Int, Field(ge=0, le=10)] = 2
    """How often a C-MOVE tries again to send an instance whose destination broke off, or could not be reached."""
    accepted_sop_classes: tuple[UidText, ...] = ()
    """Private storage SOP classes to accept besides the standard's."""
    accepted_transfer_syntaxes: tuple[UidText, ...] = ()
    """Private transfer syntaxes to accept besides the standard's."""


class Http(Section):
    """Limits of the HTTP server."""

    idle_timeout: Timeout = 60.0
    """A request whose body stalls for so many seconds is ended with 408."""
    send_timeout: Timeout = 60.0
    """A connection whose client takes nothing of an answer for so many seconds is ended."""
    keep_alive: Timeout = 30.0
    """An idle connection is kept for so many seconds."""
    connection_age: Wait = 600.0
    """A connection ends with an answer once it has lasted so many seconds, or up to half of that less; 0: never."""
    max_connections: Annotated[Int, Field(ge=1, le=100_000)] = 1000
    """Connections at the same time in each worker; on more, all but probes is answered 503."""
    max_parts: Annotated[Int, Field(ge=1, le=1_000_000)] = 20_000
    """Instances in one STOW-RS request."""
    max_search_results: Annotated[Int, Field(ge=1, le=100_000)] = 5000
    """Entities in one search answer; more are had by offset."""


class Storage(Section):
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


class Audit(Section):
    """The journal."""

    interval: Timeout = 60.0
    """Reads of one study by one caller within so many seconds are one entry and one count."""
    anchor: Path | None = None
    """A folder, best on other storage that cannot be rewritten, where signed roots of the chains are put."""
    key: Path | None = None
    """A file with the secret that signs the roots; keep it outside the data folder."""


class Settings(Section):
    """Everything that can be set."""

    data: Path = Path("data")
    """The data folder; of a replica: scratch space."""
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
    cluster: Cluster | None = None
    """What this replica shares with others; none: everything is in the data folder, and nobody else's."""
    institutions: tuple[Institution, ...] = ()
    """Tenants; without any there is one, `default`."""
    nodes: tuple[Node, ...] = ()
    """Other application entities: where C-MOVE, forwarding and commands may send to."""
    forwarding: Forwarding = Forwarding()
    commitment: Commitment = Commitment()
    retry: Retry = Retry()
    dimse: Dimse = Dimse()
    http: Http = Http()
    search: Searching = Searching()
    tls: Tls = Tls()
    storage: Storage = Storage()
    deletion: Deletion = Deletion()
    rendering: Rendering = Rendering()
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
    def _exposed_over_tls_only_with_a_list(self) -> "Settings":
        tls, known = self.tls, [one for tenant in self.institutions for one in tenant.certificates]
        by_http = any(one.tokens for one in self.institutions) or any(one.roles for one in known)
        if tls.listen is not None and not _loopback(tls.listen) and not by_http:
            raise ValueError(
                f"tls.listen: {tls.listen} is beyond loopback and no institution has tokens, or certificates with "
                "roles"
            )
        by_dimse = any(one.senders or one.users for one in self.institutions) or any(one.ae_titles for one in known)
        if tls.dicom_listen is not None and not _loopback(tls.dicom_listen) and not by_dimse:
            raise ValueError(
                f"tls.dicom_listen: {tls.dicom_listen} is beyond loopback and no institution has senders, users, or "
                "certificates with ae_titles"
            )
        wrong = certificate_conflict(tls, self.ae_title, self.institutions)
        if wrong is not None:
            raise ValueError(wrong)
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

    @model_validator(mode="after")
    def _nodes_told_apart(self) -> "Settings":
        tenants = frozenset(one.id for one in self.tenants)
        wrong = conflict(self.nodes, tenants) or forwarding_conflict(self.forwarding, self.nodes, tenants)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @property
    def tenants(self) -> tuple[Institution, ...]:
        """The institutions, or the one there is without any, each with those who issue its certificates."""
        common = self.tls.client_ca
        return tuple(
            one if one.client_ca or not common else one.model_copy(update={"client_ca": common})
            for one in self.institutions or (Institution(id="default"),)
        )


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


RELOADED = ("institutions", "nodes", "forwarding")
"""What is read again while serving."""


def reloaded(settings: Settings, other: Settings) -> Settings:
    """These settings with what is read again of others. Raises SettingsError if they do not go together."""
    dumped = other.model_dump()
    return _validated({**settings.model_dump(), **{name: dumped[name] for name in RELOADED}}, None)


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
