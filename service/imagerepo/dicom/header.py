"""Between DICOM JSON and values: a stored header is kept as text, and read where a search needs what is in it.

Source: PS3.18 section F.2 (DICOM JSON Model).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from imagerepo.dicom.values import quote
from imagerepo.model.header import Attribute, Header, Value

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def read(document: bytes) -> Header:
    """The header that a JSON object tells, which `imagerepo.dicom.json` made."""
    return _Members(json.loads(document))


def write(tag: str, attribute: Attribute, base: str = "") -> str:
    """An attribute as the member of a JSON object.

    Args:
        tag: "00100010".
        attribute: what it is.
        base: the URL that stands before `attribute.uri`.
    """
    parts = [f'"vr":"{attribute.vr}"']
    if attribute.values:
        parts.append(f'"Value":[{",".join([_written(one, attribute.vr, base) for one in attribute.values])}]')
    if attribute.uri:
        parts.append(f'"BulkDataURI":{quote(base + attribute.uri)}')
    if attribute.inline:
        parts.append(f'"InlineBinary":"{attribute.inline}"')
    return f'"{tag}":{{{",".join(parts)}}}'


def document(header: Header) -> str:
    """A header as one JSON object."""
    return f"{{{','.join([write(tag, one) for tag, one in header.items()])}}}"


class _Members(Mapping[str, Attribute]):
    """A data set whose attributes are made when they are looked at: few of them are."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def __getitem__(self, tag: str) -> Attribute:
        member = self._members[tag]
        vr: str = member["vr"]
        values = tuple([_value(one, vr) for one in member.get("Value", ())])
        return Attribute(vr, values, member.get("BulkDataURI", ""), member.get("InlineBinary", ""))

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _value(value: Any, vr: str) -> Value:  # noqa: ANN401 - whatever JSON has
    if vr == "SQ":
        return _Members(value or {})
    if value is None:
        return ""
    return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=") if vr == "PN" else value


def _written(value: Value, vr: str, base: str) -> str:
    if isinstance(value, Mapping):
        return f"{{{','.join([write(tag, one, base) for tag, one in value.items()])}}}"
    if not isinstance(value, str):
        return repr(value)
    if not value:
        return "null"
    if vr != "PN":
        return quote(value)
    groups = zip(_GROUPS, value.split("="), strict=False)
    return f"{{{','.join([f'{quote(name)}:{quote(group)}' for name, group in groups if group])}}}"
