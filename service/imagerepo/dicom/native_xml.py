"""DICOM JSON as XML of the Native DICOM Model: the same attributes in another spelling, value for value.

Both are defined as encodings of one data set, so that what has been read, kept and checked as JSON need not be read
again. What JSON leaves out (group lengths) or gives by reference (long values), this does too.

Source: PS3.19 A.1 (Native DICOM Model), PS3.18 F.2 (DICOM JSON Model).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from imagerepo.dicom.dictionary import keyword_of

_HEAD: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">\n'
)
_TAIL: Final = "</NativeDicomModel>\n"
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
# What XML 1.0 has no way to write (section 2.2); carriage returns it would read as line feeds.
_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def native_model(document: bytes) -> bytes:
    """The XML of one DICOM JSON object.

    Numbers are written as they stand in the JSON, so that a decimal keeps its digits. Characters that XML cannot
    write become replacement characters.
    """
    data_set: dict[str, Any] = json.loads(document, parse_float=str, parse_int=str)
    return "".join((_HEAD, *_attributes(data_set), _TAIL)).encode("utf-8", "replace")


def _attributes(data_set: Mapping[str, Any]) -> Iterator[str]:
    creators: dict[str, str] = {}
    for tag, member in data_set.items():
        # A block of private elements is named by its creator, not by its place (PS3.19 Table A.1.5-2).
        if int(tag[3], 16) % 2:
            if tag[4:6] == "00":
                creators[tag[:4] + tag[6:]] = _first_text(member)
            creator = creators.get(tag[:6])
            named = f"{tag[:4]}00{tag[6:]}" if creator else tag
            name = f" privateCreator={_quoted(creator)}" if creator else ""
        else:
            named, keyword = tag, keyword_of(int(tag, 16))
            name = f' keyword="{keyword}"' if keyword else ""
        vr = member["vr"]
        yield f'<DicomAttribute tag="{named}" vr="{vr}"{name}>\n'
        yield from _content(vr, member)
        yield "</DicomAttribute>\n"


def _content(vr: str, member: Mapping[str, Any]) -> Iterator[str]:
    if "InlineBinary" in member:
        yield f"<InlineBinary>{member['InlineBinary']}</InlineBinary>\n"
    elif "BulkDataURI" in member:
        yield f"<BulkData uri={_quoted(member['BulkDataURI'])}/>\n"
    values: Sequence[Any] = member.get("Value", ())
    for number, value in enumerate(values, start=1):
        if vr == "SQ":
            yield f'<Item number="{number}">\n'
            yield from _attributes(value)
            yield "</Item>\n"
        elif vr == "PN":
            yield f'<PersonName number="{number}">\n'
            yield from _name(value or {})
            yield "</PersonName>\n"
        elif value is None:
            yield f'<Value number="{number}"></Value>\n'
        else:
            yield f'<Value number="{number}">{_text(str(value))}</Value>\n'


def _name(groups: Mapping[str, str]) -> Iterator[str]:
    for group in _GROUPS:
        text = groups.get(group)
        if not text:
            continue
        yield f"<{group}>\n"
        # A sixth component is none; it stays with the fifth, so that nothing is lost.
        for component, part in zip(_COMPONENTS, text.split("^", len(_COMPONENTS) - 1), strict=False):
            if part:
                yield f"<{component}>{_text(part)}</{component}>\n"
        yield f"</{group}>\n"


def _first_text(member: Mapping[str, Any]) -> str:
    values: Sequence[Any] = member.get("Value", ("",))
    return str(values[0] or "")


def _text(text: str) -> str:
    return escape(_UNWRITABLE.sub("\ufffd", text), {"\r": "&#13;"})


def _quoted(text: str) -> str:
    return quoteattr(_UNWRITABLE.sub("\ufffd", text))
