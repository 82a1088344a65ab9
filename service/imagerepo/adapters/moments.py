"""Moments as both databases keep them: microseconds since 1970, UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def moment(since: int) -> datetime:
    """The moment, aware, that lies so many microseconds after the beginning of 1970."""
    return _EPOCH + since * _MICROSECOND
