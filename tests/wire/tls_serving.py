"""A real server with ports of TLS: two institutions, each with an authority of its own."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from imagerepo.model.passcode import hash_of
from tests.harness.certificates import Authority, Files
from tests.harness.server import Server

TOKEN_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
TOKEN = "test"
PASSCODE = b"open sesame"


@dataclass
class Place:
    """A server's folder, and who is who."""

    folder: Path
    ours: Authority
    north: Authority
    south: Authority
    server_files: Files
    ct1: Files  # a device of north, known by its DNS name
    gateway: Files  # a program of north's, known by its fingerprint
    mr1: Files  # a device of south
    settings: dict[str, Any]

    @property
    def config(self) -> Path:
        return self.folder / "imagerepo.yaml"

    def write(self) -> None:
        fresh = self.config.with_suffix(".fresh")
        fresh.write_text(yaml.safe_dump(self.settings))
        fresh.replace(self.config)


def place(folder: Path) -> Place:
    """Certificates and settings."""
    ours, north, south = (Authority(folder, name) for name in ("ours", "north", "south"))
    server_files = ours.issue("imagerepo", dns=["localhost"])
    ct1 = north.issue("CT1", dns=["ct1.north.example"])
    gateway = north.issue("gateway")
    mr1 = south.issue("MR1")
    settings: dict[str, Any] = {
        "tls": {
            "listen": "127.0.0.1:0",
            "dicom_listen": "127.0.0.1:0",
            "certificate": str(server_files.certificate),
            "key": str(server_files.key),
            "handshake_timeout": 4.0,  # long enough on a machine that has much to do
        },
        "institutions": [
            {
                "id": "north",
                "client_ca": str(north.file),
                "tokens": [{"name": "viewer", "sha256": TOKEN_HASH, "roles": ["read"]}],
                "certificates": [
                    {"name": "ct-1", "matches": ["dns:ct1.north.example"], "ae_titles": ["CT1"]},
                    {"name": "gateway", "matches": [gateway.fingerprint], "roles": ["read", "write"]},
                ],
            },
            {
                "id": "west",
                "called_ae_titles": ["WEST"],
                "client_ca": str(north.file),
                "users": [{"name": "anna", "passcode": hash_of(PASSCODE), "ae_titles": ["ANNA"]}],
            },
            {
                "id": "south",
                "client_ca": str(south.file),
                "certificates": [{"name": "mr-1", "matches": ["subject:CN=MR1"], "ae_titles": ["MR1"]}],
            },
        ],
    }
    made = Place(folder, ours, north, south, server_files, ct1, gateway, mr1, settings)
    made.write()
    return made


@contextmanager
def serving(where: Place) -> Iterator[Server]:
    """The server with these settings."""
    with Server(where.folder / "data", "--config", str(where.config)) as server:
        yield server


def dcmtk(
    program: str, server_port: int, calling: str, shown: Files, trusted: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """One of dcmtk's programs over TLS, in its default profile (non-downgrading BCP 195)."""
    tls = ["+tls", str(shown.key), str(shown.certificate), "+cf", str(trusted)]
    ends: Sequence[str] = ("-aet", calling, "-aec", "IMAGEREPO", "127.0.0.1", str(server_port))
    return subprocess.run([program, *tls, *ends, *arguments], capture_output=True, text=True, timeout=60, check=False)
