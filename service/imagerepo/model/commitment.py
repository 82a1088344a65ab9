"""Storage Commitment: what is asked to be committed to, and what is (PS3.4 Annex J)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from imagerepo.model.uids import Uid


class Failure(IntEnum):
    """Why an instance is not committed to: values of Failure Reason (0008,1197), PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_CONFLICT = 0x0119


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance by its names."""

    sop_class_uid: Uid
    instance_uid: Uid


@dataclass(frozen=True, slots=True)
class Transaction:
    """What somebody asks to be committed to."""

    uid: Uid
    references: Sequence[Reference]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found of it."""

    transaction_uid: Uid
    committed: Sequence[Reference]
    failed: Sequence[tuple[Reference, Failure]]
