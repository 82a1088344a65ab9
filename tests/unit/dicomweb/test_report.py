import json

import pytest

from imagerepo.dicomweb.report import Report
from imagerepo.errors import BadDicomError, ImagerepoError, OutOfSpaceError, UnavailableError


class BusyError(UnavailableError):
    """Another one that may be retried."""


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([OutOfSpaceError("full"), OutOfSpaceError("full")], 507),
        ([UnavailableError("busy")], 503),
        ([BusyError("busy")], 503),
        ([OutOfSpaceError("full"), UnavailableError("busy")], 503),
        ([OutOfSpaceError("full"), BadDicomError("not DICOM")], 409),
    ],
)
def test_what_may_be_sent_again_is_not_a_conflict(errors: list[ImagerepoError], status: int) -> None:
    report = Report("http://a")
    for number, error in enumerate(errors, 1):
        report.refuse(error, number)
    assert report.status == status


def test_a_sentence_that_is_too_long_for_a_comment_is_whole_in_a_warning() -> None:
    sentence = f'SOP Class UID (0008,0016) is "{"1" * 70}" and Zoë\\ asks why\r\nX: y'
    report = Report("https://pacs.example:8443/dicom")
    report.refuse(BadDicomError("short"), 1)
    report.refuse(BadDicomError(sentence), 2)
    comments = [one["00000902"]["Value"][0] for one in json.loads(report.encode())["0008119A"]["Value"]]
    assert comments == ["part 1: short", f"part 2: {sentence}"[:63] + "…"]
    ((name, value),) = report.headers()
    assert name == b"warning"
    assert value.startswith(b'299 pacs.example:8443 "part 2: SOP Class UID (0008,0016) is \\"111')
    assert value.endswith(b'and Zo?\\\\ asks why??X: y"')


def test_warnings_are_few_however_many_parts_are_refused() -> None:
    report = Report("http://a")
    for number in range(1000):
        report.refuse(BadDicomError("x" * 1000), number)
    assert len(report.headers()) == 8
    assert sum(len(value) for _, value in report.headers()) < 8192
