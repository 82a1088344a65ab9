"""`imagerepo import` into a running server and into a data folder: what is stored, told, and done again."""

import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.harness.dicom_file import DicomFile, ct, element, large_header, meta
from tests.harness.server import Server
from tests.harness.stored import walk
from tests.harness.web_client import get
from tests.wire.importing import Run, imported, importer
from tests.wire.tls_serving import place, serving

__all__ = ["importer"]

STUDIES = 3
FILES = [ct(number, study=1 + number % STUDIES, series=number % 2) for number in range(40)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Folders, a zip and a tar, and what else lies on disks."""
    folder = tmp_path / "source"
    (folder / "deep" / "er").mkdir(parents=True)
    for number, file in enumerate(FILES[:20]):
        (folder / ("deep/er" if number % 2 else "deep") / f"{number:03}").write_bytes(file.part10)
    with zipfile.ZipFile(folder / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, file in enumerate(FILES[20:30]):
            archive.writestr(f"DICOM/{number}.dcm", file.part10)
    with tarfile.open(folder / "backup.tgz", "w:gz") as archive:
        for number, file in enumerate(FILES[30:]):
            info = tarfile.TarInfo(f"{number}")
            info.size = len(file.part10)
            archive.addfile(info, io.BytesIO(file.part10))
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("served") / "data", workers=1, storage__reserve=0) as one:
        yield one


def same(server: Server, files: list[DicomFile]) -> bool:
    return all(get(server.http, f"/image/{file.instance}") == (200, file.part10) for file in files)


def test_into_a_server_all_is_stored_as_it_is_and_a_second_run_asks_nothing(
    server: Server, source: Path, importer: Run
) -> None:
    first = imported(importer, source, "--to", server.url)
    assert (first["stored"], first["already"], first["refused"], first["not_dicom"]) == (40, 0, 0, 1)
    assert same(server, FILES)
    second = imported(importer, source, "--to", server.url)
    assert (second["stored"], second["already"], second["noted"]) == (0, 0, 22)  # 20 files and two archives
    again = imported(importer, source, "--to", server.url, "--again")
    assert (again["stored"], again["already"], again["noted"]) == (0, 40, 0)
    assert Path(first["journal"]).parent.parent.name == "imagerepo"


def test_into_a_folder_all_is_stored_as_it_is_and_a_second_run_does_nothing(
    source: Path, tmp_path: Path, importer: Run
) -> None:
    data = tmp_path / "data"
    first = imported(importer, source, "--data", data)
    assert (first["stored"], first["already"], first["refused"], first["not_dicom"]) == (40, 0, 0, 1)
    assert {name for _, name, _ in walk(data).data_sets} == {file.instance for file in FILES}
    assert imported(importer, source, "--data", data)["noted"] == 22
    assert imported(importer, source, "--data", data, "--again")["already"] == 40
    with Server(data, workers=1, storage__reserve=0) as served:
        assert same(served, FILES)
        assert "another imagerepo runs" in importer(source, "--data", data, status=1)


def test_the_journal_of_a_folder_goes_with_it(source: Path, tmp_path: Path, importer: Run) -> None:
    imported(importer, source, "--data", tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    assert imported(importer, source, "--data", tmp_path / "two")["noted"] == 22
    assert imported(importer, source, "--data", tmp_path / "one")["stored"] == 40


def test_a_server_that_was_emptied_is_not_taken_for_full(source: Path, tmp_path: Path, importer: Run) -> None:
    with Server(tmp_path / "one", workers=1, storage__reserve=0) as first:
        port = first.http
        assert imported(importer, source, "--to", first.url)["stored"] == 40
    with Server(tmp_path / "two", "--listen", f"127.0.0.1:{port}", workers=1, storage__reserve=0) as emptied:
        assert "has it no more" in importer(source, "--to", emptied.url, status=1)
        assert imported(importer, source, "--to", emptied.url, "--again")["stored"] == 40
        assert imported(importer, source, "--to", emptied.url)["noted"] == 22


@pytest.mark.parametrize("into", ["server", "folder"])
def test_what_is_refused_is_told_with_its_place_and_reason(
    into: str, server: Server, tmp_path: Path, importer: Run
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    good = ct(700, study=9)
    (source / "good").write_bytes(good.part10)
    (source / "cut\noff").write_bytes(ct(701, study=9).part10[:-40])
    (source / "odd.dcm").write_text("x")
    no_uid = meta("1.2.3", "1.2.4") + element(0x00080018, "UI", "1.2.4") + element(0x00200010, "SH", "")
    (source / "no uid").write_bytes(no_uid)
    report = tmp_path / "report.jsonl"
    to = ("--to", server.url) if into == "server" else ("--data", tmp_path / "data")
    said = importer(source, *to, "--report", report, status=1)
    assert "1 stored, 0 there already, 3 refused" in said
    told = {Path(one["place"]).name: one["reason"] for one in map(json.loads, report.read_text().splitlines())}
    assert "no DICM" in told["odd.dcm"]
    assert "Study Instance UID" in told["no uid"]
    assert "(7FE0,0010)" in told["cut\N{REPLACEMENT CHARACTER}off"]
    assert all(f"refused: {source}/{name}: " in said for name in told)
    # What is put right is imported, and nothing else.
    (source / "cut\noff").write_bytes(ct(701, study=9).part10)
    assert "1 stored, 0 there already, 2 refused" in importer(source, *to, status=1)


@pytest.mark.parametrize("into", ["server", "folder"])
def test_a_large_instance_is_streamed(into: str, server: Server, tmp_path: Path, importer: Run) -> None:
    frames = 60  # of 256 KB
    instance, header = large_header(frames, instance=f"1.2.826.0.1.99.{len(into)}")
    pixels = os.urandom(1 << 18) * frames
    part10 = meta("1.2.840.10008.5.1.4.1.1.7.2", instance) + header + pixels
    (tmp_path / "large.dcm").write_bytes(part10)
    with zipfile.ZipFile(tmp_path / "large.zip", "w") as archive:
        archive.write(tmp_path / "large.dcm")
    to = ("--to", server.url) if into == "server" else ("--data", tmp_path / "data")
    said = imported(importer, tmp_path / "large.dcm", *to)
    assert said["stored"] == 1
    assert imported(importer, tmp_path / "large.zip", *to)["already"] == 1
    if into == "server":
        assert get(server.http, f"/image/{instance}") == (200, part10)


def test_files_of_one_name_and_other_bytes_are_all_kept(tmp_path: Path, importer: Run) -> None:
    source, data = tmp_path / "in", tmp_path / "data"
    source.mkdir()
    for variant in range(3):
        (source / str(variant)).write_bytes(ct(1, variant=variant).part10)
    (source / "same").write_bytes(ct(1, variant=0).part10)
    said = imported(importer, source, "--data", data)
    assert (said["stored"], said["already"]) == (3, 1)
    assert len(walk(data).data_sets) == 3


def test_a_token_and_an_institution_are_shown(tmp_path: Path, importer: Run) -> None:
    source, token, config = tmp_path / "in", tmp_path / "token", tmp_path / "imagerepo.yaml"
    source.mkdir()
    (source / "a").write_bytes(FILES[0].part10)
    token.write_text("secret\n")
    known = {"name": "importer", "sha256": hashlib.sha256(b"secret").hexdigest(), "roles": ["read", "write"]}
    config.write_text(yaml.safe_dump({"institutions": [{"id": "north", "tokens": [known]}, {"id": "south"}]}))
    with Server(tmp_path / "data", "--config", str(config), workers=1, storage__reserve=0) as one:
        assert "401" in importer(source, "--to", one.url, status=1)
        assert "403" in importer(source, "--to", one.url, "--token-file", token, "--institution", "south", status=1)
        assert imported(importer, source, "--to", one.url, "--token-file", token)["stored"] == 1
        by_header = tmp_path / "headers"
        by_header.write_text("Authorization: Bearer secret\n\nX-Site: north\n")
        to = f"{one.url}/institutions/north/dicom-web/"
        assert imported(importer, source, "--to", to, "--header-file", by_header)["already"] == 1


def test_the_data_folder_itself_is_not_imported(tmp_path: Path, importer: Run) -> None:
    (tmp_path / "disk" / "in").mkdir(parents=True)
    (tmp_path / "disk" / "in" / "a").write_bytes(FILES[0].part10)
    assert imported(importer, tmp_path / "disk", "--data", tmp_path / "disk" / "data")["stored"] == 1
    said = imported(importer, tmp_path / "disk", "--data", tmp_path / "disk" / "data", "--again")
    assert (said["stored"], said["already"], said["refused"]) == (0, 1, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("in",), "--to URL or --data DIR"),
        (("in", "--to", "http://x", "--data", "d"), "--to URL or --data DIR"),
        (("in", "--to", "host:80"), "http://"),
        (("in", "--to", "http://u:p@host"), "plain URL"),
        (("in", "--to", "http://127.0.0.1:9/root", "--institution", "x"), "--institution"),
        (("in", "--to", "http://127.0.0.1:9", "--token-file", "none"), "--token-file"),
        (("in", "--to", "http://127.0.0.1:9", "--header-file", "bad"), "--header-file"),
        (("in", "--to", "https://127.0.0.1:9", "--certificate", "x"), "--key"),
        (("in", "--to", "http://127.0.0.1:9", "--journal", "bad"), "--journal"),
        (("in", "--to", "http://127.0.0.1:9", "--report", "none/x"), "--report"),
        (("in", "--to", "http://127.0.0.1:9", "--patience", "0"), "is it the right --to?"),
        (("in", "--data", "in"), "no data folder"),
        (("in", "--data", "d", "--institution", "x"), "no institution"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_made(
    arguments: tuple[str, ...], said: str, tmp_path: Path, importer: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(FILES[0].part10)
    (tmp_path / "bad").write_text("not what was asked for")
    monkeypatch.chdir(tmp_path)
    error = importer(*arguments, status=1)
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "d").exists()


def test_over_tls_both_sides_are_verified(source: Path, tmp_path: Path, importer: Run) -> None:
    (tmp_path / "tls").mkdir()
    where = place(tmp_path / "tls")
    ours, gateway = where.ours.file, where.gateway
    with serving(where) as server:
        to = ("--to", f"https://localhost:{server.https}")
        assert "--ca" in importer(source, *to, status=1)
        assert "401" in importer(source, *to, "--ca", ours, status=1)
        shown = ("--certificate", gateway.certificate, "--key", gateway.key)
        assert imported(importer, source, *to, "--ca", ours, *shown)["stored"] == 40
        assert "--certificate" in importer(source, *to, "--certificate", ours, "--key", ours, "--again", status=1)


def test_into_the_scratch_of_a_replica_nothing_is_imported(source: Path, tmp_path: Path, importer: Run) -> None:
    config = tmp_path / "imagerepo.yaml"
    (tmp_path / "key").write_text("secret")
    database = {"url": "postgresql://user@127.0.0.1:9/x"}
    store = {"endpoints": ["http://127.0.0.1:9"], "access_key": "k", "secret_key_file": str(tmp_path / "key")}
    config.write_text(yaml.safe_dump({"cluster": {"database": database, "store": store}}))
    assert "--to URL" in importer(source, "--data", tmp_path / "data", "--config", config, status=1)
    assert not (tmp_path / "data").exists()
