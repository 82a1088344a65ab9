"""What statuses say, in words for people.

Source: PS3.7 Annex C (Status Type Encoding); PS3.4 Tables B.2-1 (C-STORE), C.4-1 to C.4-3 (C-FIND, C-MOVE, C-GET).
"""

from typing import Final

_EXACT: Final[dict[int, str]] = {
    0x0000: "success",
    0x0001: "attributes were left out",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class and instance conflict",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA701: "out of resources: it cannot count the matches",
    0xA702: "out of resources: it cannot send the instances",
    0xA801: "it does not know the move destination",
    0xA900: "the data set does not match the SOP class",
    0xB000: "done with failures or warnings: elements were coerced, or some sub-operations failed",
    0xB006: "elements were discarded",
    0xB007: "the data set does not match the SOP class, but was stored",
    0xFE00: "cancelled",
    0xFF00: "pending",
    0xFF01: "pending; some keys were not matched",
}
_RANGES: Final[dict[int, str]] = {0xA7: "out of resources", 0xA9: "the data set does not match the SOP class"}
_CLASSES: Final[dict[int, str]] = {0xC: "it cannot process or understand this", 0xB: "warning", 0xA: "failure"}


def explain(status: int, comment: str = "") -> str:
    """A status in words, with its number and the peer's comment."""
    shown = _EXACT.get(status) or _RANGES.get(status >> 8) or _CLASSES.get(status >> 12) or "failure"
    return f"{shown} ({status:04X}H)" + (f": {comment}" if comment else "")


def is_failure(status: int) -> bool:
    """Whether a final status says that it was not done: neither success, nor a warning, nor cancelled."""
    return status not in {0x0000, 0x0001, 0x0107, 0xFE00} and status >> 12 != 0xB
