import pytest

from imagerepo.dicomweb.frames import parse_frames
from imagerepo.dicomweb.negotiate import (
    Form,
    check_json,
    checker_of_many,
    choose_bulk,
    choose_instance,
    pixel_syntax,
    pixel_type,
)
from imagerepo.errors import BadRequestError, NotAcceptableError
from imagerepo.model.uids import Uid

EXPLICIT = Uid("1.2.840.10008.1.2.1")
JPEG_2000 = Uid("1.2.840.10008.1.2.4.90")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.PARTS),
        ("*/*", Form.PARTS),
        ("multipart/related", Form.PARTS),
        ('multipart/related; type="application/dicom"', Form.PARTS),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', Form.PARTS),
        (f"multipart/related; type=application/dicom; transfer-syntax={EXPLICIT}", Form.PARTS),
        ("application/dicom", Form.SINGLE),
        (f"application/dicom; transfer-syntax={EXPLICIT}", Form.SINGLE),
        ("image/jpeg, application/dicom;q=0.5", Form.SINGLE),
    ],
)
def test_an_instance_comes_in_the_form_that_is_accepted(accept: str, form: Form) -> None:
    assert choose_instance(accept, EXPLICIT) is form


@pytest.mark.parametrize(
    "accept",
    [
        "image/jpeg",
        'multipart/related; type="application/dicom+xml"',
        f"multipart/related; type=application/dicom; transfer-syntax={JPEG_2000}",
        "application/dicom;q=0",
    ],
)
def test_what_would_need_transcoding_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptableError):
        choose_instance(accept, EXPLICIT)


def test_many_instances_are_checked_one_by_one() -> None:
    check = checker_of_many(f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}')
    check(EXPLICIT)
    with pytest.raises(NotAcceptableError, match=str(JPEG_2000)):
        check(JPEG_2000)
    with pytest.raises(NotAcceptableError):
        checker_of_many("application/dicom")


@pytest.mark.parametrize(
    ("accept", "native", "chosen"),
    [
        ("", "image/jp2", (Form.PARTS, "image/jp2")),
        ("*/*", "image/jp2", (Form.PARTS, "image/jp2")),
        ("image/*", "image/jp2", (Form.SINGLE, "image/jp2")),
        ("multipart/related; type=application/octet-stream", "image/jp2", (Form.PARTS, "application/octet-stream")),
        ("multipart/related; type=image/jp2", "image/jp2", (Form.PARTS, "image/jp2")),
        ("application/octet-stream", "application/octet-stream", (Form.SINGLE, "application/octet-stream")),
    ],
)
def test_pixel_data_come_as_their_syntax_says(accept: str, native: str, chosen: tuple[Form, str]) -> None:
    assert choose_bulk(accept, native, JPEG_2000) == chosen


def test_pixel_data_in_another_syntax_are_not_acceptable() -> None:
    with pytest.raises(NotAcceptableError):
        choose_bulk("multipart/related; type=image/jpeg", "image/jp2", JPEG_2000)


def test_native_pixel_data_are_octets() -> None:
    assert pixel_type(EXPLICIT, encapsulated=False) == "application/octet-stream"
    assert pixel_type(JPEG_2000, encapsulated=True) == "image/jp2"
    assert pixel_syntax(Uid("1.2.840.10008.1.2")) == EXPLICIT


@pytest.mark.parametrize("accept", ["", "*/*", "application/dicom+json", "application/json", "application/*"])
def test_metadata_are_json(accept: str) -> None:
    check_json(accept)


def test_metadata_are_not_xml() -> None:
    with pytest.raises(NotAcceptableError):
        check_json('multipart/related; type="application/dicom+xml"')


@pytest.mark.parametrize("text", ["", "0", "1,", "a", "1,,2", "-1", "1;2", "01"])
def test_frame_lists_count_from_one(text: str) -> None:
    with pytest.raises(BadRequestError):
        parse_frames(text)
