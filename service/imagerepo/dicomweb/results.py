"""What a search found, as DICOM JSON, written straight to text.

Source: PS3.18 section 10.6.3.3 (Response Payload), Tables 10.6.3-3 to 10.6.3-5; F.2 (DICOM JSON Model).
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from imagerepo.dicom.attributes import PIXEL_TAGS
from imagerepo.dicom.header import write
from imagerepo.dicom.values import quote
from imagerepo.dicomweb.levels import level_of
from imagerepo.dicomweb.query import NO_FIELDS, Fields
from imagerepo.model.header import Header
from imagerepo.model.query import Found, InstanceRow, Level, SeriesRow, StudyRow

_COMPONENT_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_NAMES: Final = ("0020000D", "0020000E", "00080018")
_PIXELS: Final = frozenset(f"{tag:08X}" for tag in PIXEL_TAGS)
_ONLINE: Final = '"00080056":{"vr":"CS","Value":["ONLINE"]}'


@dataclass(frozen=True, slots=True)
class Answer:
    """What entries have in common."""

    level: Level
    base: str  # the URL below which the caller sees its institution
    with_ancestors: bool
    """Whether the attributes of an entity's study and series stand beside its own, which they do where the path did
    not name them."""
    fields: Fields = NO_FIELDS  # taken from headers


def encode(found: Sequence[Found], answer: Answer) -> bytes:
    """A JSON array of what was found at the answer's level."""
    return b"[" + entries(found, answer) + b"]"


def entries(found: Sequence[Found], answer: Answer) -> bytes:
    """What stands between an array's brackets."""
    return ",\n".join([_entry(one, answer) for one in found]).encode("utf-8", "replace")


def _entry(found: Found, answer: Answer) -> str:
    members = [*_ENTRIES[answer.level](found, answer)]
    if found.header is not None and answer.fields:
        members += _further(found.header, answer, {member[1:9] for member in members})
    return _object(members)


def _study_entry(found: Found, answer: Answer) -> list[str]:
    study = found.study
    return [*_study(study), _ONLINE, _url(f"{answer.base}/dicom-web/studies/{study.uid}")]


def _series_entry(found: Found, answer: Answer) -> list[str]:
    study, series = found.study, found.series
    assert series is not None
    members = [
        *_series(series),
        _timezone(study),
        _uid("0020000D", study.uid),
        _url(f"{answer.base}/dicom-web/studies/{study.uid}/series/{series.uid}"),
    ]
    return [*_study(study), *members] if answer.with_ancestors else members


def _instance_entry(found: Found, answer: Answer) -> list[str]:
    study, series, instance = found.study, found.series, found.instance
    assert series is not None
    assert instance is not None
    members = [
        *_instance(instance),
        _ONLINE,
        _timezone(study),
        _uid("0020000D", study.uid),
        _uid("0020000E", series.uid),
        _url(_instance_url(answer.base, study.uid, series.uid, instance.uid)),
    ]
    return [*_study(study), *_series(series), *members] if answer.with_ancestors else members


_ENTRIES: Final = {Level.STUDY: _study_entry, Level.SERIES: _series_entry, Level.INSTANCE: _instance_entry}


def _further(header: Header, answer: Answer, known: Container[str]) -> Iterator[str]:
    """What else the stored header of an entity's first instance says of it."""
    url = _instance_url(answer.base, *(_text_of(header, tag) for tag in _NAMES))
    for tag, attribute in header.items():
        if tag not in known and tag not in _PIXELS and _is_wanted(tag, answer):
            yield write(tag, attribute, url)


def _is_wanted(tag: str, answer: Answer) -> bool:
    fields, level = answer.fields, level_of(tag)
    if tag in fields.matched:
        return True
    if tag in fields.tags:
        return level.depth <= answer.level.depth
    return fields.all and (level is answer.level or (answer.with_ancestors and level.depth < answer.level.depth))


def _text_of(header: Header, tag: str) -> str:
    attribute = header.get(tag)
    return str(attribute.values[0]) if attribute is not None and attribute.values else ""


def _instance_url(base: str, study: str, series: str, instance: str) -> str:
    return f"{base}/dicom-web/studies/{study}/series/{series}/instances/{instance}"


