"""Data sets as people write them: what is taken can be kept, and be answered with."""

import json
import sys

import pytest

from imagerepo.dicom import header
from imagerepo.dicom.data_set_writer import encode_data_set
from imagerepo.dicom.written import parse, typed
from imagerepo.errors import BadRequestError
from imagerepo.model.header import Attribute

_EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(
    "document",
    [
        b'{"PregnancyStatus": 65536}',
        b'{"PregnancyStatus": -1}',
        b'{"DisplayedAreaTopLeftHandCorner": [2147483648, 1]}',
        b'{"RecommendedDisplayFrameRateInFloat": NaN}',
        b'{"RecommendedDisplayFrameRateInFloat": 1e39}',
        b'{"CTDIvol": Infinity}',
        b'{"CTDIvol": 1' + b"0" * 400 + b"}",
        b'{"PatientComments": "\\ud800"}',
        b'{"PatientWeight": "abc"}',
        b'{"PatientAge": "12"}',
        b'{"PatientName": {"Alphabetic": {"a": 1}}}',
        b'{"SpecificCharacterSet": "ISO_IR 100"}',
        b'{"TransferSyntaxUID": "1.2"}',
        b'{"PatientBirthDate": "20260230"}',
        b'{"00420011": {"vr": "OB", "InlineBinary": "AAAA"}}',
        b'{"PatientComments": {"vr": "LT", "BulkDataURI": "x"}}',
        b'{"PatientComments": {"vr": "LT", "value": ["x"]}}',
        b'{"ScheduledProcedureStepSequence": {"vr": "SQ", "Foo": [1]}}',
    ],
)
def test_what_its_vr_cannot_hold_is_refused(document: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse(document)


def test_the_greatest_numbers_are_kept_and_answered_with() -> None:
    told = {
        "PregnancyStatus": 65535,
        "DisplayedAreaTopLeftHandCorner": [2147483647, -2147483648],
        "RecommendedDisplayFrameRateInFloat": 3.4028234663852886e38,
        "CTDIvol": -sys.float_info.max,
    }
    found = parse(json.dumps(told).encode())
    assert dict(header.read(header.document(found).encode())) == found
    assert encode_data_set(found, _EXPLICIT)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_json_does_not_have_is_no_number(number: str) -> None:
    with pytest.raises(ValueError, match=number):
        typed({"00189345": Attribute("FD", (number,))})
