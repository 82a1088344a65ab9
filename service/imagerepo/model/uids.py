"""Unique identifiers (PS3.5 section 9): digits and dots, at most 64 characters."""

import re
from typing import NewType

from imagerepo.errors import BadRequestError

Uid = NewType("Uid", str)

# PS3.5 section 9.1 forbids leading zeros in a component, but devices send them: they are accepted
# as the distinct identifiers they are, never normalised.
_FORM = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")


def is_uid(text: str) -> bool:
    """Whether `text` has the form of a UID."""
    return 0 < len(text) <= 64 and _FORM.match(text) is not None


def parse_uid(text: str, name: str) -> Uid:
    """Return `text` as a UID.

    Raises:
        BadRequestError: it has not the form of one; the message names `name`.
    """
    if not is_uid(text):
        shown = text if len(text) <= 70 else text[:70] + "…"
        raise BadRequestError(f"{name} {shown!r} is not a UID: digits and dots, 1 to 64 characters (PS3.5 9.1)")
    return Uid(text)
