"""Power lost: of what was not flushed anything may be gone or garbled; what was acknowledged was flushed.

The whole tree is stopped for a moment and its folder copied. Of the copy's segments all after the last acknowledged
commit, and of the index's log all that no checkpoint had flushed, is cut, zeroed or garbled. Then it starts.
"""

import random
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from imagerepo.adapters.index_sql.engine import connect
from imagerepo.adapters.segments import lines, projection
from tests.harness import segment_editor
from tests.harness.archive import in_segments
from tests.harness.dicom_file import DicomFile
from tests.harness.load import Load, assert_survived, fresh
from tests.harness.requests import store
from tests.harness.server import Server
from tests.harness.stored import walk

PAGE = 4096
_WAL_HEADER, _FRAME = 32, 24 + PAGE

Damage = Callable[[Path, int, random.Random], None]


def cut(path: Path, safe: int, rng: random.Random) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(rng.randint(safe, max(safe, size)))


def _each_lost_page(path: Path, safe: int, rng: random.Random, content: Callable[[int], bytes]) -> None:
    """Pages are lost on their own: any of them, in any order."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(safe // PAGE, size // PAGE + 1):
            start, end = max(safe, page * PAGE), min(size, (page + 1) * PAGE)
            if start < end and rng.random() < 0.5:
                file.seek(start)
                file.write(content(end - start))


def zero(path: Path, safe: int, rng: random.Random) -> None:
    _each_lost_page(path, safe, rng, bytes)


def garble(path: Path, safe: int, rng: random.Random) -> None:
    _each_lost_page(path, safe, rng, rng.randbytes)


def keep(path: Path, safe: int, rng: random.Random) -> None:
    """Nothing of it was lost."""


DAMAGES: tuple[Damage, ...] = (cut, zero, garble, keep)


def flushed(segment: Path, acknowledged: set[tuple[str, str]]) -> int:
    """The end of the last commit that holds something acknowledged: all before it was flushed."""
    end = 64  # the header, flushed when the segment was begun
    for found in segment_editor.commits(segment):
        head, journal = lines.parse_body(found.body, segment.name)
        named = {
            (one.instance_uid, one.digest.hex())
            for line in journal
            for one in lines.stores(lines.parse_line(line, ""), head.number)
        }
        if named & acknowledged:
            end = found.record.end
    return end


def applied(data: Path) -> dict[str, int]:
    """Up to where the index has each segment: it has nothing that was not flushed, acknowledged or not yet."""
    with tempfile.TemporaryDirectory() as folder:
        for path in data.glob("index.sqlite*"):
            shutil.copy(path, folder)
        connection = connect(Path(folder) / "index.sqlite")
        try:
            return projection.applied(connection)
        finally:
            connection.close()


def flushed_log(data: Path) -> int:
    """Bytes of the index's log that a checkpoint flushed, or may be about to (SQLite's file format, section 4.6)."""
    shared = data / "index.sqlite-shm"
    if not shared.exists() or shared.stat().st_size < 136:
        return 0
    content = shared.read_bytes()
    (backfilled,) = struct.unpack_from("<I", content, 96)
    (attempted,) = struct.unpack_from("<I", content, 128)
    return _WAL_HEADER + max(backfilled, attempted) * _FRAME


def lose_power(data: Path, acknowledged: list[DicomFile], rng: random.Random) -> str:
    """Damage what may be damaged; says how."""
    names = {(file.instance, blake3(file.data_set).hexdigest()) for file in acknowledged}
    said = []
    indexed = applied(data)
    for path in segment_editor.segments(data):
        damage = rng.choice(DAMAGES)
        safe = max(flushed(path, names), indexed.get(path.name, 0))
        said.append(f"{path.name} after {safe}: {damage.__name__}")
        damage(path, safe, rng)
    log = data / "index.sqlite-wal"
    if log.exists() and (safe := flushed_log(data)) < log.stat().st_size:
        damage = rng.choice(DAMAGES)
        said.append(f"{log.name} after {safe}: {damage.__name__}")
        damage(log, safe, rng)
    (data / "index.sqlite-shm").unlink(missing_ok=True)
    return ", ".join(said)


def start_again(data: Path) -> None:
    """Replay as a server does, and store something more."""
    with in_segments(data) as archive:
        assert archive.commits.commit([store(fresh(1))])[0].error is None


def lose_power_often(folder: Path, seed: int, copies: int, cuts: int) -> int:
    rng = random.Random(seed)
    load = Load(seed, sizes=(2048, 20_000, 300_000))
    load.sent[fresh(1).instance] = {fresh(1).data_set}
    frozen: list[tuple[Path, list[DicomFile]]] = []
    with Server(folder / "data", workers=2, storage__segment_size=4 << 20, storage__reserve=0) as server:
        load.start(server, dimse=3, stow=2)
        for number in range(copies):
            load.await_acknowledged(len(load.acknowledged) + rng.randrange(5, 60))
            acknowledged = load.snapshot()
            server.freeze()
            frozen.append((folder / f"frozen-{number}", acknowledged))
            shutil.copytree(server.data, frozen[-1][0])
            server.thaw()
        server.kill()
        load.join()
    for place, acknowledged in frozen:
        for _ in range(cuts):
            cut_and_start(folder, place, acknowledged, load, rng)
    return len(frozen) * cuts


def cut_and_start(folder: Path, frozen: Path, acknowledged: list[DicomFile], load: Load, rng: random.Random) -> None:
    copy = folder / "copy"
    shutil.copytree(frozen, copy)
    how = lose_power(copy, acknowledged, rng)
    try:
        start_again(copy)
        assert_survived(load, acknowledged, walk(copy).data_sets)
    except BaseException as error:
        error.add_note(f"seed {load.seed}, {frozen.name}: {how}")
        raise
    shutil.rmtree(copy)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_acknowledged_survives_loss_of_power(tmp_path: Path, seed: int) -> None:
    assert lose_power_often(tmp_path, seed, copies=4, cuts=5) == 20


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 120))
def test_what_was_acknowledged_survives_loss_of_power_often(tmp_path: Path, seed: int) -> None:
    lose_power_often(tmp_path, seed, copies=8, cuts=8)
