"""Decode one frame. Never imported by a process that serves: decoders may take its memory, its time or its life.

Source: PS3.3 C.7.6.3 (Image Pixel Module), PS3.5 section 8 (Encoding of Pixel Data).
"""

import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imagerepo.dicom.attributes import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, PIXEL_DATA
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES, encoding_of
from imagerepo.errors import NotAcceptableError
from imagerepo.model.picture import Parts, Sheet

# What a picture follows from; nothing else of a header is read.
_WANTED: Final = [
    "SpecificCharacterSet", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleIntercept", "RescaleSlope",
    "ModalityLUTSequence", "VOILUTSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    "PixelData", "FloatPixelData", "DoubleFloatPixelData",
]  # fmt: skip
_KEYWORDS: Final = {
    PIXEL_DATA: "PixelData",
    FLOAT_PIXEL_DATA: "FloatPixelData",
    DOUBLE_FLOAT_PIXEL_DATA: "DoubleFloatPixelData",
}
_VRS: Final = {b"OB": "OB", b"OW": "OW"}
_INFLATED: Final = 512 << 20  # bytes of a deflated data set, at the most
_MOVING: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))  # MPEG-2, MPEG-4, HEVC

Pixels = NDArray[Any]
"""Shape (rows, columns) or (rows, columns, samples), dtype from Bits Allocated."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame and the header it came with."""

    pixels: Pixels
    photometric: str  # of `pixels`: YBR has become RGB
    header: Dataset


def decode(sheet: Sheet, parts: Parts) -> Frame:
    """Decode a frame.

    Args:
        sheet: what the parts are.
        parts: what is decoded; `sheet.place` counts the frames in it.

    Raises:
        NotAcceptableError: there is no image in it, or no decoder for it. Decoders raise what they like besides.
    """
    syntax = sheet.transfer_syntax
    if syntax in _MOVING:
        raise NotAcceptableError(f"transfer syntax {syntax} is a film, of which no pictures are made here")
    if syntax in DEFLATED_SYNTAXES:
        data_set = _read(_inflate(parts.header), ExplicitVRLittleEndian)
        if not any(keyword in data_set for keyword in _KEYWORDS.values()):
            raise NotAcceptableError("there is no image in it")
        decoder = get_decoder(ExplicitVRLittleEndian)
    else:
        data_set = _read(parts.header, UID(syntax))
        _put(data_set, sheet, parts)
        decoder = get_decoder(UID(syntax)) if sheet.encapsulated else get_decoder(_native(UID(syntax)))
    if not decoder.is_available:
        raise NotAcceptableError(f"there is no decoder for transfer syntax {syntax} here")
    if not data_set.get("Rows") or not data_set.get("Columns"):
        raise NotAcceptableError("Rows (0028,0010) or Columns (0028,0011) is missing or 0")
    array, properties = decoder.as_array(data_set, index=sheet.place)
    return Frame(array, str(properties["photometric_interpretation"]), data_set)


def _put(data_set: Dataset, sheet: Sheet, parts: Parts) -> None:
    """Put the pixel data that are there into the header, as if there were no others."""
    encoding = encoding_of(sheet.transfer_syntax)
    element, pixels = parts.element, parts.pixels
    little = "little" if encoding.little else "big"
    tag = int.from_bytes(element[:2], little) << 16 | int.from_bytes(element[2:4], little)
    keyword = _KEYWORDS[tag]
    written = _VRS.get(element[4:6], "OW") if encoding.explicit else "OW"
    vr = {"FloatPixelData": "OF", "DoubleFloatPixelData": "OD"}.get(keyword, written)
    # Decoders are told of one frame, or the place of ours: that the others are not there is no fault.
    data_set.NumberOfFrames = sheet.place + 1
    data_set.add_new(tag, vr, encapsulate([pixels], has_bot=False) if sheet.encapsulated else pixels)
    if sheet.encapsulated:
        data_set[tag].is_undefined_length = True


def _read(content: bytes, syntax: UID) -> Dataset:
    return read_dataset(
        BytesIO(content),
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        bytelength=len(content),
        specific_tags=[Tag(keyword) for keyword in _WANTED],
    )


def _native(syntax: UID) -> UID:
    # Native pixel data in a syntax that is to encapsulate: PS3.5 A.4 forbids it, and it is what it is.
    return syntax if syntax in {ImplicitVRLittleEndian, ExplicitVRBigEndian} else ExplicitVRLittleEndian


def _inflate(content: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(content, _INFLATED)
    if inflater.unconsumed_tail:
        raise NotAcceptableError(f"inflated it has more than {_INFLATED} bytes, of which no picture is made")
    return inflated


def as_bytes(pixels: Pixels, bits: int) -> NDArray[np.uint8]:
    """Colour samples as bytes: their most significant bits.

    Args:
        pixels: unsigned samples.
        bits: of a sample that mean something.
    """
    if pixels.dtype == np.uint8 and bits >= 8:
        return pixels
    if bits < 8:
        return (pixels.astype(np.uint16) * 255 // ((1 << bits) - 1)).clip(0, 255).astype(np.uint8)
    return (pixels >> (bits - 8)).clip(0, 255).astype(np.uint8)
