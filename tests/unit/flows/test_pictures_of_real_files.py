"""Every picture of pydicom's files is what pydicom's own pixel functions make of them."""

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

from imagerepo.dicom import part10
from imagerepo.dicom.picture import paint
from imagerepo.errors import BadDicomError
from imagerepo.flows.pictures import count_frames, has_image, plan
from imagerepo.model.instance import Copy, Version
from imagerepo.model.picture import Coding, Parts, Region, Shape, View, Viewport, Window
from imagerepo.model.tier import Tier
from imagerepo.model.uids import Uid
from tests.unit.dicom.references import quietly, reference
from tests.wire.dicomweb_samples import FILES

# What pydicom's decoders refuse too.
REFUSED = {
    "JPEG-lossy.dcm": "12-bit",  # JPEG Extended
    "JPGExtended.dcm": "12-bit",
    "JPEG2000-embedded-sequence-delimiter.dcm": "decod",  # a stream cut off by its own bytes
    "MR_truncated.dcm": "less than expected",
}


def version_of(content: bytes) -> Version | None:
    """As ingest would describe it; None of what it refuses."""
    try:
        meta = part10.read_meta(content)
        data_set = memoryview(content)[meta.data_set_offset :]
        found, layout = part10.read_data_set(data_set, meta.transfer_syntax, meta.data_set_offset)
    except BadDicomError:
        return None
    uids = (found.study_uid, found.series_uid, found.instance_uid, found.sop_class_uid, Uid(meta.transfer_syntax))
    where = Copy((), Tier.HOT)
    return Version("default", *uids, 1, b"", 0, len(content), datetime.now(UTC), layout, where)


def images() -> list[Path]:
    found = [(file, version_of(file.read_bytes())) for file in FILES]
    return [file for file, version in found if version is not None and has_image(version)]


def painted(content: bytes, frame: int, view: View) -> np.ndarray:
    version = version_of(content)
    assert version is not None
    sheet, extents = plan(version, frame)
    whole = io.BytesIO(b"".join(content[at : at + size] for at, size in extents))
    parts = Parts(*(whole.read(size) for size in (sheet.header_size, sheet.element_size, sheet.pixels_size)))
    with quietly():
        picture = paint(sheet, parts, view)
    return np.asarray(Image.open(io.BytesIO(picture)))


def flatten(data_set: pydicom.Dataset, frame: int) -> None:
    """Put what functional groups say of one frame where pydicom's functions look for it."""
    shared = data_set.get("SharedFunctionalGroupsSequence") or []
    each = data_set.get("PerFrameFunctionalGroupsSequence") or []
    for group in [*shared, *each[frame - 1 : frame]]:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(name) or ():
                data_set.update(item)


def level(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)


