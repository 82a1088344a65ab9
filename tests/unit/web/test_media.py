import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.errors import BadRequestError
from imagerepo.web.coding import CODINGS
from imagerepo.web.media import choose_coding, parse_accept, parse_media_type


def test_the_best_liked_comes_first() -> None:
    accepted = parse_accept("text/a;q=0.5, text/b, */*;q=0.1, text/c;q=0")
    assert [one.name for one in accepted] == ["text/b", "text/a", "*/*"]


def test_the_more_specific_comes_first_among_equals() -> None:
    assert [one.name for one in parse_accept("*/*, image/*, image/jpeg")] == ["image/jpeg", "image/*", "*/*"]


def test_quoted_values_may_hold_separators() -> None:
    (one,) = parse_accept(r'multipart/related; type="a,b;c\"d" ; Transfer-Syntax=*')
    assert one.parameters == {"type": 'a,b;c"d', "transfer-syntax": "*"}


def test_values_that_should_be_quoted_need_not_be() -> None:
    (one,) = parse_accept("multipart/related; type=application/dicom+json")
    assert one.covers_related("application/dicom+json")
    assert not one.covers_related("application/dicom")


@pytest.mark.parametrize("header", ["/", "a/b;q=2", "a/b;q=x", "a/b c/d", "a/b;=x", 'a/b;c="d', "a/b;q=0.1234"])
def test_malformed_headers_are_refused(header: str) -> None:
    with pytest.raises(BadRequestError, match="Accept"):
        parse_accept(header)


@given(st.text('abc/*;=,"\\ q01.', max_size=60))
def test_any_header_is_parsed_or_refused(header: str) -> None:
    for parse in (parse_accept, lambda text: parse_media_type(text, "Content-Type")):
        with contextlib.suppress(BadRequestError):
            parse(header)


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", "identity"),
        ("gzip", "gzip"),
        ("gzip, zstd", "zstd"),
        ("gzip, zstd;q=0.5", "gzip"),
        ("*", "zstd"),
        ("*, zstd;q=0", "gzip"),
        ("gzip;q=0", "identity"),
        ("identity, gzip;q=0.5", "identity"),
        ("br, deflate", "identity"),
        ("GZIP", "gzip"),
    ],
)
def test_the_coding_follows_the_quality(header: str, chosen: str) -> None:
    assert choose_coding(header, CODINGS) == chosen
