"""What was found as identifiers of C-FIND responses, written straight to bytes.

Source: PS3.4 C.4.1.1.3.2 (Response Identifier Structure), C.2.2.1 (Attribute Types), C.6 (keys of each level).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from imagerepo.dicom.data_set_writer import (
    SPECIFIC_CHARACTER_SET,
    Form,
    ToBytes,
    attribute_element,
    beyond_ascii,
    form_of,
    in_charset,
)
from imagerepo.dimse.levels import LEVEL_NAMES, QUERY_RETRIEVE_LEVEL
from imagerepo.model.header import Attribute, Header
from imagerepo.model.query import Found, InstanceRow, Level, PatientRow, SeriesRow

RETRIEVE_AE_TITLE: Final = "00080054"
INSTANCE_AVAILABILITY: Final = "00080056"
OF_ANSWER: Final = frozenset({SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY})
"""Elements that every answer has, or that tell how it is written: no keys."""

_Read: TypeAlias = Callable[[Found], str]


@dataclass(frozen=True, slots=True)
class Answered:
    """An attribute that the index has."""

    vr: str
    levels: frozenset[Level]  # at which it is known
    read: _Read


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _patient(found: Found) -> PatientRow:
    assert found.patient is not None
    return found.patient


def _series(found: Found) -> SeriesRow:
    assert found.series is not None
    return found.series


def _instance(found: Found) -> InstanceRow:
    assert found.instance is not None
    return found.instance


_PATIENT: Final = frozenset({Level.PATIENT})
_INSTANCE: Final = frozenset({Level.INSTANCE})
_SERIES: Final = frozenset({Level.SERIES, Level.INSTANCE})
_STUDY: Final = _SERIES | {Level.STUDY}
_ALL: Final = frozenset(Level)

ANSWERED: Final = {
    "00080020": Answered("DA", _STUDY, lambda found: found.study.date),
    "00080030": Answered("TM", _STUDY, lambda found: found.study.time),
    "00080050": Answered("SH", _STUDY, lambda found: found.study.accession_number),
    "00080061": Answered("CS", _STUDY, lambda found: "\\".join(found.study.modalities)),
    "00080090": Answered("PN", _STUDY, lambda found: found.study.referring_physician_name),
    "00080201": Answered("SH", _STUDY, lambda found: found.study.timezone_offset),
    "00081030": Answered("LO", _STUDY, lambda found: found.study.description),
    "00100010": Answered("PN", _ALL, lambda found: found.study.patient_name),
    "00100020": Answered("LO", _ALL, lambda found: found.study.patient_id),
    "00100021": Answered("LO", _ALL, lambda found: found.study.issuer_of_patient_id),
    "00100030": Answered("DA", _ALL, lambda found: found.study.patient_birth_date),
    "00100040": Answered("CS", _ALL, lambda found: found.study.patient_sex),
    "0020000D": Answered("UI", _STUDY, lambda found: found.study.uid),
    "00200010": Answered("SH", _STUDY, lambda found: found.study.study_id),
    "00201200": Answered("IS", _PATIENT, lambda found: _number(_patient(found).study_count)),
    "00201202": Answered("IS", _PATIENT, lambda found: _number(_patient(found).series_count)),
    "00201204": Answered("IS", _PATIENT, lambda found: _number(_patient(found).instance_count)),
    "00201206": Answered("IS", _STUDY, lambda found: _number(found.study.series_count)),
    "00201208": Answered("IS", _STUDY, lambda found: _number(found.study.instance_count)),
    "00080060": Answered("CS", _SERIES, lambda found: _series(found).modality),
    "0008103E": Answered("LO", _SERIES, lambda found: _series(found).description),
    "00180015": Answered("CS", _SERIES, lambda found: _series(found).body_part),
    "0020000E": Answered("UI", _SERIES, lambda found: _series(found).uid),
    "00200011": Answered("IS", _SERIES, lambda found: _series(found).number),
    "00201209": Answered("IS", _SERIES, lambda found: _number(_series(found).instance_count)),
    "00400244": Answered("DA", _SERIES, lambda found: _series(found).performed_step_date),
    "00400245": Answered("TM", _SERIES, lambda found: _series(found).performed_step_time),
    "00080016": Answered("UI", _INSTANCE, lambda found: _instance(found).sop_class_uid),
    "00080018": Answered("UI", _INSTANCE, lambda found: _instance(found).uid),
    "00083002": Answered("UI", _INSTANCE, lambda found: _instance(found).transfer_syntax),
    "00200013": Answered("IS", _INSTANCE, lambda found: _instance(found).number),
    "00280008": Answered("IS", _INSTANCE, lambda found: _number(_instance(found).number_of_frames)),
    "00280010": Answered("US", _INSTANCE, lambda found: _number(_instance(found).rows)),
    "00280011": Answered("US", _INSTANCE, lambda found: _number(_instance(found).columns)),
    "00280100": Answered("US", _INSTANCE, lambda found: _number(_instance(found).bits_allocated)),
}
"""Tag -> how it is answered."""

_LARGEST_US: Final = 0xFFFF  # some devices write larger ones, as UL
_TEXT: Final = frozenset({"LO", "PN", "SH"})


class Answers:
    """Writes the answers to one query; what is the same in all of them is made once."""

    def __init__(
        self,
        level: Level,
        keys: Sequence[str],
        selected: Header,
        transfer_syntax: str,
        charset: str,
        retrieve_ae_title: str,
    ) -> None:
        """Prepare.

        Args:
            level: of the query.
            keys: tags in ANSWERED to answer, each known at the level.
            selected: attributes to answer from headers, as the query has them: of items only what stands in theirs.
            transfer_syntax: of the answers.
            charset: Specific Character Set of the query.
            retrieve_ae_title: where what is found can be retrieved from.
        """
        self._form = form = form_of(transfer_syntax)
        self._charset = charset
        constants = {
            QUERY_RETRIEVE_LEVEL: form.element(QUERY_RETRIEVE_LEVEL, "CS", LEVEL_NAMES[level].encode("ascii")),
            RETRIEVE_AE_TITLE: form.element(RETRIEVE_AE_TITLE, "AE", retrieve_ae_title.encode("latin_1", "replace")),
            INSTANCE_AVAILABILITY: form.element(INSTANCE_AVAILABILITY, "CS", b"ONLINE"),
        }
        # By tag, so that the answer is in order; what each needs is found out here and not for every answer.
        writers: dict[str, _Write] = {tag: _constant(element) for tag, element in constants.items()}
        writers |= {tag: _selected(tag, wanted, form) for tag, wanted in selected.items()}
        writers |= {tag: _field(tag, form) for tag in keys}
        self._writers = [writers[tag] for tag in sorted(writers)]
        is_plain = not selected and all(ANSWERED[tag].vr != "US" for tag in keys)
        self._plain = _Plain(constants, keys, form) if is_plain else None

    def encode(self, found: Found) -> bytes:
        """The answer for one entity."""
        write = partial(self._write, found)
        if self._plain is None:
            return in_charset(self._charset, write)
        elements = self._plain.encode(found)
        return beyond_ascii(self._charset, write) if elements is None else self._form.whole(elements)

    def _write(self, found: Found, named: str, to_bytes: ToBytes) -> bytes:
        elements = b"".join([one(found, to_bytes) for one in self._writers])
        if named:  # no key's tag is below (0008,0005)
            elements = self._form.element(SPECIFIC_CHARACTER_SET, "CS", named.encode("ascii", "replace")) + elements
        return self._form.whole(elements)


class _Openings(dict[int, bytes]):
    """An element's header by its value's length, made when that is first asked for: of most attributes few are."""

    def __init__(self, tag: str, form: Form) -> None:
        super().__init__()
        self._tag = tag
        self._form = form

    def __missing__(self, length: int) -> bytes:
        self[length] = opening = self._form.opening(self._tag, ANSWERED[self._tag].vr, length + length % 2)
        return opening


class _TextOpenings(dict[int, str]):
    """Likewise, behind the constants that precede the element; as text, one character a byte."""

    def __init__(self, before: bytes, tag: str, form: Form) -> None:
        super().__init__()
        self._before = before
        self._openings = _Openings(tag, form)

    def __missing__(self, length: int) -> str:
        self[length] = opening = (self._before + self._openings[length]).decode("latin_1")
        return opening


class _Plain:
    """Writes answers whose text is ASCII, as most are, as one text."""

    def __init__(self, constants: Mapping[str, bytes], keys: Sequence[str], form: Form) -> None:
        self._fields: list[tuple[_Read, _TextOpenings, str, bool]] = []
        before = b""
        for tag in sorted({*constants, *keys}):
            if tag in constants:
                before += constants[tag]
            else:
                read, vr = ANSWERED[tag].read, ANSWERED[tag].vr
                self._fields.append((read, _TextOpenings(before, tag, form), _padding(vr).decode(), vr in _TEXT))
                before = b""
        self._end = before.decode("latin_1")

    def encode(self, found: Found) -> bytes | None:
        """The elements; None: some text is not ASCII."""
        parts: list[str] = []
        add = parts.append
        for read, openings, padding, is_text in self._fields:
            value = read(found)
            if not value.isascii():
                if is_text:
                    return None
                value = value.encode("latin_1", "replace").decode("latin_1")
            length = len(value)
            add(openings[length])
            add(value)
            if length & 1:
                add(padding)
        add(self._end)
        return "".join(parts).encode("latin_1")


_Write: TypeAlias = Callable[[Found, ToBytes], bytes]


def _constant(element: bytes) -> _Write:
    return lambda _found, _to_bytes: element


def _field(tag: str, form: Form) -> _Write:
    answered = ANSWERED[tag]
    read, vr = answered.read, answered.vr
    if vr == "US":
        return lambda found, to_bytes: attribute_element(tag, _numbers(read(found)), form, to_bytes)
    openings = _Openings(tag, form)
    padding = _padding(vr)

    def write(found: Found, to_bytes: ToBytes) -> bytes:
        value = to_bytes(read(found)) if vr in _TEXT else read(found).encode("latin_1", "replace")
        length = len(value)
        return openings[length] + (value + padding if length & 1 else value)

    return write


def _padding(vr: str) -> bytes:
    return b"\0" if vr == "UI" else b" "


def _numbers(text: str) -> Attribute:
    return Attribute("US", (int(text),) if text and int(text) <= _LARGEST_US else ())


def _selected(tag: str, wanted: Attribute, form: Form) -> _Write:
    def write(found: Found, to_bytes: ToBytes) -> bytes:
        stored = (found.header or {}).get(tag, Attribute(wanted.vr))
        return attribute_element(tag, select(stored, wanted), form, to_bytes)

    return write


def select(stored: Attribute, wanted: Attribute) -> Attribute:
    """A stored attribute as far as it is wanted: of a sequence's items what the key's item names; none: all."""
    if stored.vr != "SQ" or not wanted.values:
        return stored
    keys = [item for item in wanted.values if isinstance(item, Mapping)][:1]
    items = [item for item in stored.values if isinstance(item, Mapping)]
    return Attribute("SQ", tuple(_select_item(item, key) for item in items for key in keys))


def _select_item(stored: Header, key: Header) -> Header:
    if not key:
        return stored
    return {tag: select(stored.get(tag, Attribute(wanted.vr)), wanted) for tag, wanted in key.items()}