def shown_by_pydicom(data_set: pydicom.Dataset, frame: int) -> np.ndarray:
    """The frame as pydicom's functions bring it to a screen, in floating point from 0 to 255."""
    stored = pixel_array(data_set, index=frame - 1)
    photometric = data_set.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(stored, data_set)[..., :3]
        return colours if colours.max() <= 255 else colours >> 8
    if stored.ndim == 3:
        return stored.astype(np.float64) // (1 << (min(data_set.BitsStored, 8 * stored.itemsize) - 8))
    values = apply_modality_lut(stored, data_set)
    if "VOILUTSequence" in data_set:
        shown = level(apply_voi_lut(values, data_set), 0, (1 << data_set.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif data_set.get("WindowWidth") is not None:
        signed = data_set.PixelRepresentation == 1
        ends = np.array([-(1 << data_set.BitsStored - 1), (1 << data_set.BitsStored - 1) - 1] if signed else
                        [0, (1 << data_set.BitsStored) - 1])  # fmt: skip
        if "ModalityLUTSequence" in data_set:
            ends = np.array([0, (1 << data_set.ModalityLUTSequence[0].LUTDescriptor[2]) - 1])
        elif "RescaleSlope" in data_set:
            ends = ends * float(data_set.RescaleSlope) + float(data_set.RescaleIntercept)
        shown = level(apply_voi_lut(values, data_set), ends[0], ends[1])
    else:
        kept = values[stored != data_set.PixelPaddingValue] if "PixelPaddingValue" in data_set else values
        low, high = float(kept.min()), float(kept.max())
        shown = level(values, low, high) if low < high else np.full(values.shape, 0.5)
    return 255 * (1 - shown if photometric == "MONOCHROME1" else shown)


@pytest.mark.parametrize("file", images(), ids=lambda file: file.name)
def test_a_picture_is_what_pydicom_makes_of_the_frame(file: Path) -> None:
    content = file.read_bytes()
    version = version_of(content)
    assert version is not None
    data_set = reference(file)
    if file.name == "badVR.dcm":
        del data_set["NumberOfFrames"]  # '1A', at which pydicom stops
    if file.name in REFUSED:
        with pytest.raises(Exception, match=REFUSED[file.name]):
            painted(content, 1, View(Coding.PNG))
        return
    for frame in sorted({1, count_frames(version)}):
        flatten(data_set, frame)
        with quietly():
            expected = shown_by_pydicom(data_set, frame)
        got = painted(content, frame, View(Coding.PNG))
        assert got.shape == expected.shape
        # Half a shade is rounding; a table's step may lie there.
        assert np.abs(got.astype(np.float64) - expected).max() <= 0.51


def test_a_part_of_an_image_is_cut_turned_over_and_fitted() -> None:
    file = next(one for one in images() if one.name == "CT_small.dcm")
    content = file.read_bytes()
    whole = painted(content, 1, View(Coding.PNG))
    part = painted(content, 1, View(Coding.PNG, region=Region(16, 32, 64, 48)))
    assert np.array_equal(part, whole[32:80, 16:80])
    turned = painted(content, 1, View(Coding.PNG, region=Region(16, 32, -64, -48)))
    assert np.array_equal(turned, part[::-1, ::-1])
    rest = painted(content, 1, View(Coding.PNG, region=Region(100, 0, None, None)))
    assert np.array_equal(rest, whole[:, 100:])
    fitted = painted(content, 1, View(Coding.PNG, viewport=Viewport(32, 100), region=Region(16, 32, 64, 48)))
    assert fitted.shape == (24, 32)
    with pytest.raises(Exception, match="beyond the image of 128 x 128"):
        painted(content, 1, View(Coding.PNG, region=Region(100, 0, 29, 10)))


@pytest.mark.parametrize("shape", list(Shape))
def test_a_window_that_is_asked_for_replaces_the_instance_s(shape: Shape) -> None:
    file = next(one for one in images() if one.name == "CT_small.dcm")
    data_set = reference(file)
    data_set.WindowCenter, data_set.WindowWidth = 40, 400
    data_set.VOILUTFunction = shape.value.upper().replace("-", "_")
    got = painted(file.read_bytes(), 1, View(Coding.PNG, window=Window(40, 400, shape)))
    assert np.abs(got - shown_by_pydicom(data_set, 1)).max() <= 0.51


def test_a_window_of_colours_is_refused() -> None:
    file = next(one for one in images() if one.name == "SC_rgb.dcm")
    with pytest.raises(Exception, match="no window applies"):
        painted(file.read_bytes(), 1, View(Coding.PNG, window=Window(40, 400, Shape.LINEAR)))


def test_a_jpeg_is_as_good_as_is_asked_for() -> None:
    file = next(one for one in images() if one.name == "CT_small.dcm")
    content = file.read_bytes()
    whole = painted(content, 1, View(Coding.PNG)).astype(float)
    error = [np.abs(painted(content, 1, View(Coding.JPEG, quality=one)) - whole).mean() for one in (100, 50, 10)]
    assert error[0] < 1 < error[1] < error[2]
