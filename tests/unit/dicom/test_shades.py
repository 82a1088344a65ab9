"""Grey values on their way to a screen."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from imagerepo.dicom.shades import shade
from imagerepo.model.picture import Shape, Window


def header(**elements: object) -> Dataset:
    made = Dataset()
    made.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def item(**elements: object) -> list[Dataset]:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return [made]


RAMP = np.arange(-4, 4, dtype=np.int16).reshape(2, 4)


def test_without_a_window_the_smallest_is_black_and_the_largest_white() -> None:
    assert shade(RAMP, header(), 1, None).tolist() == [[0, 36, 73, 109], [146, 182, 219, 255]]


def test_monochrome1_is_turned_over() -> None:
    turned = shade(RAMP, header(PhotometricInterpretation="MONOCHROME1"), 1, None)
    assert turned.tolist() == [[255, 219, 182, 146], [109, 73, 36, 0]]


def test_padding_is_no_value() -> None:
    padded = np.array([[-2000, 0, 100, 200]], dtype=np.int16)
    assert shade(padded, header(PixelPaddingValue=-2000), 1, None).tolist() == [[0, 0, 128, 255]]
    ranged = header(PixelPaddingValue=-2000, PixelPaddingRangeLimit=0)
    assert shade(padded, ranged, 1, None).tolist() == [[0, 0, 0, 255]]


def test_one_value_alone_is_grey_and_padding_alone_black() -> None:
    flat = np.full((1, 2), 7, dtype=np.uint16)
    assert shade(flat, header(), 1, None).tolist() == [[128, 128]]
    assert shade(flat, header(PixelPaddingValue=7), 1, None).tolist() == [[0, 0]]


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float32, ">i2"])
def test_a_table_and_reckoning_give_the_same(kind: object) -> None:
    values = np.arange(0, 100, dtype=kind).reshape(10, 10)
    window = Window(50, 41, Shape.LINEAR)
    expected = np.rint(np.clip((np.arange(100) - 49.5) / 40 + 0.5, 0, 1) * 255).reshape(10, 10)
    assert np.array_equal(shade(values, header(), 1, window), expected)


def test_each_frame_has_its_own_window_and_rescaling() -> None:
    made = header()
    made.SharedFunctionalGroupsSequence = item(
        PixelValueTransformationSequence=item(RescaleSlope=2, RescaleIntercept=0),
        FrameVOILUTSequence=item(WindowCenter=0, WindowWidth=1),
    )
    made.PerFrameFunctionalGroupsSequence = [
        *item(FrameVOILUTSequence=item(WindowCenter=-100, WindowWidth=10)),
        *item(FrameVOILUTSequence=item(WindowCenter=100, WindowWidth=10)),
        *item(FrameContentSequence=item()),
    ]
    assert shade(RAMP, made, 1, None).tolist() == [[255] * 4] * 2
    assert shade(RAMP, made, 2, None).tolist() == [[0] * 4] * 2
    assert shade(RAMP, made, 3, None).tolist() == [[0] * 4, [255] * 4]
    assert shade(RAMP, made, 99, None).tolist() == [[0] * 4, [255] * 4]


def test_a_voi_table_goes_before_a_window_and_a_window_asked_for_before_both() -> None:
    table = item(LUTDescriptor=[4, -2, 8], LUTData=[0, 51, 102, 255])
    made = header(VOILUTSequence=table, WindowCenter=0, WindowWidth=1)
    assert shade(RAMP, made, 1, None).tolist() == [[0, 0, 0, 51], [102, 255, 255, 255]]
    assert shade(RAMP, made, 1, Window(0, 1, Shape.LINEAR)).tolist() == [[0] * 4, [255] * 4]


@pytest.mark.parametrize(
    "broken",
    [
        {"WindowCenter": 0, "WindowWidth": 0},
        {"WindowCenter": 0},
        {"WindowCenter": None, "WindowWidth": None},
        {"VOILUTSequence": item(LUTDescriptor=[4, 0], LUTData=[1, 2])},
        {"VOILUTSequence": item(LUTDescriptor=[4, 0, 8], LUTData=[])},
        {"VOILUTSequence": []},
        {"RescaleSlope": None, "RescaleIntercept": 3},
        {"ModalityLUTSequence": item()},
    ],
)
def test_what_makes_no_sense_is_passed_over(broken: dict[str, object]) -> None:
    assert np.array_equal(shade(RAMP, header(**broken), 1, None), shade(RAMP, header(), 1, None))


def test_numbers_that_are_none_do_no_harm() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 1.0, 3.0]])
    assert shade(values, header(), 1, None).tolist() == [[0, 255, 0, 0, 255]]
