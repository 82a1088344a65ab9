import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from imagerepo.rest.zipstream import Directory, Entry, Length

MOMENT = datetime(2026, 5, 17, 13, 37, 42, tzinfo=UTC)


def archive(files: dict[str, bytes]) -> bytes:
    directory = Directory()
    out = io.BytesIO()
    for name, content in files.items():
        out.write(directory.add(Entry(name.encode(), len(content), zlib.crc32(content), MOMENT)))
        out.write(content)
    out.write(directory.end())
    return out.getvalue()


def length(entries: list[tuple[int, int]]) -> int:
    one = Length()
    for name, size in entries:
        one.add(name, size)
    return one.total()


@given(st.dictionaries(st.text("0123456789.", min_size=1, max_size=60), st.binary(max_size=200), max_size=20))
@settings(max_examples=50)
def test_zipfile_reads_what_was_written(files: dict[str, bytes]) -> None:
    data = archive(files)
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == files
        assert all(one.date_time == (2026, 5, 17, 13, 37, 42) for one in opened.infolist())
    assert len(data) == length([(len(name), len(content)) for name, content in files.items()])


def test_unzip_finds_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive({f"IMG/1.2/{i}.dcm": bytes(i) for i in range(300)}))
    unzip = shutil.which("unzip")
    if unzip is None:
        with zipfile.ZipFile(path) as opened:
            assert opened.testzip() is None
        return
    done = subprocess.run([unzip, "-tqq", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


class Sparse(io.RawIOBase):
    """A file whose entries' bytes are zeros that take no room."""

    def __init__(self, pieces: list[tuple[bytes, int]]) -> None:
        self._pieces = pieces  # written bytes, then so many zeros
        self._size = sum(len(head) + gap for head, gap in pieces)
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        size = self._size - self._at if size < 0 else min(size, self._size - self._at)
        found = bytearray(size)
        start = 0
        for head, gap in self._pieces:
            low, high = max(self._at, start), min(self._at + size, start + len(head))
            if low < high:
                found[low - self._at : high - self._at] = head[low - start : high - start]
            start += len(head) + gap
        self._at += size
        return bytes(found)


def test_zip64_holds_entries_beyond_four_gibibytes() -> None:
    directory = Directory()
    sizes = [5 << 30, 10, (1 << 32) - 1, 7]
    pieces = [
        (directory.add(Entry(f"IMG/{number}".encode(), size, 0, MOMENT)), size) for number, size in enumerate(sizes)
    ]
    pieces.append((directory.end(), 0))
    with zipfile.ZipFile(Sparse(pieces)) as opened:  # type: ignore[arg-type]
        entries = opened.infolist()
        assert [one.file_size for one in entries] == sizes
        for one in entries:
            opened.open(one).close()  # checks the local header against the directory
    assert sum(len(head) + gap for head, gap in pieces) == length([(5, size) for size in sizes])


def test_zip64_holds_more_than_65535_entries() -> None:
    directory = Directory()
    heads = [directory.add(Entry(b"%d" % number, 0, 0, MOMENT)) for number in range(70_000)]
    data = b"".join(heads) + directory.end()
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert len(opened.namelist()) == 70_000
    assert len(data) == length([(len(b"%d" % number), 0) for number in range(70_000)])


def test_dates_before_1980_are_the_earliest() -> None:
    early = Directory().add(Entry(b"a", 0, 0, datetime(1970, 1, 1, tzinfo=UTC)))
    assert struct.unpack_from("<H", early, 12)[0] >> 9 == 0
