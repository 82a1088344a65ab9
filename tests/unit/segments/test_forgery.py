"""What a sender puts into its bytes never becomes a record, wherever a torn one makes readers look for the next."""

from pathlib import Path

import pytest

from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.format import Kind
from imagerepo.errors import NotFoundError
from imagerepo.model import checksum
from tests.harness import segment_editor
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct
from tests.harness.requests import store


def test_a_commit_hidden_in_an_upload_that_a_crash_cut_off_stays_bytes(tmp_path: Path) -> None:
    first = ct(1)
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(first)])
    (path,) = segment_editor.segments(tmp_path)
    (found,) = segment_editor.commits(path)
    head, line = found.body.split(b"\n")
    fields = lines.parse_line(line, "here")
    fields.update(institution="victim", commit=999, instance="6.6.6", seq=1, prev="0" * 64)
    body = lines.commit_body(999, lines.parse_body(head, "here")[0].writer, [], [lines._encode(fields)])
    hidden = segment_format.record_header(Kind.COMMIT, b"guessed?", len(body), 999, checksum.crc32(body, 0)) + body
    upload = hidden + bytes(1000)
    torn = segment_format.record_header(Kind.DATA, segment_editor.seal(path), len(upload), 0, 0)
    with path.open("ab") as file:
        file.write(torn + upload[:-20])
    with in_segments(tmp_path) as archive:
        assert archive.bytes_of(first.instance)
        with pytest.raises(NotFoundError):
            archive.bytes_of("6.6.6", institution="victim")


def test_records_after_a_torn_one_are_found_by_the_seal(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        archive.commits.commit([store(ct(2))])
        archive.commits.commit([store(ct(3))])
    (path,) = segment_editor.segments(tmp_path)
    segment_editor.flip(path, segment_editor.commits(path)[0].record.offset + 3)
    assert [one.record.number for one in segment_editor.commits(path)] == [2, 3]
