"""Write one instance's header as DICOM JSON, straight from bytes to bytes.

The result is one JSON object; an answer of many instances is their concatenation between brackets, so it is
made once an instance, kept, and never parsed again.

Source: PS3.18 Annex F (DICOM JSON Model).
"""

from functools import lru_cache
from typing import Final

from imagerepo.dicom.attributes import PIXEL_TAGS
from imagerepo.dicom.charset import DEFAULT, charset_of
from imagerepo.dicom.dictionary import private_vr_of, vr_of
from imagerepo.dicom.encoding import (
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    LONG_VRS,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    Encoding,
    MalformedError,
    encoding_of,
)
from imagerepo.dicom.json_memo import KEY, SEQUENCE_LIMIT, VALUE_LIMIT, Memo, memo_of
from imagerepo.dicom.sequences import NESTING_LIMIT, Header, item_encoding, read_header, skip_sequence, skip_value
from imagerepo.dicom.values import CONVERTERS, Scope, inline_binary, quote
from imagerepo.model.arrival import Buffer
from imagerepo.model.instance import Layout
from imagerepo.model.uids import Uid

INLINE_BINARY_LIMIT: Final = 1024
"""Bytes of a binary value up to which it is given inline; longer ones by reference."""
INLINE_VALUE_LIMIT: Final = 64 << 10
"""Likewise for text and numbers, which clients expect inline: only tables and documents are longer. In
implicit VR this bounds VRs too that PS3.18 F.2.2 does not list, whose sound values are far shorter."""

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_PIXEL_REPRESENTATION: Final = 0x00280103
_WAVEFORM_BITS: Final = 0x54001004
_UTF8_MEMBER: Final = '"00080005":{"vr":"CS","Value":["ISO_IR 192"]}'
_BY_REFERENCE: Final = '"BulkDataURI"'
_VR_NAMES: Final = {vr: vr.decode("ascii") for vr in SHORT_VRS | LONG_VRS}


def header_end(layout: Layout) -> int:
    """Where the bytes that `encode` wants as header end in the Part 10 file: they start at data_set_offset.

    They include the header of the pixel data element, which says its VR, but not its value.
    """
    return layout.header_length if layout.pixel is None else layout.pixel.offset


def encode(header: Buffer, transfer_syntax: Uid, *, bulk_data_uri: str, trailer: Buffer = b"") -> bytes:
    """Encode one instance.

    Args:
        header: the data set's bytes up to the value of its pixel data, see `header_end`; of the deflated
            syntax those that were inflated. A data set with the value is taken too.
        transfer_syntax: of the data set.
        bulk_data_uri: what values given by reference are below, without a slash at its end: a value's
            address continues with its tag, in sequences with tag, item from 1, and so on.
        trailer: the bytes after pixel data.

    Returns:
        One JSON object in UTF-8, elements in the order of their tags, group lengths left out.

    Raises:
        BadDicomError: the bytes are not elements; names the element and the byte of `header`.

    Source: PS3.18 F.2.
    """
    encoding = encoding_of(transfer_syntax)
    scope = Scope(charset=DEFAULT, signed=False, wave_bits=16, address=bulk_data_uri, depth=0)
    members: dict[int, str] = {}
    for part in (header, trailer):
        data = bytes(part)
        with memoryview(data) as view:
            members |= _Encoder(data, view).data_set(0, len(view), encoding, scope, delimited=False)
    return _object(members).encode("utf-8", "replace")


def _object(members: dict[int, str]) -> str:
    tags = list(members)
    ordered = sorted(tags)
    if tags == ordered:
        return "{" + ",".join(members.values()) + "}"
    return "{" + ",".join([members[tag] for tag in ordered]) + "}"


@lru_cache(maxsize=16384)
def _opening(tag: int, vr: str) -> str:
    """An element's member as far as its VR: made once for each element that occurs."""
    return f'"{tag:08X}":{{"vr":"{vr}"'


