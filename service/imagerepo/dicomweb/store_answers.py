"""What a DICOMweb server says about instances that were sent to it.

Source: PS3.18 section 10.5.3 (Response), Table 10.5.3-1 (status codes), Tables I.2-1 and I.2-2 (Store Instances
Response Module, Failure Reasons).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

ALREADY_STORED: Final = "imagerepo-already-stored"
"""Header of our own answers: how many of the stored instances were there before, byte for byte."""

_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_OTHERS: Final = "0008119A"  # of which no SOP Instance UID could be read
_REASON: Final = "00081197"
_COMMENT: Final = "00000902"
_INSTANCE: Final = "00081155"
_PART: Final = re.compile(r"part ([0-9]+): ?")

_PROCESSING_FAILURE: Final = 0x0110
_OUT_OF_RESOURCES: Final = 0xA7  # the upper byte
_WORDS: Final = {
    _PROCESSING_FAILURE: "processing failure",
    0x0111: "another instance of that UID is stored there",
    0x0122: "its SOP class is not taken there",
    0x0124: "not authorized",
    0xC122: "its transfer syntax is not taken there",
}
_WORDS_BY_BYTE: Final = {
    _OUT_OF_RESOURCES: "out of resources",
    0xA9: "its data set does not match its SOP class",
    0xC0: "cannot be understood there",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one instance was not stored."""

    reason: int  # Failure Reason (0008,1197); 0: none was given
    comment: str

    @property
    def passes(self) -> bool:
        """Whether sending it again may help."""
        return self.reason == _PROCESSING_FAILURE or self.reason >> 8 == _OUT_OF_RESOURCES

    def __str__(self) -> str:
        if self.comment:
            return self.comment
        known = _WORDS.get(self.reason) or _WORDS_BY_BYTE.get(self.reason >> 8)
        return f"{known or 'refused'} ({self.reason:04X}H)"


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says of each instance, as far as it does."""

    stored: frozenset[str]  # SOP Instance UIDs
    failed: Mapping[str, Failure]  # by SOP Instance UID
    failed_parts: Mapping[int, Failure]  # by part, from 1, of which the server read no UID


def read(body: bytes) -> Said:
    """A Store Instances Response Module in DICOM JSON; nothing of any other body."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, list) and len(document) == 1:  # pyright: ignore[reportUnknownArgumentType] - JSON
        document = document[0]  # pyright: ignore[reportUnknownVariableType] - JSON; some servers wrap it so
    if not isinstance(document, dict):
        return Said(frozenset(), {}, {})
    stored = frozenset(str(_first(item, _INSTANCE)) for item in _items(document, _REFERENCED))
    failed = {str(_first(item, _INSTANCE)): _failure(item) for item in _items(document, _FAILED)}
    parts: dict[int, Failure] = {}
    for item in _items(document, _OTHERS):
        found = _PART.match(str(_first(item, _COMMENT)))
        if found is not None:
            parts[int(found[1])] = _failure(item)
    return Said(stored, failed, parts)


def _failure(item: object) -> Failure:
    reason = _first(item, _REASON)
    comment = _PART.sub("", str(_first(item, _COMMENT) or ""), count=1)
    return Failure(reason if isinstance(reason, int) else 0, comment)


def _items(document: Any, tag: str) -> Iterator[object]:  # noqa: ANN401 - whatever JSON has
    try:
        yield from document[tag]["Value"]
    except (KeyError, TypeError):
        return


def _first(item: Any, tag: str) -> object:  # noqa: ANN401 - whatever JSON has
    try:
        return item[tag]["Value"][0]
    except (KeyError, IndexError, TypeError):
        return None
