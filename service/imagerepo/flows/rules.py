"""Which rules hold for an instance. Pure but for the look at its header, which is had only where a rule needs it."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

from imagerepo.ports.feed import Arrived
from imagerepo.settings_work import Rule

_MODALITY: Final = "00080060"
_AE: Final = "ae:"  # before an AE title in a caller's name

HeaderOf = Callable[[Arrived], bytes]
"""DICOM JSON of an instance."""


class Attributes:
    """Attributes of one instance, read when first asked for."""

    def __init__(self, arrived: Arrived, header_of: HeaderOf) -> None:
        self._arrived = arrived
        self._header_of = header_of
        self._read: dict[str, dict[str, Any]] | None = None

    def values(self, tag: str) -> Iterator[str]:
        """Its values as text."""
        read = self._read
        if read is None:
            read = self._read = json.loads(self._header_of(self._arrived))
        values: list[Any] = read.get(tag, {}).get("Value", [])
        for value in values:
            if isinstance(value, dict):  # a person name by component groups, or an item of a sequence
                groups = cast("dict[str, object]", value).values()
                yield from (one for one in groups if isinstance(one, str))
            elif value is not None:
                yield str(value)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules, in the order of the settings."""

    rules: tuple[Rule, ...]

    def destinations(self, arrived: Arrived, header_of: HeaderOf) -> tuple[str, ...]:
        """Names of where it is to be sent, each once."""
        attributes = Attributes(arrived, header_of)
        return tuple(dict.fromkeys(rule.to for rule in self.rules if _holds(rule, arrived, attributes)))


def _holds(rule: Rule, arrived: Arrived, attributes: Attributes) -> bool:
    # What costs a look at the header comes last.
    if rule.institutions and arrived.institution not in rule.institutions:
        return False
    if rule.senders and not _is_from(rule.senders, arrived.caller):
        return False
    if rule.modalities and not _any(rule.modalities, attributes.values(_MODALITY)):
        return False
    return all(_any((one.value,), attributes.values(one.tag)) for one in rule.tags)


def _is_from(senders: tuple[str, ...], caller: str) -> bool:
    return caller.startswith(_AE) and _any(senders, iter((caller.removeprefix(_AE),)))


def _any(patterns: tuple[str, ...], values: Iterator[str]) -> bool:
    return any(_expression(pattern).fullmatch(value) for value in values for pattern in patterns)


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern of a setting: as many as there are settings."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(one) or re.escape(one) for one in pattern), re.IGNORECASE | re.DOTALL)