def _object(members: list[str]) -> str:
    # Members begin with their tag: sorting puts them into the order of tags, and repeated ones together.
    return "{" + ",".join(sorted({member for member in members if member})) + "}"


def _study(study: StudyRow) -> list[str]:
    return [
        _text("00080020", "DA", study.date),
        _text("00080030", "TM", study.time),
        _text("00080050", "SH", study.accession_number),
        _texts("00080061", "CS", study.modalities),
        _name("00080090", study.referring_physician_name),
        _timezone(study),
        _text("00081030", "LO", study.description) if study.description else "",
        _name("00100010", study.patient_name),
        _text("00100020", "LO", study.patient_id),
        _text("00100021", "LO", study.issuer_of_patient_id) if study.issuer_of_patient_id else "",
        _text("00100030", "DA", study.patient_birth_date),
        _text("00100040", "CS", study.patient_sex),
        _uid("0020000D", study.uid),
        _text("00200010", "SH", study.study_id),
        _number("00201206", "IS", study.series_count),
        _number("00201208", "IS", study.instance_count),
    ]


def _series(series: SeriesRow) -> list[str]:
    return [
        _text("00080060", "CS", series.modality),
        _text("0008103E", "LO", series.description),
        _text("00180015", "CS", series.body_part) if series.body_part else "",
        _uid("0020000E", series.uid),
        _integer_text("00200011", series.number),
        _number("00201209", "IS", series.instance_count),
        _text("00400244", "DA", series.performed_step_date) if series.performed_step_date else "",
        _text("00400245", "TM", series.performed_step_time) if series.performed_step_time else "",
    ]


def _instance(instance: InstanceRow) -> list[str]:
    return [
        _uid("00080016", instance.sop_class_uid),
        _uid("00080018", instance.uid),
        _integer_text("00200013", instance.number),
        _number("00280008", "IS", instance.number_of_frames),
        _number("00280010", "US", instance.rows),
        _number("00280011", "US", instance.columns),
        _number("00280100", "US", instance.bits_allocated),
        _uid("00083002", instance.transfer_syntax),  # Available Transfer Syntax UID
    ]


def _timezone(study: StudyRow) -> str:
    return _text("00080201", "SH", study.timezone_offset) if study.timezone_offset else ""


def _uid(tag: str, value: str) -> str:
    return f'"{tag}":{{"vr":"UI","Value":["{value}"]}}'


def _url(value: str) -> str:
    return f'"00081190":{{"vr":"UR","Value":[{quote(value)}]}}'


def _text(tag: str, vr: str, value: str) -> str:
    if not value:
        return f'"{tag}":{{"vr":"{vr}"}}'
    if "\\" in value:
        return _texts(tag, vr, value.split("\\"))
    return f'"{tag}":{{"vr":"{vr}","Value":[{quote(value)}]}}'


def _texts(tag: str, vr: str, values: Sequence[str]) -> str:
    if not any(values):
        return f'"{tag}":{{"vr":"{vr}"}}'
    return f'"{tag}":{{"vr":"{vr}","Value":[{",".join([quote(value) if value else "null" for value in values])}]}}'


def _name(tag: str, value: str) -> str:
    if not value:
        return f'"{tag}":{{"vr":"PN"}}'
    return f'"{tag}":{{"vr":"PN","Value":[{",".join(map(_groups, value.split(chr(92))))}]}}'


def _groups(name: str) -> str:
    members = [
        f'"{key}":{quote(group)}' for key, group in zip(_COMPONENT_GROUPS, name.split("="), strict=False) if group
    ]
    return f"{{{','.join(members)}}}" if members else "null"


def _number(tag: str, vr: str, value: int | None) -> str:
    return "" if value is None else f'"{tag}":{{"vr":"{vr}","Value":[{value}]}}'


def _integer_text(tag: str, value: str) -> str:
    if not value:
        return f'"{tag}":{{"vr":"IS"}}'
    digits = value.strip()
    if digits.isascii() and digits.removeprefix("-").isdecimal() and len(digits) <= 12:
        return f'"{tag}":{{"vr":"IS","Value":[{int(digits)}]}}'
    return _text(tag, "IS", value)
