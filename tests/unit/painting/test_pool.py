"""Painters: what one of them does not survive, the pool does."""

import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagerepo.adapters.painting.pool import Limits, PainterPool
from imagerepo.errors import NotAcceptableError, UnavailableError
from imagerepo.model.picture import Coding, Sheet, View
from imagerepo.model.uids import Uid
from tests.harness.dicom_file import EXPLICIT, element, head
from tests.harness.painters import end, painters

VIEW = View(Coding.PNG)


def number(tag: int, value: int) -> bytes:
    return element(tag, "US", struct.pack("<H", value))


def job(side: int, *, frame_bytes: int | None = None) -> tuple[Sheet, list[bytes]]:
    """A grey image of `side` x `side` bytes; its header may promise more than there is."""
    header = number(0x00280002, 1) + element(0x00280004, "CS", "MONOCHROME2") + number(0x00280010, side)
    header += number(0x00280011, side) + number(0x00280100, 8) + number(0x00280101, 8) + number(0x00280103, 0)
    pixels = bytes(side * side if frame_bytes is None else frame_bytes)
    start = head(0x7FE00010, "OB", len(pixels))
    sheet = Sheet(Uid(EXPLICIT), len(header), len(start), len(pixels), encapsulated=False, frame=1, place=0)
    return sheet, [header, start, pixels]


@pytest.fixture
def pool() -> Iterator[PainterPool]:
    made = PainterPool(Limits(painters=1, memory=512 << 20, seconds=20))
    yield made
    made.close()


def ending(pieces: list[bytes], how: signal.Signals) -> Iterator[bytes]:
    """A job amid which the painter ends: it has not come whole yet."""
    yield pieces[0]
    for pid in painters():
        end(pid, how)
    yield from pieces[1:]


def test_a_painter_is_used_again(pool: PainterPool) -> None:
    sheet, pieces = job(16)
    assert pool.paint(sheet, pieces, VIEW).startswith(b"\x89PNG")
    first = painters()
    assert pool.paint(sheet, pieces, VIEW).startswith(b"\x89PNG")
    assert (len(first), painters()) == (1, first)


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        (signal.SIGSEGV, NotAcceptableError, "the decoder crashes on it"),
        (signal.SIGALRM, NotAcceptableError, "longer than 20 seconds"),
        (signal.SIGKILL, UnavailableError, "from outside"),
    ],
)
def test_a_job_that_ends_its_painter_is_refused_and_the_next_one_is_done(
    pool: PainterPool, how: signal.Signals, error: type[Exception], said: str
) -> None:
    sheet, pieces = job(16)
    with pytest.raises(error, match=said):
        pool.paint(sheet, ending(pieces, how), VIEW)
    assert pool.paint(sheet, pieces, VIEW).startswith(b"\x89PNG")


def test_a_job_that_takes_too_long_is_given_up() -> None:
    pool = PainterPool(Limits(painters=1, memory=512 << 20, seconds=0.01))
    sheet, pieces = job(4096)
    with pytest.raises(NotAcceptableError, match=r"longer than 0\.01 seconds"):
        pool.paint(sheet, pieces, VIEW)
    assert painters() == []


def test_a_job_that_takes_too_much_memory_is_given_up(pool: PainterPool) -> None:
    sheet, pieces = job(65000, frame_bytes=64 << 20)
    with pytest.raises(NotAcceptableError):
        pool.paint(sheet, pieces, VIEW)
    large, many = job(16000)
    with pytest.raises(NotAcceptableError, match="more than 536870912 bytes"):
        pool.paint(large, many, VIEW)
    small, few = job(16)
    assert pool.paint(small, few, VIEW).startswith(b"\x89PNG")


def test_a_job_whose_bytes_cannot_be_read_leaves_no_painter_waiting_for_them(pool: PainterPool) -> None:
    sheet, pieces = job(16)

    def failing() -> Iterator[bytes]:
        yield pieces[0]
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        pool.paint(sheet, failing(), VIEW)
    assert painters() == []
    assert pool.paint(sheet, pieces, VIEW).startswith(b"\x89PNG")


def test_as_many_paint_at_once_as_may() -> None:
    pool = PainterPool(Limits(painters=2, memory=512 << 20, seconds=20))
    sheet, pieces = job(16)
    meeting = threading.Barrier(2, timeout=20)
    most: list[int] = []

    def together() -> Iterator[bytes]:
        yield pieces[0]
        meeting.wait()
        most.append(len(painters()))
        yield from pieces[1:]

    try:
        with ThreadPoolExecutor(2) as threads:
            made = list(threads.map(lambda _: pool.paint(sheet, together(), VIEW), range(2)))
        assert made[0] == made[1]
        assert max(most) == 2
    finally:
        pool.close()
    assert painters() == []


def test_a_painter_sees_nothing_of_the_server_s_environment(
    pool: PainterPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEREPO_SECRET", "do not tell")
    sheet, pieces = job(16)
    pool.paint(sheet, pieces, VIEW)
    (painter,) = painters()
    assert b"do not tell" not in Path(f"/proc/{painter}/environ").read_bytes()
    opened = [str(one.readlink()) for one in Path(f"/proc/{painter}/fd").iterdir()]
    assert all(one.startswith("pipe:") or one == os.devnull for one in opened)


@pytest.mark.parametrize("worker", ["http_worker", "dimse_worker", "readying_worker"])
def test_a_worker_imports_nothing_that_decodes(worker: str) -> None:
    heavy = ("numpy", "PIL", "gdcm", "openjpeg", "jpeg_ls", "imagerepo.dicom.picture")
    program = f"import sys, imagerepo.processes.{worker}; print([one for one in {heavy} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