class _Encoder:
    """One buffer, and how far it has been read; the methods recurse as deep as sequences nest, which is limited."""

    def __init__(self, data: bytes, view: memoryview) -> None:
        self._data = data
        self._view = view  # of the same
        self._pos: int = 0  # after a method returns: the first byte after what it read

    def data_set(  # noqa: C901, PLR0912, PLR0915 - the loop over all elements, in one piece for its speed
        self, pos: int, end: int, encoding: Encoding, scope: Scope, *, delimited: bool
    ) -> dict[int, str]:
        """The members, by tag, of a data set that fills [pos, end), or whose delimiter comes before `end`."""
        data, view = self._data, self._view
        explicit, little = encoding.explicit, encoding.little
        short_header, plain_header, tag_of = encoding.short_header, encoding.plain_header, encoding.tag
        names, converters, opening, short_vrs = _VR_NAMES, CONVERTERS, _opening, SHORT_VRS
        creators: dict[int, str] = {}
        members: dict[int, str] = {}
        length32 = encoding.length32
        memo = memo_of(scope.charset) if explicit and little else Memo()
        stretching = scope.depth == 0 and little and explicit
        seeking = stretching  # whether a stretch may begin here
        start = pos  # of the elements that were found one by one, all known
        run: dict[int, str] = {}
        ends: list[int] = []
        differs = -1  # where a stretch was not what it had been
        while pos + 8 <= end:
            if seeking:
                seeking = False
                start = pos
                stretch = memo.stretches.get(data[pos : pos + KEY])
                if stretch is not None:
                    if stretch.data and data.startswith(stretch.data, pos):
                        members.update(stretch.members)
                        pos += len(stretch.data)
                        seeking = True
                        continue
                    differs = pos + memo.shorten(stretch, data, pos)
            at, inside, written = pos, encoding, b""
            value = pos + 8
            if explicit:
                raw, written, length = short_header(data, pos)
                if written in short_vrs:
                    known = memo.elements.get(data[pos : value + length]) if length <= VALUE_LIMIT else None
                elif written == b"SQ" and pos + 12 <= end and (size := length32(data, value)[0]) <= SEQUENCE_LIMIT:
                    length = 4 + size
                    known = memo.elements.get(data[pos : value + length])
                else:
                    known = None
                if known is not None and value + length <= end:
                    tag, member = known
                    members[tag] = member
                    pos = value + length
                    if stretching:
                        if at == differs:
                            memo.keep_stretch(data[start:at], ends, run)
                            run, ends, seeking = {}, [], True
                        else:
                            run[tag] = member
                            ends.append(pos - start)
                    continue
                if run:
                    memo.keep_stretch(data[start:at], ends, run)
                    run, ends = {}, []
                seeking = stretching
                tag = tag_of(raw)
                if written not in short_vrs and tag >> 16 != 0xFFFE:
                    if tag == 0 and not any(view[pos:end]):
                        pos = end
                        break
                    found = read_header(view, pos, end, encoding)
                    written, value, length, inside = found.vr, found.value, found.length, found.encoding
            else:
                raw, length = plain_header(view, pos)
                tag = tag_of(raw)
            if tag >> 16 == 0xFFFE:
                if tag == ITEM_DELIMITER and (delimited or (scope.depth and value == end)):
                    self._pos = value
                    return members
                raise MalformedError(tag, at, "item or delimiter out of place")
            vr = names.get(written, "UN")
            if vr == "UN":
                vr = _dictionary_vr(tag, creators, scope, length)
            if length == UNDEFINED_LENGTH or vr == "SQ" or (tag in PIXEL_TAGS and scope.depth == 0):
                members[tag] = member = self._nested(at, tag, vr, Header(written, value, length, inside), end, scope)
                pos = self._pos
                if written == b"SQ" and length <= SEQUENCE_LIMIT and pos == value + length and not _by_place(member):
                    memo.keep(data[at:pos], tag, member)
                if pos > end:  # the header of pixel data without them
                    return members
                continue
            pos = value + length
            if pos > end:
                raise MalformedError(tag, at, f"its value ends {pos - end} bytes beyond what encloses it")
            if tag & 0xFFFF == 0:
                continue  # group length (PS3.18 F.2.2)
            if tag == _SPECIFIC_CHARACTER_SET:
                scope.charset = charset_of(data[value : min(pos, value + 256)])
                memo = memo_of(scope.charset) if explicit and little else memo
                members[tag] = _UTF8_MEMBER
                continue
            converter = converters.get(vr)
            if length > (INLINE_BINARY_LIMIT if converter is None else INLINE_VALUE_LIMIT):
                members[tag] = f"{opening(tag, vr)}{_reference(scope, tag)}}}"
                continue
            content = data[value:pos]
            text = None if converter is None else converter(content, scope, inside.little)
            if text is None:
                vr = "UN" if converter else vr
                text = inline_binary(content, vr, little=little)
            members[tag] = member = f"{opening(tag, vr)}{text}}}"
            if tag >> 16 & 1:
                if 0x10 <= tag & 0xFFFF <= 0xFF:
                    creators[tag] = content.decode("latin_1").strip(" \0")
            elif tag == _PIXEL_REPRESENTATION:
                scope.signed = 1 in content[:2]
            elif tag == _WAVEFORM_BITS:
                scope.wave_bits = int.from_bytes(content[:2], "little" if little else "big")
            elif explicit and length <= VALUE_LIMIT and written in short_vrs:
                memo.keep(data[at:pos], tag, member)
        if run:
            memo.keep_stretch(data[start:pos], ends, run)
        if delimited:
            raise MalformedError(ITEM, pos, "undefined length never closed by a delimiter")
        if pos != end and any(view[pos:end]):
            raise MalformedError(0, pos, f"{end - pos} bytes after the last element are not an element")
        self._pos = end
        return members

    def _nested(self, at: int, tag: int, vr: str, header: Header, end: int, scope: Scope) -> str:
        """The member of an element that is a sequence, fragments or pixel data."""
        undefined = header.length == UNDEFINED_LENGTH
        after = header.value + header.length
        if tag in PIXEL_TAGS and scope.depth == 0:
            if header.value == end or (not undefined and after > end):
                self._pos = end + 1
            else:
                self._pos, _ = skip_value(self._view, at, tag, header, end)
            return f"{_opening(tag, vr)}{_reference(scope, tag) if header.length else ''}}}"
        if undefined and vr != "SQ":
            self._pos, fragments = skip_value(self._view, at, tag, header, end)
            if fragments is not None:
                return f"{_opening(tag, vr)}{_reference(scope, tag)}}}"
        elif not undefined:
            if after > end:
                raise MalformedError(tag, at, f"its value ends {after - end} bytes beyond what encloses it")
            if header.vr == b"UN":
                header = Header(header.vr, header.value, header.length, IMPLICIT_LITTLE)  # PS3.5 6.2.2
            # Of a sequence by the private dictionary, or in spite of its VR, ingest has not seen the inside.
            unseen = header.vr not in {b"SQ", b""} or (header.vr == b"" and tag >> 16 & 1)
            if unseen and not self._is_sequence(at, tag, header, end):
                self._pos = after
                return f"{_opening(tag, 'UN')}{self._binary(tag, header, scope)}}}"
        items = self._items(at, tag, header, end, scope)
        return f"{_opening(tag, 'SQ')}" + (f',"Value":[{",".join(items)}]}}' if items else "}")

    def _is_sequence(self, at: int, tag: int, header: Header, end: int) -> bool:
        try:
            skip_sequence(self._view, at, tag, header, end)
        except MalformedError:
            return False
        return True

    def _binary(self, tag: int, header: Header, scope: Scope) -> str:
        if header.length > INLINE_BINARY_LIMIT:
            return _reference(scope, tag)
        content = self._data[header.value : header.value + header.length]
        return inline_binary(content, "UN", little=True)

    def _items(self, at: int, tag: int, header: Header, end: int, scope: Scope) -> list[str]:
        """The objects of a sequence's items."""
        if scope.depth >= NESTING_LIMIT:
            raise MalformedError(tag, at, f"sequences nested more than {NESTING_LIMIT} deep")
        view, encoding = self._view, header.encoding
        delimited = header.length == UNDEFINED_LENGTH
        pos = header.value
        if not delimited:
            end = pos + header.length
        items: list[str] = []
        while delimited or pos < end:
            if pos + 8 > end:
                raise MalformedError(tag, at, "its items do not end where it does")
            raw, length = encoding.plain_header(view, pos)
            found = encoding.tag(raw)
            if found == SEQUENCE_DELIMITER and (delimited or pos + 8 == end):
                pos += 8
                break
            if found != ITEM:
                raise MalformedError(found, pos, f"not an item of ({tag >> 16:04X},{tag & 0xFFFF:04X}) nor its end")
            start = pos + 8
            open_ended = length == UNDEFINED_LENGTH
            item_end = end if open_ended else start + length
            if item_end > end:
                raise MalformedError(ITEM, pos, f"item of {length} bytes, {end - start} are left")
            inner = scope.inner(f"{scope.address}/{tag:08X}/{len(items) + 1}")
            item = item_encoding(view, start, item_end, encoding)
            items.append(_object(self.data_set(start, item_end, item, inner, delimited=open_ended)))
            pos = self._pos
        self._pos = pos
        return items


def _by_place(member: str) -> bool:
    """Whether it says where the instance is, or may do."""
    return _BY_REFERENCE in member


def _reference(scope: Scope, tag: int) -> str:
    return f',"BulkDataURI":{quote(f"{scope.address}/{tag:08X}")}'


def _dictionary_vr(tag: int, creators: dict[int, str], scope: Scope, length: int) -> str:
    """The VR of an element that comes without one, or as UN (PS3.5 6.2.2)."""
    if tag >> 16 & 1:
        element = tag & 0xFFFF
        if 0x10 <= element <= 0xFF:
            return "LO"
        creator = creators.get((tag & 0xFFFF0000) | element >> 8)
        vr = private_vr_of(tag, creator) if creator else None
    else:
        vr = vr_of(tag)
    if vr is None:
        return "SQ" if length == UNDEFINED_LENGTH else "UN"
    if len(vr) == 2:
        return vr
    if vr == "US or SS":
        return "SS" if scope.signed else "US"
    if vr == "OB or OW":
        narrow = length == UNDEFINED_LENGTH or (tag >> 16 == 0x5400 and scope.wave_bits == 8)
        return "OB" if narrow else "OW"
    return "US" if length == 2 else "OW"  # "US or OW", "US or SS or OW": one number, or a table
