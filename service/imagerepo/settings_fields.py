"""What settings are made of: sections that refuse unknown fields, and the types of their values."""

import re
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB
DAY = 86_400.0  # seconds


class Section(BaseModel):
    """A part of the settings: frozen, without fields that nobody knows."""

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
