"""The Query/Retrieve Service Class: its SOP classes, and what is agreed about them beyond the defaults.

Source: PS3.4 Annex C: C.6 (SOP Class Definitions), C.5.1.1, C.5.2.1 and C.5.3.1 (SOP Class Extended Negotiation).
"""

from enum import Enum
from typing import Final


class Model(Enum):
    """An information model: what its identifiers are below, and under which SOP classes it is asked."""

    PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1"
    STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2"
    PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3"  # retired

    @property
    def find(self) -> str:
        """The SOP class of C-FIND."""
        return f"{self.value}.1"

    @property
    def move(self) -> str:
        """The SOP class of C-MOVE."""
        return f"{self.value}.2"

    @property
    def get(self) -> str:
        """The SOP class of C-GET."""
        return f"{self.value}.3"


FIND: Final = {model.find: model for model in Model}
MOVE: Final = {model.move: model for model in Model}
GET: Final = {model.get: model for model in Model}

# What of each item of the application information we do, 1 or 0, by position (PS3.4 Tables C.5-1, C.5-3 and C.5-5).
RELATIONAL: Final = 0  # the position of relational queries and relational retrieval, in all of them
DATE_TIME: Final = 1  # of combined date-time matching
FUZZY: Final = 2  # of fuzzy semantic matching of person names
_FIND_DOES: Final = bytes(
    (
        1,  # relational queries
        1,  # combined date-time matching
        1,  # fuzzy semantic matching of person names
        0,  # timezone query adjustment
        0,  # enhanced multi-frame image conversion
    )
)
_RETRIEVE_DOES: Final = bytes(
    (
        1,  # relational retrieval
        0,  # enhanced multi-frame image conversion
    )
)
_DOES: Final = dict.fromkeys(FIND, _FIND_DOES) | dict.fromkeys((*MOVE, *GET), _RETRIEVE_DOES)


def extended_answer(sop_class: str, asked: bytes) -> bytes:
    """What we agree to of what was asked: as many items as both know; empty: nothing is negotiated."""
    return bytes(want & can for want, can in zip(asked, _DOES.get(sop_class, b""), strict=False))


def agreed(extended: bytes, position: int) -> bool:
    """Whether both ends agreed to the item at `position`."""
    return extended[position : position + 1] == b"\1"
