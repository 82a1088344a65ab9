"""Numbers among a query's parameters."""

from dataclasses import dataclass
from typing import Final

from imagerepo.errors import BadRequestError

_DIGITS: Final = 9  # no parameter needs more, and parsing many takes long


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number may be."""

    least: int
    most: int


def parsed(name: str, text: str | None, default: int, bounds: Bounds) -> int:
    """A parameter's number.

    Args:
        name: the parameter's.
        text: its value; None: it is not there.
        default: the number then.
        bounds: of the number.

    Raises:
        BadRequestError: it is no number within the bounds.
    """
    if text is None:
        return default
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS
    if not is_number or not bounds.least <= int(text) <= bounds.most:
        raise BadRequestError(f"{name} {text[:20]!r} is not a number from {bounds.least} to {bounds.most}")
    return int(text)
