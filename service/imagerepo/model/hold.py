"""A legal hold: while it is set nothing of a study may be deleted."""

from dataclasses import dataclass
from datetime import datetime

from imagerepo.model.uids import Uid


@dataclass(frozen=True, slots=True)
class Hold:
    """One study's hold."""

    study_uid: Uid
    at: datetime  # aware, UTC; when it was set
    caller: str  # who set it
    reason: str
