from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.errors import BadRequestError
from imagerepo.web.media import parse_media_type
from imagerepo.web.multipart import HEADERS_LIMIT, Begin, Bytes, Parser, boundary_of

Part = tuple[dict[str, str], bytes]


def read(chunks: list[bytes], boundary: bytes = b"b") -> list[Part]:
    """The parts of a body that comes in these chunks."""
    parser = Parser(boundary)
    parts: list[Part] = []
    for chunk in chunks:
        for event in parser.feed(chunk):
            match event:
                case Begin(_, headers):
                    parts.append((dict(headers), b""))
                case Bytes(view):
                    parts[-1] = (parts[-1][0], parts[-1][1] + bytes(view))
                case _:
                    pass
    parser.finish()
    return parts


def body(parts: list[bytes], boundary: bytes = b"b") -> bytes:
    return (
        b"".join(b"--" + boundary + b"\r\nA: 1\r\n\r\n" + part + b"\r\n" for part in parts)
        + b"--"
        + boundary
        + b"--\r\n"
    )


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


def outcome(chunks: list[bytes]) -> list[Part] | str:
    try:
        return read(chunks)
    except BadRequestError as error:
        return str(error)


# What delimiters are made of, so that near misses are common.
near = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"b", b"--b", b"\r\n--", b"\r\n--bb", b"x", b" "])
).map(b"".join)


@given(st.lists(near, min_size=1, max_size=5), st.lists(st.integers(0, 500), max_size=12))
def test_any_chunking_gives_the_same_parts(contents: list[bytes], places: list[int]) -> None:
    data = body(contents)
    assert outcome(cut(data, places)) == outcome([data]) == outcome([data[i : i + 1] for i in range(len(data))])


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.lists(st.integers(0, 2000), max_size=12))
def test_parts_come_back_as_they_were_sent(contents: list[bytes], places: list[int]) -> None:
    boundary = b"a-long-boundary-that-random-bytes-do-not-hold"
    data = body(contents, boundary)
    assert [content for _, content in read(cut(data, places), boundary)] == contents


@given(near, st.lists(st.integers(0, 500), max_size=12))
def test_whatever_comes_is_parts_or_a_refusal(data: bytes, places: list[int]) -> None:
    assert outcome(cut(data, places)) == outcome([data])


def test_views_of_large_chunks_are_not_copies() -> None:
    parser = Parser(b"b")
    list(parser.feed(b"--b\r\n\r\nx"))
    chunk = bytes(1 << 16)
    events = list(parser.feed(chunk))
    assert [event.view.obj is chunk for event in events if isinstance(event, Bytes)] == [True]


def test_preamble_epilogue_and_padding_are_passed_over() -> None:
    data = b"preamble\r\n--b \t\r\nA: 1\r\n\r\none\r\n--b--\r\nepilogue --b\r\n--b\r\n"
    assert read([data]) == [({"a": "1"}, b"one")]


def test_a_part_may_have_neither_headers_nor_content() -> None:
    assert read([b"--b\r\n\r\n--b\r\n\r\nx\r\n--b--"]) == [({}, b""), ({}, b"x")]


def test_headers_are_folded_and_in_lower_case() -> None:
    assert read([b"--b\r\nContent-Type: a/b;\r\n  c=d\r\n\r\n\r\n--b--"])[0][0] == {"content-type": "a/b; c=d"}


def test_a_boundary_within_content_needs_its_line_to_end() -> None:
    assert read([b"--b\r\n\r\nx\r\n--bc\r\n--b-\r\n--b--"]) == [({}, b"x\r\n--bc\r\n--b-")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not occur"),
        (b"--other\r\n\r\nx\r\n--other--", "does not occur"),
        (b"--b\r\nA: 1\r\n", "part 1: the body ends within its headers"),
        (b"--b\r\n\r\nx\r\n--b\r\n\r\ny", "part 2: the body ends without the boundary"),
        (b"--b\r\nno colon\r\n\r\n\r\n--b--", "part 1: 'no colon' is not a header"),
        (b"--b\r\n" + b"A: " + b"x" * HEADERS_LIMIT, "part 1: its headers exceed"),
    ],
)
def test_malformed_bodies_are_refused_by_part(data: bytes, message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        read([data])


def test_the_boundary_may_be_quoted() -> None:
    content_type = parse_media_type('Multipart/Related; TYPE=application/dicom; Boundary="a b:c"', "Content-Type")
    assert boundary_of(content_type) == b"a b:c"
    assert content_type.related == "application/dicom"


@pytest.mark.parametrize("text", ["", '; boundary=""', f"; boundary={'x' * 71}", '; boundary="x "', '; boundary="é"'])
def test_what_is_no_boundary_is_refused(text: str) -> None:
    with pytest.raises(BadRequestError, match="boundary"):
        boundary_of(parse_media_type(f"multipart/related{text}", "Content-Type"))
