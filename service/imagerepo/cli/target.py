"""Whom a command speaks to: a node of the settings, or one that is given on the command line."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer

from imagerepo.dimse.associate import is_ae_title
from imagerepo.errors import BadRequestError
from imagerepo.flows.nodes import Nodes
from imagerepo.model.peer import Peer
from imagerepo.settings import load

Target = Annotated[str, typer.Argument(metavar="NODE", help="A node of the settings, or AETITLE@HOST:PORT.")]
Config = Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")]
OurTitle = Annotated[str | None, typer.Option("--ae-title", help="Our AE title.", show_default="the settings'")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]

_LONGEST: Final = 16  # characters of an AE title (PS3.5 Table 6.2-1)
_WRITTEN: Final = re.compile(r"(?P<title>[ -~]{1,16})@(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\[\]]+):(?P<port>[0-9]{1,5})\Z")


@dataclass(frozen=True, slots=True)
class Ends:
    """Who speaks to whom."""

    peer: Peer
    calling: str  # our AE title


def resolve(target: str, config: Path | None, ae_title: str | None) -> Ends:
    """The peer that `target` means, and our AE title towards it.

    Raises:
        NotFoundError: there is no such node.
        BadRequestError: it is written wrongly.
        SettingsError: the settings are wrong.
    """
    settings = load(config, {})
    peer = _parse(target) if "@" in target else Nodes(settings).named(target)
    if ae_title is not None:
        return Ends(replace(peer, calling_ae_title=None), checked(ae_title))
    return Ends(peer, peer.calling_ae_title or settings.ae_title)


def checked(ae_title: str) -> str:
    """An AE title that was written. Raises BadRequestError."""
    stripped = ae_title.strip()
    if not is_ae_title(stripped) or len(stripped) > _LONGEST:
        raise BadRequestError(f"{ae_title!r} is no AE title: ASCII without backslash, at most {_LONGEST} characters")
    return stripped


def _parse(target: str) -> Peer:
    found = _WRITTEN.match(target)
    if found is None or not 0 < int(found["port"]) <= 65_535 or "\\" in found["title"]:
        raise BadRequestError(f"{target!r} is not AETITLE@HOST:PORT, such as PACS@10.0.0.5:104, nor a node's name")
    title = checked(found["title"])
    return Peer(title, title, found["host"].strip("[]"), int(found["port"]))
