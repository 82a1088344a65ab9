"""Roots of the chains, signed and put where they cannot be rewritten.

One line a time in `roots.jsonl`: when, where each chain stood, and an Ed25519 signature over both. The key is kept
outside the data folder; the public half is enough to verify.
"""

import base64
import errno
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from imagerepo.adapters.segments.lines import Link
from imagerepo.adapters.segments.verify import ChainId
from imagerepo.errors import DamagedError, SettingsError

FILE = "roots.jsonl"


def new_key() -> str:
    """A new key, PEM: its private half, then its public half, which is enough to verify."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return (private + public).decode()


def read_key(path: Path) -> Ed25519PrivateKey:
    """The key of setting audit.key. Raises SettingsError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise SettingsError(f"audit.key: cannot read {path}: {error}; `imagerepo audit key` makes one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"audit.key: {path} is not an Ed25519 key; `imagerepo audit key` makes one")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The public half of the key of setting audit.key, which may be all that the file holds. Raises SettingsError."""
    try:
        content = path.read_bytes()
        begin = content.find(b"-----BEGIN PUBLIC KEY-----")
        if begin < 0:
            return read_key(path).public_key()
        key = serialization.load_pem_public_key(content[begin:])
    except (OSError, ValueError) as error:
        raise SettingsError(f"audit.key: cannot read {path}: {error}; `imagerepo audit key` makes one") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"audit.key: {path} is not an Ed25519 key; `imagerepo audit key` makes one")
    return key


def signed(key: Ed25519PrivateKey, said: Mapping[str, Any]) -> str:
    """One line: what is said, and the signature over it."""
    message = json.dumps(said, separators=(",", ":"))
    signature = base64.b64encode(key.sign(message.encode())).decode()
    return json.dumps({"signed": message, "signature": signature})


def opened(key: Ed25519PublicKey, line: str | bytes) -> dict[str, Any]:
    """What a line says. Raises DamagedError if its signature does not hold."""
    try:
        fields = json.loads(line)
        key.verify(base64.b64decode(fields["signature"]), fields["signed"].encode())
        return json.loads(fields["signed"])
    except (ValueError, KeyError, TypeError, InvalidSignature) as error:
        raise DamagedError("the signature does not hold") from error


def write(folder: Path, key: Ed25519PrivateKey, heads: Mapping[ChainId, Link]) -> None:
    """Append signed roots, durably. Raises OSError."""
    roots = [[chain.institution, chain.writer, link.sequence, link.digest] for chain, link in sorted_heads(heads)]
    line = signed(key, {"at": datetime.now(UTC).isoformat(), "roots": roots}) + "\n"
    descriptor = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line.encode()) < len(line.encode()):
            os.ftruncate(descriptor, size)  # half a line would break all that follow
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sorted_heads(heads: Mapping[ChainId, Link]) -> list[tuple[ChainId, Link]]:
    """Chains in order of their names."""
    return sorted(heads.items(), key=lambda item: str(item[0]))


def read(folder: Path, key: Ed25519PublicKey) -> Iterator[tuple[ChainId, Link]]:
    """Every link that a root names. Raises DamagedError where a signature does not hold."""
    path = folder / FILE
    if not path.exists():
        return
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            roots = opened(key, line)["roots"]
        except (DamagedError, KeyError, TypeError) as error:
            raise DamagedError(f"{path}: the signature of line {number} does not hold") from error
        for institution, writer, sequence, digest in roots:
            yield ChainId(institution, writer), Link(sequence, digest)
