"""docs/format.md against real segments, read by the document's own tables."""

# pyright: reportPrivateUsage=false
# The page states what the modules keep to themselves.

import base64
import json
import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydicom.data import get_testdata_file

from imagerepo.adapters.bundles import ledger_format, roots
from imagerepo.adapters.segments import catalog, folder, lines, numbers
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.commits import SegmentCommits
from imagerepo.adapters.segments.verify import ChainId
from imagerepo.flows.ingest.ingest import Arrival, Ingest, Limits
from imagerepo.model.caller import Caller, Protocol, Role
from imagerepo.model.events import Action, JournalRequest, OnDifference
from imagerepo.settings import Storage
from tests.docs.reading import DOCS, code, rows, section, tables

PAGE = DOCS / "format.md"
CALLER = Caller("default", "anonymous", "127.0.0.1", Protocol.HTTP, frozenset({Role.ADMIN}))
IN_MEMORY = 1 << 20  # bytes
SMALL, LARGE = "CT_small.dcm", "examples_overlay.dcm"


def given_struct(title: str) -> str:
    """The struct string of a header, as the page states it."""
    found = re.search(r"Struct `([^`]+)`, (\d+) bytes", section(PAGE, title))
    assert found is not None
    assert struct.calcsize(found[1]) == int(found[2])
    return found[1]


@dataclass(frozen=True, slots=True)
class Field:
    """A row of a header's table."""

    offset: int  # bytes
    size: int  # bytes
    kind: str

    def read(self, head: bytes) -> bytes | int | str:
        raw = head[self.offset : self.offset + self.size]
        if self.kind == "integer":
            return int.from_bytes(raw, "little")
        return raw.rstrip(b"\0").decode() if self.kind == "text" else raw


def fields(title: str) -> list[Field]:
    return [Field(int(row["offset"]), int(row["bytes"]), row["type"]) for row in rows(section(PAGE, title), "offset")]


def line_fields(title: str) -> set[str]:
    """Names that a table of fields gives."""
    return {code(row["field"])[0] for row in rows(section(PAGE, title), "field")}


