"""From stored grey values to shades for a screen: modality transformation, values of interest, 8 bits.

Of values of up to 16 bits a table is made once, and looked up; others are reckoned a few rows at a time.

Source: PS3.3 C.11.1 (Modality LUT Module), C.11.2 (VOI LUT Module), C.7.6.16.2.9 and C.7.6.16.2.10 (the same for each
frame); PS3.4 N.2 (Pixel Transformation Sequence).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from imagerepo.dicom.pixels import Pixels
from imagerepo.model.picture import Shape, Window

Reals = NDArray[np.float64]
_Curve = Callable[[Reals], Reals]

_ROWS_AT_ONCE: Final = 1 << 20  # values reckoned at a time
_SHAPES: Final = {"LINEAR": Shape.LINEAR, "LINEAR_EXACT": Shape.LINEAR_EXACT, "SIGMOID": Shape.SIGMOID}


@dataclass(frozen=True, slots=True)
class Table:
    """A lookup table (PS3.3 C.11.1.1.1, C.11.2.1.1)."""

    first: int  # the value that the first entry is for; smaller ones have it too
    entries: Reals
    top: float  # the largest that an entry can be

    def look_up(self, values: Reals) -> Reals:
        """The entries for `values`."""
        places = np.clip(np.nan_to_num(values) - self.first, 0, len(self.entries) - 1)
        return self.entries[places.astype(np.int64)]


def shade(pixels: Pixels, header: Dataset, frame: int, window: Window | None) -> NDArray[np.uint8]:
    """Shades from 0, black, to 255.

    Args:
        pixels: shape (rows, columns), stored values, integers or floating point.
        header: of the instance.
        frame: from 1.
        window: asked for; None: the instance's first, or its VOI LUT, or from its smallest value to its largest.

    Returns:
        Shape (rows, columns).
    """
    modality = _modality(header, frame)
    interest = _interest(header, frame, window)
    if interest is None:
        interest = _whole_range(pixels, header, modality)
    dark_is_high = header.get("PhotometricInterpretation") == "MONOCHROME1"

    def shades(values: Reals) -> NDArray[np.uint8]:
        level = np.clip(np.nan_to_num(interest(modality(values))), 0.0, 1.0)
        if dark_is_high:
            level = 1.0 - level
        return np.rint(level * 255.0).astype(np.uint8)

    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2:
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        unsigned = np.dtype(f"u{native.dtype.itemsize}")
        every = np.arange(1 << 8 * native.dtype.itemsize, dtype=np.uint32).astype(unsigned).view(native.dtype)
        return shades(every.astype(np.float64))[native.view(unsigned)]
    out = np.empty(pixels.shape, dtype=np.uint8)
    for part in _strips(pixels):
        out[part] = shades(pixels[part].astype(np.float64))
    return out


def _strips(pixels: Pixels) -> Iterator[slice]:
    rows = max(1, _ROWS_AT_ONCE // max(1, pixels.shape[1]))
    return (slice(at, at + rows) for at in range(0, pixels.shape[0], rows))


def _modality(header: Dataset, frame: int) -> _Curve:
    """From stored values to the modality's."""
    table = _table(header, "ModalityLUTSequence")
    if table is not None:
        return table.look_up
    source = _of_frame(header, frame, "PixelValueTransformationSequence", "RescaleSlope") or header
    slope, intercept = _number(source, "RescaleSlope"), _number(source, "RescaleIntercept")
    if slope is None or intercept is None:
        return lambda values: values
    return lambda values: values * slope + intercept


def _interest(header: Dataset, frame: int, asked: Window | None) -> _Curve | None:
    """From the modality's values to 0 … 1; None if nothing is said about it."""
    if asked is not None:
        return windowed(asked)
    source = _of_frame(header, frame, "FrameVOILUTSequence", "WindowCenter") or header
    table = _table(source, "VOILUTSequence")
    if table is not None:
        return lambda values: table.look_up(values) / table.top
    center, width = _number(source, "WindowCenter"), _number(source, "WindowWidth")
    shape = _SHAPES.get(str(source.get("VOILUTFunction") or "LINEAR").upper(), Shape.LINEAR)
    if center is None or width is None or width < (1 if shape is Shape.LINEAR else 1e-30):
        return None
    return windowed(Window(center, width, shape))


def windowed(window: Window) -> _Curve:
    """The curve of a window (PS3.3 C.11.2.1.2.1, C.11.2.1.3)."""
    center, width = window.center, window.width
    if window.shape is Shape.SIGMOID:
        return lambda values: 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0)))
    if window.shape is Shape.LINEAR:
        center, width = center - 0.5, width - 1.0
    if width == 0.0:
        return lambda values: (values > center).astype(np.float64)
    return lambda values: (values - center) / width + 0.5


def _whole_range(pixels: Pixels, header: Dataset, modality: _Curve) -> _Curve:
    """From the smallest value to the largest, padding left out (PS3.3 C.7.5.1.1.2)."""
    low, high = math.inf, -math.inf
    padding = _padding(header)
    for part in _strips(pixels):
        values = pixels[part]
        kept = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if padding is not None:
            kept = kept[(kept < padding[0]) | (kept > padding[1])]
        if kept.size:
            low, high = min(low, float(kept.min())), max(high, float(kept.max()))
    if not math.isfinite(low):
        return np.zeros_like
    ends = modality(np.array([low, high], dtype=np.float64))
    bottom, top = float(ends.min()), float(ends.max())
    if bottom == top:
        return lambda values: np.full_like(values, 0.5)
    return lambda values: (values - bottom) / (top - bottom)


def _padding(header: Dataset) -> tuple[float, float] | None:
    value = _number(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = _number(header, "PixelPaddingRangeLimit")
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _of_frame(header: Dataset, frame: int, group: str, keyword: str) -> Dataset | None:
    """The item of a functional group that says `keyword` of one frame (PS3.3 C.7.6.16)."""
    for sequence, place in (("PerFrameFunctionalGroupsSequence", frame - 1), ("SharedFunctionalGroupsSequence", 0)):
        groups: Any = header.get(sequence)
        if not groups or place >= len(groups):
            continue
        items: Any = groups[place].get(group)
        if items and items[0].get(keyword) is not None:
            return items[0]
    return None


def _number(source: Dataset, keyword: str) -> float | None:
    """The first value of a number; None if it is absent, empty or none."""
    value: Any = source.get(keyword)
    if isinstance(value, (str, bytes)) or value is None:
        return None
    try:
        first = value if isinstance(value, (int, float)) else value[0]
        number = float(first)
    except (TypeError, ValueError, IndexError):
        return None
    return number if math.isfinite(number) else None


def _table(source: Dataset, keyword: str) -> Table | None:
    """The first table of a sequence; None if there is none that can be used."""
    items: Any = source.get(keyword)
    if not items:
        return None
    item = items[0]
    descriptor: Any = item.get("LUTDescriptor")
    data: Any = item.get("LUTData")
    if descriptor is None or len(descriptor) != 3 or data is None:
        return None
    count, first, bits = int(descriptor[0]) or 1 << 16, int(descriptor[1]), int(descriptor[2])
    if isinstance(data, bytes):
        little = item.original_encoding[1] is not False
        wide = len(data) >= 2 * count
        entries = np.frombuffer(data, dtype=("<u2" if little else ">u2") if wide else "u1")[:count]
    else:
        entries = np.asarray(data)[:count]
    if not entries.size:
        return None
    return Table(first, entries.astype(np.float64), float((1 << min(max(bits, 1), 16)) - 1))
