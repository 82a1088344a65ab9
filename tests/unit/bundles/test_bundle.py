"""adapters.bundles.bundle: objects describe themselves, by the format of segments."""

import json
import os
from dataclasses import replace
from pathlib import Path

from imagerepo.adapters.bundles.bundle import ALIGNED, FOOTER, MAGIC, Entry, bundle
from imagerepo.adapters.bundles.spool import Scratch, SpoolFile
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.format import Kind
from imagerepo.model.instance import Range
from tests.harness.dicom_file import ct
from tests.harness.requests import store


def said_of(path: Path) -> list[lines.StoreLine]:
    """What an object says that it holds, read by what reads segments, and by the footer."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        head = os.pread(descriptor, segment_format.SEGMENT_HEADER, 0)
        assert segment_format.is_whole_header(head)
        seal = segment_format.check_segment_header(head, path.name)
        magic, at = FOOTER.unpack(os.pread(descriptor, FOOTER.size, size - FOOTER.size))
        assert magic == MAGIC
        *data, last = segment_format.records(descriptor, seal, 0, size)
        assert {record.kind for record in data} == {Kind.DATA}
        assert (last.kind, last.offset, last.number, last.end) == (Kind.COMMIT, at, 0, size - FOOTER.size)
        for record in [*data, last]:
            assert segment_format.read_payload(descriptor, record) is not None
        _, journal = lines.parse_body(segment_format.read_payload(descriptor, last), path.name)
        return [one for line in journal for one in lines.stores(json.loads(line), 0)]
    finally:
        os.close(descriptor)


def test_a_bundle_says_what_it_holds_and_where(tmp_path: Path) -> None:
    files = [ct(number, size=100 * number) for number in range(1, 6)]
    requests = [store(one) for one in files]
    made = bundle("bucket", "a/key", [Entry(one, 1, one.payload.buffers) for one in requests])
    path = tmp_path / "object"
    path.write_bytes(b"".join(bytes(part) for part in made.parts))
    whole = path.read_bytes()
    assert made.size == len(whole)
    said = said_of(path)
    assert [one.ranges for one in said] == [(where,) for where in made.ranges]
    for file, one in zip(files, said, strict=True):
        (where,) = one.ranges
        assert (where.store, where.key) == ("bucket", "a/key")
        assert whole[where.offset : where.offset + where.length] == file.part10
        assert (one.instance_uid, one.series_uid, one.study_uid) == (file.instance, file.series, file.study)
        assert (one.size, one.version, one.institution) == (len(file.part10), 1, "default")


def test_a_spooled_instance_becomes_an_object_of_the_same_form(tmp_path: Path) -> None:
    file = ct(1, size=1 << 20)
    spool = SpoolFile(Scratch(tmp_path, 0))
    for at in range(0, len(file.part10), 100_000):
        spool.write(file.part10[at : at + 100_000])
    assert list((tmp_path / "spool").iterdir()) == []
    with spool.map() as view:
        assert view[:] == file.part10
    assert spool.read(len(file.part10) - 10, 100) == file.part10[-10:]
    request = replace(store(file), payload=spool)
    with spool.completed(Entry(request, 1, ()), Range("bucket", "key", ALIGNED, spool.size)) as (path, size):
        whole = path.read_bytes()
        assert len(whole) == size
        (said,) = said_of(path)
    assert said.ranges == (Range("bucket", "key", ALIGNED, len(file.part10)),)
    assert whole[ALIGNED : ALIGNED + said.size] == file.part10
    spool.discard()


def test_a_sender_s_bytes_cannot_pass_for_a_record(tmp_path: Path) -> None:
    """A file that holds another object, and a footer, is data and nothing else."""
    inner = bundle("bucket", "inner", [Entry(store(ct(1)), 1, (ct(1).part10,))])
    file = replace(ct(2), pixels=b"".join(bytes(part) for part in inner.parts).ljust(4096, b"\0"))
    made = bundle("bucket", "outer", [Entry(store(file), 1, (file.part10,))])
    path = tmp_path / "object"
    path.write_bytes(b"".join(bytes(part) for part in made.parts))
    assert [one.instance_uid for one in said_of(path)] == [file.instance]


def test_the_footer_is_the_documented_one() -> None:
    text = (Path(__file__).parents[3] / "docs" / "format.md").read_text(encoding="utf-8")
    section = text.partition("## Objects of a cluster\n")[2].partition("\n## ")[0]
    assert f"struct `{FOOTER.format}`, {FOOTER.size} bytes" in section
    assert f"`{MAGIC.decode()}`" in section