def common_fields() -> set[str]:
    before_store = section(PAGE, "Journal lines").split("### store")[0]
    return {code(row["field"])[0] for row in rows(before_store, "field")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small and a large instance, and a line of every other action."""
    data = tmp_path_factory.mktemp("format") / "data"
    made, _ = folder.make_ready(data, ["http-0"])
    commits = SegmentCommits(made.place("http-0", Storage()), made.state)
    ingest = Ingest(commits, Limits(100_000, IN_MEMORY, 1 << 30), lambda _: OnDifference.VERSION)
    for name in (SMALL, LARGE):
        with ingest.receiver() as receiver:
            receiver.write(Path(str(get_testdata_file(name))).read_bytes())
            (outcome,) = ingest.store([Arrival(CALLER, receiver.payload())])
        assert outcome.error is None
    entries = {
        Action.REFUSE: (("reason", "no DICOM"), ("instance", "1.2")),
        Action.READ: (("study", "1.2"),),
        Action.READ_COUNT: (("study", "1.2"), ("count", 3)),
        Action.QUERY: (("query", "PatientName=*"),),
        Action.DELETE: (
            *(("study", "9.9"), ("series", "9.9.1"), ("instance", "9.9.1.1")),
            *(("reason", "consent"), ("instances", 1), ("commits", (1,))),
        ),
        Action.HOLD: (("study", "9.9"), ("reason", "consent")),
        Action.RELEASE: (("study", "9.9"), ("reason", "consent")),
        Action.SCHEDULE: (("worklist", "A1"), ("study", "9.9")),
        Action.UNSCHEDULE: (("worklist", "A1"),),
        Action.PERFORM: (("study", "9.9"), ("step", "9.9.9"), ("status", "IN PROGRESS")),
    }
    commits.commit([JournalRequest(CALLER, action, datetime.now(UTC), one) for action, one in entries.items()])
    commits.close()
    return data


def parse(segment: bytes) -> Iterator[tuple[list[bytes | int | str], bytes]]:
    """Records as the page's table of the record header reads them: fields and payload."""
    table = fields("Record header")
    position = struct.calcsize(given_struct("Segment header"))
    size = struct.calcsize(given_struct("Record header"))
    while position < len(segment):
        values = [field.read(segment[position : position + size]) for field in table]
        assert isinstance(values[1], int)
        end = position + size + values[1]
        assert values[-1] == zlib.crc32(segment[position : position + size - 4])
        yield values, segment[position + size : end]
        position = end
    assert position == len(segment)


def segment_of(data: Path) -> bytes:
    (path,) = (data / "segments").iterdir()
    return path.read_bytes()


def journal_of(data: Path) -> list[bytes]:
    bodies = [payload for values, payload in parse(segment_of(data)) if values[0] == b"IRcommit"]
    return [line for body in bodies for line in body.split(b"\n")[1:]]


def test_the_structs_stated_are_the_code_s() -> None:
    assert given_struct("Segment header") == segment_format._SEGMENT.format
    assert given_struct("Record header") == segment_format._RECORD.format


@pytest.mark.parametrize("title", ["Segment header", "Record header"])
def test_a_header_s_table_covers_its_bytes_without_gap(title: str) -> None:
    position = 0
    for field in fields(title):
        assert field.offset == position
        position += field.size
    assert position == struct.calcsize(given_struct(title))


def test_the_version_stated_is_the_code_s() -> None:
    assert PAGE.read_text(encoding="utf-8").startswith(f"# The stored format, version {segment_format.VERSION}\n")


def test_a_segment_header_reads_as_its_table_says(data: Path) -> None:
    head = segment_of(data)[:64]
    magic, version, writer, number, seal, reserved, crc32 = (field.read(head) for field in fields("Segment header"))
    assert (magic, version, writer, number) == (b"IRsegmnt", 1, "http-0", 1)
    assert any(seal)
    assert reserved == bytes(16)
    assert crc32 == zlib.crc32(head[:60])


def test_records_read_as_their_table_says(data: Path) -> None:
    kinds: list[object] = []
    sealed = fields("Segment header")[4].read(segment_of(data)[:64])
    for (magic, length, number, crc32, seal, _), payload in parse(segment_of(data)):
        kinds.append(magic)
        assert length == len(payload)
        assert crc32 == zlib.crc32(payload)
        assert seal == sealed
        assert (number == 0) == (magic == b"IRdata01")
    # The large instance is in a file: its commit has no data record.
    assert kinds == [b"IRdata01", b"IRcommit", b"IRcommit", b"IRcommit"]


def test_the_magics_stated_are_the_code_s() -> None:
    text = section(PAGE, "Record header")
    assert all(f"`{kind.value.decode()}`" in text for kind in segment_format.Kind)


def test_a_commit_s_head_has_the_fields_of_its_table(data: Path) -> None:
    for (magic, _, number, *_), payload in parse(segment_of(data)):
        if magic == b"IRcommit":
            head = json.loads(payload.split(b"\n")[0])
            assert set(head) == line_fields("Commit record")
            assert {head["commit"], *(json.loads(line)["commit"] for line in payload.split(b"\n")[1:])} == {number}


def test_every_line_has_the_fields_of_its_tables(data: Path) -> None:
    others: dict[str, set[str]] = {}
    for row in rows(section(PAGE, "Other actions"), "action"):
        others.setdefault(code(row["action"])[0], set()).add(code(row["field"])[0])
    found: set[str] = set()
    for line in journal_of(data):
        entry = json.loads(line)
        own = line_fields("store") if entry["action"] == "store" else others[entry["action"]]
        assert set(entry) == common_fields() | own
        found.add(entry["action"])
    assert found == {"store", *others}


def test_every_action_of_the_code_is_stated() -> None:
    row = next(row for row in rows(section(PAGE, "Journal lines"), "field") if code(row["field"]) == ["action"])
    assert set(code(row["content"])) == set(Action)


def test_the_chain_rule_holds_as_stated(data: Path) -> None:
    before = "0" * 64
    for number, line in enumerate(journal_of(data), start=1):
        entry = json.loads(line)
        assert (entry["seq"], entry["prev"]) == (number, before)
        before = blake3(line).hexdigest()


def test_a_store_line_leads_to_the_bytes_as_sent(data: Path) -> None:
    stored = [entry for line in journal_of(data) if (entry := json.loads(line))["action"] == "store"]
    for entry, name in zip(stored, (SMALL, LARGE), strict=True):
        (store, key, offset, length), *more = entry["ranges"]
        assert (store, more) == ("data", [])
        found = (data / key).read_bytes()[offset : offset + length]
        assert found == Path(str(get_testdata_file(name))).read_bytes()
        assert (entry["size"], entry["crc32"]) == (len(found), zlib.crc32(found))
        data_set, header_end, trailer = entry["layout"]
        assert entry["digest"] == blake3(found[data_set:]).hexdigest()
        assert found[header_end : header_end + 4] == bytes.fromhex("e07f1000")  # (7FE0,0010) in little endian
        assert header_end < trailer <= len(found)
    assert re.fullmatch(r"segments/http-0-\d{8}\.seg", stored[0]["ranges"][0][1])
    assert re.fullmatch(r"files/\d{8}T\d{6}\.\d{6}/[0-9a-f]{24}\.dcm", stored[1]["ranges"][0][1])


def test_the_data_folder_has_what_is_listed_and_nothing_else(data: Path, tmp_path: Path) -> None:
    listing = section(PAGE, "The data folder").split("```")[1]
    listed = {line.split()[0].split("/")[0] for line in listing.strip().splitlines()}
    with folder.FolderLock(shutil.copytree(data, tmp_path / "copy")) as _:
        found = {path.name.removesuffix("-wal").removesuffix("-shm") for path in (tmp_path / "copy").iterdir()}
    assert found <= listed
    # Made on demand, and after damage.
    assert listed - found == {
        "metadata.sqlite", "metadata.sqlite.damaged", "index.sqlite.fresh", "index.sqlite.unreadable",
        "work.sqlite", "work.sqlite.unreadable", "imports",
    }  # fmt: skip


def test_the_run_folder_has_nothing_that_is_not_listed(data: Path) -> None:
    listed = {code(row["file"])[0].rstrip("/") for row in rows(section(PAGE, "run/"), "file")}
    assert {path.name for path in (data / "run").iterdir()} <= listed


def test_shared_state_has_the_sizes_stated() -> None:
    row = next(row for row in rows(section(PAGE, "run/"), "file") if code(row["file"]) == ["numbers"])
    assert f"From byte {numbers._BEGIN} on" in row["content"]
    assert f"{numbers.MARKS:,} marks of {numbers.MARK} bytes" in row["content"]


def test_an_index_made_anew_gives_the_same_answers(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for part in ("segments", "files"):
        shutil.copytree(data / part, copy / part)
    _, replayed = folder.make_ready(copy, ())
    assert (replayed.instances, replayed.damaged) == (2, 0)


def test_a_segment_of_another_version_is_refused_unchanged(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(data / "segments", copy / "segments")
    (path,) = (copy / "segments").iterdir()
    head = bytearray(path.read_bytes())
    head[8] = 2
    head[60:64] = zlib.crc32(head[:60]).to_bytes(4, "little")
    path.write_bytes(head)
    with pytest.raises(segment_format.DamagedError, match="format version 2"):
        catalog.examine(path)
    assert path.read_bytes() == head


def test_a_ledger_object_reads_as_its_tables_say(data: Path) -> None:
    body = b"\n".join(journal_of(data))
    entries = [ledger_format.LedgerEntry(7, "north", "host/start/http-0", 3, 2, 1, body)]
    made = ledger_format.encoded("north", ledger_format.Place(1, 9), ledger_format.BEGIN, entries)
    (writer, number) = (field.read(made[:64]) for field in fields("Segment header")[2:4])
    assert (writer, number) == ("ledger", 9)
    (values, head), (of_commit, payload) = parse(made)
    assert [values[0], values[2], of_commit[0], of_commit[2]] == [b"IRcommit", 0, b"IRcommit", 7]
    page = section(PAGE, "The ledger of a cluster")
    of_object, of_record = ({code(row["field"])[0] for row in table} for table in tables(page))
    assert set(json.loads(head)) == of_object
    said, _, lines_ = payload.partition(b"\n")
    assert set(json.loads(said)) == of_record | line_fields("Commit record")
    assert lines_ == body


def test_a_signed_root_reads_as_its_tables_say() -> None:
    key = Ed25519PrivateKey.generate()
    links = [(ChainId("north", "one"), lines.Link(3, "00" * 32))]
    body, _ = roots.signed(key, roots.BEGIN, roots.Statement(links), datetime.now(UTC))
    outer, inner = (
        {code(row["field"])[0] for row in table} for table in tables(section(PAGE, "Signed roots of a cluster"))
    )
    root = json.loads(body)
    assert set(root) == outer
    key.public_key().verify(base64.b64decode(root["signature"]), root["signed"].encode())
    assert set(json.loads(root["signed"])) == inner


def test_lines_may_have_fields_that_a_reader_does_not_know(data: Path) -> None:
    entry = json.loads(journal_of(data)[0])
    line = json.dumps({**entry, "later": 1}).encode()
    (stored,) = lines.stores(lines.parse_line(line, "here"), 1)
    assert stored.instance_uid == entry["instance"]
