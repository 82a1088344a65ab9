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
