"""GET /changes: pages, positions, waiting; what is asked wrongly, and who may not ask."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagerepo.adapters.memory import MemoryChangeFeed
from imagerepo.ports.feed import ChangePage, Marks
from tests.docs.reading import DOCS, blocks
from tests.harness.dicom_file import ct
from tests.harness.receiver import await_
from tests.harness.server import Server
from tests.harness.web_client import WebClient
from tests.wire.dicomweb_samples import make
from tests.wire.dicomweb_serving import serving, stow
from tests.wire.test_rest_edge import TENANTS, bearer


def page(client: httpx.Client, **query: object) -> dict[str, Any]:
    response = client.get("/changes", params={name: str(value) for name, value in query.items()})
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store"), response.text
    return response.json()


def told(client: httpx.Client, since: str | None = None, **query: object) -> tuple[list[dict[str, Any]], str]:
    """All pages from a position on, and the position behind them."""
    found: list[dict[str, Any]] = []
    while True:
        asked = query if since is None else {**query, "since": since}
        one = page(client, **asked)
        found += one["changes"]
        since = one["next"]
        if not one["more"]:
            return found, since


def instance(number: int, study: str = "1.1") -> bytes:
    return make(study=study, series=f"{study}.1", instance=f"{study}.1.{number}")


def test_stored_deleted_held_and_released_are_told_with_what_is_known_of_them() -> None:
    with serving() as one, one.client() as client:
        stow(client, [instance(1), instance(2)])
        client.put("/study/1.1/hold", params={"reason": "a trial"})
        client.delete("/study/1.1/hold", params={"reason": "over"})
        client.delete("/dicom-web/studies/1.1/series/1.1.1/instances/1.1.1.2", params={"reason": "by mistake"})
        client.delete("/dicom-web/studies/1.1", params={"reason": "all of it"})
        changes, _ = told(client, limit=2)
        chosen = told(client, limit=1, kind="held,deleted")[0]
        assert chosen == [change for change in changes if change["kind"] in {"held", "deleted"}]
    for change in changes:
        assert change.pop("at").startswith("20")
        assert change.pop("caller") == "anonymous"
        assert change.pop("id")
    stored = {"kind": "stored", "study": "1.1", "series": "1.1.1", "version": 1}
    assert changes == [
        {**stored, "instance": "1.1.1.1"},
        {**stored, "instance": "1.1.1.2"},
        {"kind": "held", "study": "1.1", "reason": "a trial"},
        {"kind": "released", "study": "1.1", "reason": "over"},
        {"kind": "deleted", "study": "1.1", "series": "1.1.1", "instance": "1.1.1.2", "instances": 1,
         "reason": "by mistake"},
        {"kind": "deleted", "study": "1.1", "instances": 1, "reason": "all of it"},
    ]  # fmt: skip


def test_a_position_goes_on_behind_the_page_and_now_behind_all() -> None:
    with serving() as one, one.client() as client:
        stow(client, [instance(number) for number in range(5)])
        first = page(client, limit=3)
        assert (len(first["changes"]), first["more"]) == (3, True)
        rest, behind = told(client, first["next"])
        assert [change["instance"] for change in rest] == ["1.1.1.3", "1.1.1.4"]
        now = page(client, since="now")
        assert now["changes"] == []
        stow(client, [instance(9)])
        for position in (behind, now["next"]):
            assert [change["instance"] for change in told(client, position)[0]] == ["1.1.1.9"]


WRONG = [
    ("since=x", 400, "since is no position"),
    ("since=" + "A" * 40_000, 400, ""),
    ("since=eJyLVspLzE1VslJQMlQqTi3JzU9RAgA%3D", 400, "since is no position"),
    ("since=", 400, "since is no position"),
    ("since=%00", 400, "since is no position"),
    ("since=%C3%A4", 400, "since is no position"),
    ("limit=0", 400, "limit '0' is not a number from 1 to 1000"),
    ("limit=1001", 400, "limit '1001' is not a number from 1 to 1000"),
    ("limit=-1", 400, "limit"),
    ("limit=many", 400, "limit"),
    ("limit=000000001000000000", 400, "limit '000000001000000000' is not a number from 1 to 1000"),
    ("limit=", 400, "limit"),
    ("wait=00000000100", 400, "wait"),
    ("wait=61", 400, "wait '61' is not a number from 0 to 60"),
    ("wait=1.5", 400, "wait"),
    ("kind=removed", 400, "kind 'removed' is not of these, joined by commas: stored, deleted, held, released"),
    ("kind=", 400, "kind"),
    ("last", 400, "no parameter 'last' here; kind, limit, since, wait are"),
]


@pytest.mark.parametrize(("query", "status", "said"), WRONG)
def test_what_is_asked_wrongly_is_answered_with_what_is_wrong(query: str, status: int, said: str) -> None:
    with serving() as one, one.client() as client:
        response = client.get(f"/changes?{query}")
        assert response.status_code == status
        assert said in response.text


def test_a_position_of_another_repository_is_gone() -> None:
    with serving() as one, one.client() as client:
        stow(client, [instance(number) for number in range(5)])
        foreign = page(client, since="now")["next"]
    with serving() as one, one.client() as client:
        assert client.get("/changes", params={"since": foreign}).status_code == 410


def test_a_reader_is_told_what_is_his_institution_s_and_nobody_else_anything() -> None:
    with serving(TENANTS) as one, one.client() as client:
        assert stow(client, [instance(1)], "/institutions/a/dicom-web/studies").status_code == 401
        client.headers.update(bearer("admin-a"))
        stow(client, [instance(1)])
        client.headers.update(bearer("admin-b"))
        stow(client, [instance(2, study="2.2")])
        assert [change["instance"] for change in told(client)[0]] == ["2.2.1.2"]
        client.headers.update(bearer("reader-a"))
        changes, behind = told(client)
        assert [(change["instance"], change["caller"]) for change in changes] == [("1.1.1.1", "token:admin-a")]
        assert client.get("/institutions/a/changes").json()["changes"] == changes
        assert client.get("/institutions/b/changes").status_code == 403
        assert client.post("/changes").status_code == 405
        client.headers.update(bearer("admin-b"))
        assert told(client, behind)[0] == []


def test_who_waits_is_told_as_soon_as_something_changes() -> None:
    with serving() as one, one.client() as client:
        behind = page(client, since="now")["next"]
        with ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(page, client, since=behind, wait=30) for _ in range(20)]
            time.sleep(0.5)  # they wait by now, or will: both have to do
            assert not any(each.done() for each in waiting)
            stow(client, [instance(1)])
            for each in waiting:
                assert [change["instance"] for change in each.result(20)["changes"]] == ["1.1.1.1"]
            # Somebody else's news keep nobody from waiting for his own; nothing comes in the time that he has.
            assert page(client, since=page(client, since="now")["next"], wait=1)["changes"] == []


def test_who_waits_has_pages_read_once_for_what_changes_and_not_time_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    read = MemoryChangeFeed.since

    def counted(feed: MemoryChangeFeed, institution: str, marks: Marks, limit: int) -> ChangePage:
        asked.append(institution)
        return read(feed, institution, marks, limit)

    monkeypatch.setattr(MemoryChangeFeed, "since", counted)
    with serving() as one, one.client() as client:
        behind = page(client, since="now")["next"]
        assert page(client, since=behind, wait=4)["changes"] == []
        assert len(asked) <= 2  # at first, and once it is known how far that was


def test_the_follower_of_the_manual_follows_from_nothing_and_from_where_it_was(tmp_path: Path) -> None:
    (sample,) = blocks((DOCS / "changes.md").read_text(encoding="utf-8"), "python")
    (tmp_path / "position").touch()  # as an interrupted predecessor may have left it
    with serving() as one, one.client() as client:
        program = sample.text.replace("http://127.0.0.1:8080", one.url)
        assert program != sample.text
        for number in (1, 2):
            stow(client, [instance(1, study=f"{number}.1")])
            with subprocess.Popen(
                [sys.executable, "-u", "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True
            ) as follower:
                assert follower.stdout is not None
                assert follower.stdout.readline() == f"stored {number}.1\n"
                await_(lambda number=number: _is_behind(tmp_path / "position", client, number))
                follower.kill()


def _is_behind(kept: Path, client: httpx.Client, number: int) -> bool:
    """Whether a follower has come as far as that change."""
    position = kept.read_text()
    return position != "" and told(client, position)[0] == [] and len(told(client)[0]) == number


def test_nobody_waits_for_a_server_that_ends() -> None:
    with serving() as one, one.client() as client, ThreadPoolExecutor(1) as pool:
        behind = page(client, since="now")["next"]
        waiting = pool.submit(page, client, since=behind, wait=60)
        one.draining = True
        assert waiting.result(20)["changes"] == []


def test_a_data_folder_tells_the_same_over_workers_starts_and_kills(tmp_path: Path) -> None:
    """Four processes write, one client follows with what it was told before the server was killed."""
    found: list[tuple[str, int]] = []
    behind: str | None = None
    stored: set[tuple[str, int]] = set()
    for start in range(2):
        with Server(tmp_path, workers=2, storage__reserve=0) as server:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                threads = [threading.Thread(target=_store, args=(server, start, one, stored)) for one in range(4)]
                for thread in threads:
                    thread.start()
                while any(thread.is_alive() for thread in threads):
                    changes, behind = told(client, behind, limit=7)
                    found += [(change["instance"], change["version"]) for change in changes]
                changes, behind = told(client, behind)
                found += [(change["instance"], change["version"]) for change in changes]
                assert set(found) == stored
                whole = [(change["instance"], change["version"]) for change in told(client)[0]]
            if start == 1:
                assert server.stop() == 0
    assert found == whole
    assert len(set(found)) == len(found)


def _store(server: Server, start: int, worker: int, stored: set[tuple[str, int]]) -> None:
    with WebClient(server.http) as client:
        for number in range(6):
            files = [ct(start * 100 + worker * 20 + number + 10 * one, study=worker % 2) for one in range(2)]
            assert client.stow(*files).stored == {file.instance for file in files}
            stored.update((file.instance, 1) for file in files)
