"""User names with passcodes, and hashes of passcodes that people choose.

Slow on purpose: what people choose could be tried out from a copy of the settings. One is reckoned at a time, so that
trying them out over the network takes one core at the most from those who are known.

Source: PS3.7 D.3.3.7 (user identity negotiation); RFC 7914 section 2 (scrypt's parameters).
"""

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass, field
from typing import Final

_COST: Final = {"n": 1 << 14, "r": 8, "p": 1, "maxmem": 64 << 20}  # 16 MiB, about 50 ms
_PREFIX: Final = "scrypt"
_SALT: Final = 16  # bytes
_LENGTH: Final = 32  # bytes
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Passcode:
    """What a user shows."""

    username: str
    secret: bytes = field(repr=False)


def hash_of(secret: bytes) -> str:
    """What settings keep of a passcode."""
    salt = secrets.token_bytes(_SALT)
    return f"{_PREFIX}:{salt.hex()}:{_derived(secret, salt).hex()}"


def agrees(secret: bytes, kept: str) -> bool:
    """Whether a passcode is the one that `kept` was made of."""
    _, salt, derived = kept.split(":")
    return hmac.compare_digest(_derived(secret, bytes.fromhex(salt)).hex(), derived)


def _derived(secret: bytes, salt: bytes) -> bytes:
    with _one_at_a_time:
        return hashlib.scrypt(secret, salt=salt, dklen=_LENGTH, **_COST)
