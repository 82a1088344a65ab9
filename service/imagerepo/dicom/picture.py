"""Paint one frame: decode it, bring it to shades or colours, cut, scale, and write it as JPEG or PNG.

Runs in a process of its own, see dicom/pixels.py. Overlays and annotations are not painted.

Source: PS3.18 section 8.3.5.1 (Query Parameters for Rendered Resources), PS3.4 N.2 (Pixel Transformation Sequence).
"""

from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from imagerepo.dicom.pixels import Frame, Pixels, as_bytes, decode
from imagerepo.dicom.shades import shade
from imagerepo.errors import NotAcceptableError
from imagerepo.model.picture import Coding, Parts, Region, Sheet, View, Viewport, Window

_GREY: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
_FAST_PNG: Final = 3  # zlib's level: half the time of the default, a few per cent more bytes
_GAP: Final = 2.0  # how much of a reduction is done by averaging whole pixels first


def paint(sheet: Sheet, parts: Parts, view: View) -> bytes:
    """One picture.

    Args:
        sheet: what the parts are.
        parts: what it is painted from.
        view: how it is to look.

    Raises:
        NotAcceptableError: no picture can be made of it. Decoders raise what they like besides.
    """
    frame = decode(sheet, parts)
    image = Image.fromarray(shades(frame, sheet.frame, view.window))
    return _write(_fit(_cut(image, view.region), view), view)


def shades(frame: Frame, number: int, window: Window | None) -> NDArray[np.uint8]:
    """The frame for a screen: shape (rows, columns) of shades, or (rows, columns, 3) of red, green and blue.

    Args:
        frame: decoded.
        number: of the frame, from 1.
        window: for grey ones; None: what the instance says.
    """
    if frame.photometric in _GREY:
        return shade(frame.pixels, frame.header, number, window)
    if window is not None:
        raise NotAcceptableError("the image has colours, to which no window applies; leave out the parameter window")
    if frame.photometric == "PALETTE COLOR":
        return _palette(frame.pixels, frame.header)
    if frame.photometric == "RGB":
        return as_bytes(frame.pixels, _bits(frame.header, frame.pixels))
    raise NotAcceptableError(
        f"pixels are {frame.photometric[:16]!r} (0028,0004), which cannot be shown; MONOCHROME1, MONOCHROME2, "
        "PALETTE COLOR, RGB and YBR can"
    )


def _bits(header: Dataset, pixels: Pixels) -> int:
    stored: Any = header.get("BitsStored")
    # A lossy stream may have other samples than its header says.
    return min(int(stored or 8), 8 * pixels.dtype.itemsize)


def _palette(pixels: Pixels, header: Dataset) -> NDArray[np.uint8]:
    colours = apply_color_lut(pixels, header)[..., :3]
    descriptor: Any = header.get("RedPaletteColorLookupTableDescriptor")
    # Entries of 8 bits may be written in words of 16 (PS3.3 C.7.6.3.1.5); some devices say 16 and mean 8.
    narrow = int(descriptor[2]) <= 8 or (colours.dtype != np.uint8 and int(colours.max(initial=0)) <= 255)
    return as_bytes(colours, 8 if narrow else 16)


def _cut(image: Image.Image, region: Region | None) -> Image.Image:
    """A part of the image, turned over where its size is negative (PS3.18 8.3.5.1.3)."""
    if region is None:
        return image
    width = image.width - region.left if region.width is None else region.width
    height = image.height - region.top if region.height is None else region.height
    box = (region.left, region.top, region.left + abs(width), region.top + abs(height))
    if not 0 <= box[0] < box[2] <= image.width or not 0 <= box[1] < box[3] <= image.height:
        raise NotAcceptableError(
            f"the region of the parameter viewport is beyond the image of {image.width} x {image.height} pixels"
        )
    cut = image.crop(box)
    if width < 0:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if height < 0:
        cut = cut.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return cut


def _fit(image: Image.Image, view: View) -> Image.Image:
    viewport = view.viewport
    if viewport is None:
        return image
    width, height = fitted(image.width, image.height, viewport)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=_GAP)


def fitted(width: int, height: int, viewport: Viewport) -> tuple[int, int]:
    """The largest size of the same proportions that has room in `viewport`."""
    scale = min(viewport.width / width, viewport.height / height)
    return (
        max(1, min(viewport.width, round(width * scale))),
        max(1, min(viewport.height, round(height * scale))),
    )


def _write(image: Image.Image, view: View) -> bytes:
    out = BytesIO()
    if view.coding is Coding.PNG:
        image.save(out, "PNG", compress_level=_FAST_PNG)
    else:
        image.save(out, "JPEG", quality=view.quality)
    return out.getvalue()
