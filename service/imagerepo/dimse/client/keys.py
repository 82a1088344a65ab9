"""Identifiers as people write and read them: `PatientName=SMITH*`, and DICOM JSON.

Source: PS3.4 C.2.2 (Attributes of identifiers), PS3.18 Annex F (DICOM JSON Model).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from imagerepo.dicom.dictionary import vr_of
from imagerepo.errors import BadRequestError
from imagerepo.model.header import Attribute, Header, Value

_TAG: Final = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?\Z")
_INTEGERS: Final = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "UV"})
_REALS: Final = frozenset({"DS", "FD", "FL"})
_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def parse(written: Iterable[str]) -> Header:
    """An identifier of keys: keyword or tag, dots into sequences, `=` and a value if it is to be matched.

    Raises:
        BadRequestError: one is unknown; the message names it.
    """
    made: dict[str, Any] = {}
    for one in written:
        path, _, value = one.partition("=")
        inner = made
        *sequences, last = [_tag(part.strip()) for part in path.split(".")]
        for tag in sequences:
            if _vr(tag) != "SQ":
                raise BadRequestError(f"key {one!r}: {name_of(tag)} is no sequence")
            inner = inner.setdefault(tag, {})
        inner[last] = {} if _vr(last) == "SQ" else value
    return _header(made)


def merged(base: Header, over: Header) -> Header:
    """The attributes of both, `over` deciding, in order of tags."""
    return dict(sorted({**base, **over}.items()))


def name_of(tag: str) -> str:
    """The keyword of a tag, "00100010"; the tag itself if it has none."""
    from pydicom.datadict import keyword_for_tag  # noqa: PLC0415 - large, and few commands need it

    return keyword_for_tag(int(tag, 16)) or tag


def text_of(attribute: Attribute | None) -> str:
    """Values in one line; a sequence as its number of items."""
    if attribute is None:
        return ""
    if attribute.vr == "SQ":
        return f"[{len(attribute.values)}]" if attribute.values else ""
    return "\\".join(str(value) for value in attribute.values)


def as_json(header: Header) -> dict[str, Any]:
    """The DICOM JSON Model of a data set."""
    return {tag: _attribute(one) for tag, one in header.items()}


def _attribute(attribute: Attribute) -> dict[str, Any]:
    made: dict[str, Any] = {"vr": attribute.vr}
    if attribute.values:
        made["Value"] = [_value(attribute.vr, value) for value in attribute.values]
    return made


def _value(vr: str, value: Value) -> object:
    if isinstance(value, Mapping):
        return as_json(value)
    if value == "":
        return None
    if vr == "PN":
        groups = zip(_NAME_GROUPS, str(value).split("="), strict=False)
        return {name: group for name, group in groups if group}
    number = int if vr in _INTEGERS else float if vr in _REALS else None
    if number is None:
        return value
    try:
        return number(value)
    except ValueError:
        return value  # as it was sent; a reader can tell what is wrong


def _header(made: Mapping[str, Any]) -> Header:
    return {tag: _key(tag, value) for tag, value in sorted(made.items())}


def _key(tag: str, value: object) -> Attribute:
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value)
        return Attribute("SQ", (_header(inner),) if inner else ())
    text = str(value)
    return Attribute(_vr(tag), tuple(text.split("\\")) if text else ())


def _tag(written: str) -> str:
    from pydicom.datadict import tag_for_keyword  # noqa: PLC0415 - as above

    found = _TAG.match(written)
    # Retired elements without a keyword are found under an empty one.
    tag = int(found[1] + found[2], 16) if found else tag_for_keyword(written) if written else None
    if tag is None:
        raise BadRequestError(f"{written[:64]!r} is neither a keyword of DICOM's dictionary nor a tag")
    return f"{tag:08X}"


def _vr(tag: str) -> str:
    known = vr_of(int(tag, 16))
    if known is None:
        raise BadRequestError(f"key {tag}: not in DICOM's dictionary")
    return known[:2]  # of an ambiguous VR its first
