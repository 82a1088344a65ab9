"""Read a DICOMDIR: the files that it names.

Source: PS3.10 section 8 (DICOM File Service), PS3.3 F.3 (Basic Directory IOD).
"""

from collections.abc import Iterator
from typing import Final

from imagerepo.dicom import part10
from imagerepo.dicom.encoding import ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER, Encoding, encoding_of
from imagerepo.dicom.sequences import read_header, skip_value
from imagerepo.dicom.walk import walk
from imagerepo.model.arrival import Buffer

_RECORDS: Final = 0x00041220
_FILE_ID: Final = 0x00041500
_STRUCTURE: Final = frozenset({ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER})
_LONGEST: Final = 1024  # bytes of a file ID; the standard has eight components of eight characters


def file_ids(directory: Buffer) -> list[tuple[str, ...]]:
    """The components of the names that a DICOMDIR has, in its order, as they are written.

    Raises:
        BadDicomError: it is damaged.
    """
    meta = part10.read_meta(directory)
    encoding = encoding_of(meta.transfer_syntax)
    with memoryview(directory) as view, view[meta.data_set_offset :] as data_set:
        found = walk(data_set, encoding, {encoding.tag(_RECORDS): _RECORDS})
        records = found.get(_RECORDS)
        return [] if records is None else list(_ids(data_set, records.value, records.end, encoding))


def _ids(view: memoryview, pos: int, end: int, encoding: Encoding) -> Iterator[tuple[str, ...]]:
    # Items and delimiters are stepped into: what is nested further is passed over by its element.
    while pos + 8 <= end:
        raw, _length = encoding.plain_header(view, pos)
        tag = encoding.tag(raw)
        if tag in _STRUCTURE:
            pos += 8
            continue
        header = read_header(view, pos, end, encoding)
        after, _fragments = skip_value(view, pos, tag, header, end)
        if tag == _FILE_ID:
            written = str(view[header.value : min(after, header.value + _LONGEST)], "latin_1")
            components = tuple(one.strip(" \0") for one in written.replace("/", "\\").split("\\"))
            if any(components):
                yield components
        pos = after
