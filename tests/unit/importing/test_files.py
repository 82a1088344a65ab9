"""Files, folders, archives and media as candidates; no server, no store."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest
import zstandard

from imagerepo.adapters.import_files import files as module
from imagerepo.adapters.import_files.files import HELD, Files
from imagerepo.adapters.import_files.walk import walk
from imagerepo.model.imports import Candidate, Ended, File, Passed, Thing, Unusable, Why
from tests.harness.dicom_file import PREAMBLE, DicomFile, ct, element, meta

ONE, TWO, THREE = ct(1), ct(2), ct(3, series=2)


def nothing_known(_keys: Collection[bytes]) -> set[bytes]:
    return set()


def things(*paths: Path, known: Iterable[bytes] = ()) -> list[Thing]:
    noted = set(known)
    source = Files(paths, lambda keys: noted & set(keys))
    return [thing for unit in source.units() for thing in source.things(unit)]


def content(candidate: Candidate) -> bytes:
    if isinstance(candidate.content, bytes):
        return candidate.content
    with candidate.content.open() as stream:
        return stream.read()


def found(*paths: Path) -> dict[str, bytes]:
    """Bytes of candidates by what follows the first path."""
    start = len(str(paths[0])) + 1
    return {one.place[start:]: content(one) for one in things(*paths) if isinstance(one, Candidate)}


def unusable(*paths: Path) -> dict[str, str]:
    start = len(str(paths[0])) + 1
    return {one.place[start:]: one.reason for one in things(*paths) if isinstance(one, Unusable)}


def passed(*paths: Path) -> dict[str, Why]:
    start = len(str(paths[0])) + 1
    return {one.place[start:]: one.why for one in things(*paths) if isinstance(one, Passed)}


def zipped(members: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return made.getvalue()


def tarred(members: Iterable[tuple[str, bytes]]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def directory(*file_ids: str) -> bytes:
    """A DICOMDIR with one record a file."""
    records = b""
    for one in file_ids:
        record = element(0x00041430, "CS", "IMAGE") + element(0x00041500, "CS", one)
        records += b"\xfe\xff\x00\xe0" + len(record).to_bytes(4, "little") + record
    sequence = element(0x00041130, "CS", "SET") + element(0x00041220, "SQ", records)
    return meta("1.2.840.10008.1.3.10", "1.2.3.4") + sequence


def test_a_folder_is_walked_in_order_of_names_and_what_is_not_dicom_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(TWO.part10)
    (tmp_path / "a.dcm").write_bytes(ONE.part10)
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "._a.dcm").write_bytes(b"\0\5\x16\7" + bytes(200))  # macOS puts these beside files
    assert found(tmp_path) == {"a.dcm": ONE.part10, "b/x": TWO.part10}
    assert unusable(tmp_path) == {}
    assert set(passed(tmp_path)) == {"readme.txt", "empty", "._a.dcm"}


def test_a_candidate_knows_its_names_and_weight(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(THREE.part10)
    (one,) = things(tmp_path / "a")
    assert isinstance(one, Candidate)
    assert one.names is not None
    assert (one.names.study, one.names.series, one.names.instance) == (THREE.study, THREE.series, THREE.instance)
    assert one.size == one.weight == len(THREE.part10)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.dcm", b"no image", "no DICM"),
        ("a.DCM", b"", "no DICM"),
        ("bare", element(0x00080005, "CS", "ISO_IR 100") + ONE.data_set, "without File Meta"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(300), "unpack"),
        ("cd.iso", bytes(600), "unpack"),
        ("a", meta("1.2", "1.2") + element(0x00080018, "UI", "1.x") + element(0x00200010, "SH", ""), "UID"),
        ("a", PREAMBLE, "Transfer Syntax"),
    ],
)
def test_what_should_have_been_an_image_is_told(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert said in unusable(tmp_path)[name]


def test_a_file_that_is_damaged_behind_its_beginning_goes_to_the_server_which_says_more(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(ONE.part10[:-100])
    (tmp_path / "b").write_bytes(ONE.part10[:200])
    assert list(found(tmp_path)) == ["a"] or list(found(tmp_path)) == ["a", "b"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(ONE.part10)
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    (tmp_path / "in" / "self").symlink_to("self")
    (tmp_path / "in" / "nothing").symlink_to("gone")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "in" / "a")
    os.mkfifo(tmp_path / "in" / "pipe")
    assert set(found(tmp_path / "in")) == {"a", "loop/elsewhere"}
    assert set(unusable(tmp_path / "in")) == {"nothing", "self"}


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert [type(one) for one in things(tmp_path / "none")] == [Unusable]


def test_what_is_left_out_is_not_walked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_bytes(ONE.part10)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    source = Files([tmp_path], nothing_known, [tmp_path / "data"])
    assert list(source.units()) == []


def test_names_of_any_bytes_are_walked(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.dcm")
    (tmp_path / name).write_bytes(ONE.part10)
    assert list(found(tmp_path)) == [name]


def test_a_large_folder_is_sorted_in_portions_and_nothing_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagerepo.adapters.import_files.walk._PORTION", 3)
    for number in range(11):
        (tmp_path / f"{number:02}").touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "x").touch()
    assert len({one.path for one in walk([tmp_path]) if isinstance(one, File)}) == 12


def test_units_are_bounded_in_files_and_bytes(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number:03}").touch()
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 30)
    units = list(Files([tmp_path], nothing_known).units())
    assert [len(unit) for unit in units] == [256, 256, 88, 1]


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    large = ct(1, size=HELD + 64)
    (tmp_path / "a").write_bytes(large.part10)
    (one,) = things(tmp_path)
    assert isinstance(one, Candidate)
    assert one.held == 0
    assert content(one) == large.part10


def test_a_member_that_is_large_is_not_held_in_memory_and_may_be_read_twice(tmp_path: Path) -> None:
    large = ct(1, size=HELD + 64)
    (tmp_path / "a.zip").write_bytes(zipped([("x", large.part10)], zipfile.ZIP_STORED))
    one = next(thing for thing in things(tmp_path) if isinstance(thing, Candidate))
    assert one.held == 0
    assert one.size == len(large.part10)
    assert content(one) == content(one) == large.part10


@pytest.mark.parametrize(
    "pack",
    [
        zipped,
        tarred,
        lambda members: gzip.compress(tarred(members)),
        lambda members: bz2.compress(tarred(members)),
        lambda members: lzma.compress(tarred(members)),
        lambda members: zstandard.ZstdCompressor().compress(tarred(members)),
        lambda members: zipped([("inner.zip", zipped(members))]),
        lambda members: tarred([("inner.tgz", gzip.compress(tarred(members)))]),
        lambda members: zipped([("1.zip", zipped([("2.tar", tarred(members))]))]),
    ],
)  # fmt: skip
def test_archives_are_read_whatever_they_are_called(tmp_path: Path, pack) -> None:
    members = [("s/1.dcm", ONE.part10), ("s/2", TWO.part10), ("notes.txt", b"x"), ("DICOMDIR", directory("S\\1"))]
    (tmp_path / "export").write_bytes(pack(members))
    assert sorted(found(tmp_path).values()) == sorted([ONE.part10, TWO.part10])
    assert unusable(tmp_path) == {}
    assert sorted(passed(tmp_path).values()) == [Why.DIRECTORY, Why.NOT_DICOM]


def test_a_single_file_may_be_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.dcm.gz").write_bytes(gzip.compress(ONE.part10))
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"log"))
    assert found(tmp_path) == {"a.dcm.gz": ONE.part10}
    assert passed(tmp_path) == {"log.gz": Why.NOT_DICOM}


def test_archives_in_too_many_archives_are_told(tmp_path: Path) -> None:
    data = zipped([("a", ONE.part10)])
    for _ in range(3):
        data = zipped([("z", data)])
    (tmp_path / "z.zip").write_bytes(data)
    assert found(tmp_path) == {}
    assert "archives in more than" in unusable(tmp_path)["z.zip!z!z!z"]


def test_an_encrypted_member_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    data = bytearray(zipped([("secret", ONE.part10), ("open", TWO.part10)]))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1  # the flag in the archive's directory, and before the member
    data[6] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert found(tmp_path) == {"a.zip!open": TWO.part10}
    assert "encrypted" in unusable(tmp_path)["a.zip!secret"]


def test_a_member_of_an_unknown_method_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    data = bytearray(zipped([("odd", ONE.part10), ("open", TWO.part10)]))
    at = data.index(b"PK\x01\x02")
    data[at + 10] = data[8] = 9  # Deflate64, as Windows writes what is large
    (tmp_path / "a.zip").write_bytes(data)
    assert found(tmp_path) == {"a.zip!open": TWO.part10}
    assert "not supported" in unusable(tmp_path)["a.zip!odd"]


def test_a_damaged_member_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    data = bytearray(zipped([("bad", ONE.part10), ("open", TWO.part10)], zipfile.ZIP_STORED))
    data[1000] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert found(tmp_path) == {"a.zip!open": TWO.part10}
    assert "CRC" in unusable(tmp_path)["a.zip!bad"]


def test_a_zip_that_is_cut_off_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped([("x", ONE.part10), ("y", TWO.part10)])[:-400])
    assert "cannot be read" in unusable(tmp_path)["a.zip"]


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
@pytest.mark.parametrize("missing", [1024, 1024 + 300, 512 + 1024, 9000])
def test_of_a_tar_that_is_cut_off_all_that_is_whole_is_read_and_the_rest_told(tmp_path: Path, packed, missing: int):
    whole = tarred([("x", ONE.part10), ("y", ct(5, size=20_000).part10)])
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    (tmp_path / "a.tar").write_bytes(packed(whole[: end + 1024 - missing]))
    assert found(tmp_path)["a.tar!x"] == ONE.part10
    assert "a.tar" in unusable(tmp_path)


def test_a_compressed_tar_whose_stream_is_cut_off_is_told(tmp_path: Path) -> None:
    packed = gzip.compress(tarred([("x", ONE.part10), ("y", ct(5, size=90_000).part10)]))
    (tmp_path / "a.tgz").write_bytes(packed[: len(packed) // 2])
    assert list(found(tmp_path)) == ["a.tgz!x"]
    assert "cut off" in " ".join(unusable(tmp_path).values())


def test_members_of_one_name_are_all_read(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        (tmp_path / "a.zip").write_bytes(zipped([("x", ONE.part10), ("x", TWO.part10)]))
    candidates = [one for one in things(tmp_path) if isinstance(one, Candidate)]
    assert [content(one) for one in candidates] == [ONE.part10, TWO.part10]
    assert len({one.key for one in candidates}) == 2


def test_progress_of_an_archive_sums_up_to_its_size(tmp_path: Path) -> None:
    for name, data in (("a.zip", zipped([("x", ONE.part10), ("y", TWO.part10)])), ("b.tar", tarred([("x", b"")]))):
        (tmp_path / name).write_bytes(data)
    assert sum(one.weight for one in things(tmp_path)) == sum(one.stat().st_size for one in tmp_path.iterdir())


def test_what_is_noted_is_not_read_again_but_what_has_changed_is(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(ONE.part10)
    (candidate,) = things(file)
    assert isinstance(candidate, Candidate)
    assert [type(one) for one in things(file, known=[candidate.key])] == [Passed]
    os.utime(file, ns=(1, 1))
    assert [type(one) for one in things(file, known=[candidate.key])] == [Candidate]


def test_members_are_noted_one_by_one_and_archives_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(zipped([("x", ONE.part10), ("y", TWO.part10)]))
    first, _second, end = things(file)
    assert isinstance(first, Candidate)
    assert isinstance(end, Ended)
    assert [type(one) for one in things(file, known=[first.key])] == [Passed, Candidate, Ended]
    assert [type(one) for one in things(file, known=[end.whole.key])] == [Passed]


def medium(folder: Path, **members: DicomFile) -> None:
    for name, one in members.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.part10)


def test_of_a_dicomdir_given_by_name_what_it_names_is_imported_in_whatever_case(tmp_path: Path) -> None:
    medium(tmp_path, dicom__im1=ONE, dicom__IM2=TWO, other=THREE)
    (tmp_path / "dicom" / "im3.;1").write_bytes(THREE.part10)
    (tmp_path / "DICOMDIR").write_bytes(directory("DICOM\\IM1", "DICOM\\IM3", "DICOM\\GONE", "..\\IM1"))
    told = things(tmp_path / "DICOMDIR")
    assert [Path(one.place).name for one in told if isinstance(one, Candidate)] == ["im1", "im3.;1"]
    missing = [one for one in told if isinstance(one, Unusable)]
    assert [Path(one.place).name for one in missing] == ["GONE", "IM1"]
    assert all("not there" in one.reason for one in missing)


def test_in_a_folder_what_a_dicomdir_names_is_imported_once_and_what_is_missing_told(tmp_path: Path) -> None:
    medium(tmp_path, d__im1=ONE)
    (tmp_path / "DICOMDIR").write_bytes(directory("D\\IM1", "D\\IM2"))
    assert found(tmp_path) == {"d/im1": ONE.part10}
    assert list(unusable(tmp_path)) == ["D/IM2"]


def test_a_damaged_dicomdir_is_told(tmp_path: Path) -> None:
    medium(tmp_path, im1=ONE)
    (tmp_path / "DICOMDIR").write_bytes(directory("IM1")[:-3])
    assert found(tmp_path) == {"im1": ONE.part10}
    assert "damaged" in unusable(tmp_path)["DICOMDIR"]


def test_what_a_dicomdir_names_and_is_no_image_is_told(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("x")
    (tmp_path / "DICOMDIR").write_bytes(directory("README", "DICOMDIR"))
    assert sum(isinstance(one, Unusable) for one in things(tmp_path / "DICOMDIR")) == 2


def test_a_bomb_ends_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NESTED_LIMIT", 1 << 20)
    (tmp_path / "b.zip").write_bytes(zipped([("z.zip", zipped([("y", bytes(9 << 20))], zipfile.ZIP_STORED))]))
    assert "more than" in unusable(tmp_path)["b.zip!z.zip"]
