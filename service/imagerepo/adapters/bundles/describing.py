"""What an instance says of its study and series, read from its bytes again.

Rows keep no copy of it for each instance; it is needed where the instance that described them is deleted. Bytes are
read outside of the transaction, which says by UndescribedError what it needs and is made anew.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from imagerepo.adapters.segments.read_back import unknown
from imagerepo.dicom import part10
from imagerepo.errors import DamagedError, RefusedError
from imagerepo.model.instance import Attributes, Range
from imagerepo.model.uids import Uid

log = logging.getLogger(__name__)

_LARGEST: Final = 256 << 20  # bytes of a header; what describes an archive has a few thousand
_UNREADABLE: Final = (RefusedError, DamagedError, ValueError)

Read = Callable[[Range], bytes]
"""Reads stored bytes. Raises DamagedError, UnavailableError."""


@dataclass(frozen=True, slots=True)
class Source:
    """The current version of an instance from which its study or series is to be described."""

    instance: int  # key
    version: int
    transfer_syntax: str
    data_set_offset: int  # bytes
    header: Range
    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str

    @property
    def state(self) -> tuple[int, int, Range]:
        """Names the bytes, and where they are said to lie: when they were moved meanwhile, they are read again."""
        return self.instance, self.version, self.header


class UndescribedError(Exception):
    """Sources have to be read before the transaction can be made."""

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__("instances have to be read")
        self.sources = sources


class Descriptions:
    """What was read so far."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known: dict[tuple[int, int, Range], Attributes] = {}

    def of(self, source: Source) -> Attributes | None:
        """What an instance says, if it has been read."""
        return self._known.get(source.state)

    def read(self, sources: Sequence[Source]) -> None:
        """Read what is not known; of a damaged instance its UIDs are all that is. Raises UnavailableError."""
        for source in sources:
            if source.state not in self._known:
                self._known[source.state] = self._attributes(source)

    def _attributes(self, source: Source) -> Attributes:
        try:
            if source.header.length > _LARGEST:
                raise DamagedError(f"its header has {source.header.length} bytes")
            data_set = memoryview(self._read(source.header))[source.data_set_offset :]
            return part10.read_data_set(data_set, Uid(source.transfer_syntax), source.data_set_offset)[0]
        except _UNREADABLE as error:
            log.error(  # noqa: TRY400 - the reason says all
                "index.instance_unreadable", extra={"instance": source.instance_uid, "reason": str(error)}
            )
            return unknown(source.study_uid, source.series_uid, source.instance_uid, source.sop_class_uid)
