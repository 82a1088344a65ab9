"""An instance's names are found by its beginning, in every encoding, whatever stands before them."""

import zlib
from pathlib import Path

import pytest

from imagerepo.dicom import peek, samples
from imagerepo.dicom.part10 import read_data_set, read_meta
from imagerepo.errors import BadDicomError
from imagerepo.model.imports import Names
from tests.harness.dicom_file import EXPLICIT, ct, element, meta

DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.mark.parametrize("path", samples.files())
def test_what_the_whole_file_says_its_beginning_says(path: str) -> None:
    data = Path(path).read_bytes()
    try:
        found = read_meta(data)
        attributes, _ = read_data_set(data[found.data_set_offset :], found.transfer_syntax, found.data_set_offset)
    except BadDicomError:
        return
    expected = Names(attributes.study_uid, attributes.series_uid, attributes.instance_uid)
    assert peek.names(data) == expected


def test_a_deflated_data_set_is_inflated_as_far_as_need_be() -> None:
    file = ct(1, size=3 << 20)
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(file.data_set) + packer.flush()
    data = meta(file.sop_class, file.instance).replace(
        element(0x00020010, "UI", EXPLICIT), element(0x00020010, "UI", DEFLATED)
    )
    assert peek.names(data + packed) == Names(file.study, file.series, file.instance)
    with pytest.raises(BadDicomError, match="deflate"):
        peek.names(data + b"\xff" * 100)


@pytest.mark.parametrize("cut", range(400, 640, 7))
def test_what_is_cut_off_before_its_names_is_not_judged(cut: int) -> None:
    file = ct(1)
    assert peek.names(file.part10[:cut]) in {None, Names(file.study, file.series, file.instance)}
