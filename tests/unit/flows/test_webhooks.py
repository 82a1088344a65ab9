"""Telling webhooks: what becomes of messages that are refused, of receivers that are away, of secrets that are not."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagerepo.adapters.memory import Memory, MemoryChangeFeed, MemoryCommits
from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.errors import DamagedError
from imagerepo.flows import webhooks
from imagerepo.flows.webhooks import Announcing, Hooks, Telling
from imagerepo.flows.work import Attempts, Workforce
from imagerepo.model.task import Queue, TaskKind, TaskState
from imagerepo.ports.feed import ChangePage, Marks
from imagerepo.ports.tasks import Selection
from imagerepo.rest.webhook_posts import WebhookPostings
from imagerepo.settings import Institution, Retry, Settings
from tests.harness.certificates import Authority
from tests.harness.dicom_file import DicomFile, ct
from tests.harness.hook_receiver import SECRET, HookReceiver, Message, hook
from tests.harness.receiver import await_, free_port, silent
from tests.harness.requests import journal, store

_ATTEMPTS = 3
_LOOK = 0.01  # seconds


@dataclass
class Told:
    """A repository in memory, whose webhooks are told."""

    commits: MemoryCommits
    feed: MemoryChangeFeed
    tasks: MemoryTasks
    hooks: Hooks

    def store(self, *files: DicomFile, institution: str = "default") -> None:
        for file in files:
            (result,) = self.commits.commit([store(file, institution)])
            assert result.error is None

    def queue(self, name: str = "default/receiver") -> Queue | None:
        return next((one for one in self.tasks.queues() if one.name == name), None)

    def problem(self, name: str = "default/receiver") -> str:
        """What keeps it."""
        queue = self.queue(name)
        return queue.problem if queue else ""

    def parked(self) -> int:
        return sum(one.parked for one in self.tasks.queues())

    def replace(self, *hooks: dict[str, object]) -> None:
        """Have these webhooks instead."""
        self.hooks.replace(_institutions(hooks, ()))


def _institutions(hooks: Sequence[dict], other: Sequence[dict]) -> tuple[Institution, ...]:
    return Settings.model_validate(
        {"institutions": [{"id": "default", "webhooks": hooks}, {"id": "other", "webhooks": other}]}
    ).institutions


@contextmanager
def telling(*hooks: dict[str, object], other: Sequence[dict[str, object]] = ()) -> Iterator[Told]:
    """Tell what changes until the context is left."""
    memory, tasks = Memory(), MemoryTasks()
    told = Told(MemoryCommits(memory), MemoryChangeFeed(memory), tasks, Hooks(_institutions(hooks, other)))
    webhooks.begin(tasks, told.feed, told.hooks)
    announcing = Announcing(told.feed, tasks)
    attempts = Attempts(tasks, Retry(first=0.05, longest=0.1, attempts=_ATTEMPTS))
    workforce = Workforce(tasks, (Telling(tasks, attempts, told.hooks, announcing, WebhookPostings()),))
    ending = threading.Event()

    def work() -> None:
        while not ending.wait(_LOOK):
            announcing.look(told.hooks)
            workforce.look()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield told
    finally:
        ending.set()
        thread.join()
        workforce.end(10)


def instances(*numbers: int, study: int = 1) -> list[str]:
    return [ct(number, study=study).instance for number in numbers]


def test_a_receiver_that_was_away_is_told_all_in_order_and_keeps_nobody_else(tmp_path: Path) -> None:
    away, there = HookReceiver(port=free_port()), HookReceiver()
    with silent() as port, there.serving():
        dead = hook(f"http://127.0.0.1:{port}/", tmp_path, "dead", timeout=0.2)
        with telling(dead, hook(away.url, tmp_path, "away"), other=[hook(there.url, tmp_path, "there")]) as told:
            told.store(*(ct(number) for number in range(250)))
            told.store(ct(1, study=2), institution="other")
            await_(lambda: there.told() == instances(1, study=2))
            await_(lambda: "was silent for 0.2 s while posting" in told.problem("default/dead"))
            await_(lambda: "Connection refused" in told.problem("default/away"))
            # However much there is to be told, one message waits; the rest is where it always was.
            assert told.tasks.pending()[TaskKind.WEBHOOK] == 2
            with away.serving():
                await_(lambda: len(away.changes()) == 250)
                assert away.told() == instances(*range(250))
                assert len(away.messages) < 10
                await_(lambda: told.queue("default/away") is None)


def test_what_is_refused_is_tried_again_then_parked_and_the_rest_goes_on(tmp_path: Path) -> None:
    poison = ct(2).instance
    receiver = HookReceiver(answer=lambda message: 500 if poison in message.body.decode() else 204)
    with receiver.serving(), telling(hook(receiver.url, tmp_path)) as told:
        for number in range(4):
            told.store(ct(number))
            name = ct(number).instance
            await_(lambda name=name: any(name in one.body.decode() for one in list(receiver.messages)))
        await_(lambda: receiver.told() == instances(0, 1, 3))
        tried = [one for one in receiver.messages if poison in one.body.decode()]
        assert len(tried) == _ATTEMPTS
        assert len({(one.id, one.body) for one in tried}) == 1
        assert told.parked() == 1
        (task,) = told.tasks.page(Selection(TaskKind.WEBHOOK, state=TaskState.PARKED), 0, 10)
        assert "answers 500" in task.problem
        receiver.answer = lambda _: 204
        told.tasks.retry(Selection(TaskKind.WEBHOOK))
        await_(lambda: receiver.messages[-1].id == tried[0].id)
        await_(lambda: not told.tasks.pending()[TaskKind.WEBHOOK])


def test_nothing_overtakes_what_is_refused_for_a_while(tmp_path: Path) -> None:
    refusing = [_ATTEMPTS - 1]  # times

    def answer(message: Message) -> int:
        if ct(0).instance in message.body.decode() and refusing[0]:
            refusing[0] -= 1
            return 422
        return 204

    receiver = HookReceiver(answer=answer)
    with receiver.serving(), telling(hook(receiver.url, tmp_path)) as told:
        told.store(*(ct(number) for number in range(5)))
        await_(lambda: sum(len(one.changes) for one in receiver.messages[_ATTEMPTS - 1 :]) == 5)
        came = [one["instance"] for message in receiver.messages[_ATTEMPTS - 1 :] for one in message.changes]
        assert came == instances(*range(5))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (401, "check institutions[].webhooks[].secret_file"),
        (404, "check institutions[].webhooks[].url"),
        ("/hook", "redirects are not followed"),
        (503, "answers 503"),
        (429, "answers 429"),
    ],
)
def test_what_is_no_fault_of_the_message_keeps_it_until_it_is_mended(
    tmp_path: Path, answer: int | str, said: str
) -> None:
    receiver = HookReceiver(answer=lambda _: answer)
    with receiver.serving(), telling(hook(receiver.url, tmp_path)) as told:
        told.store(ct(1))
        await_(lambda: len(receiver.messages) > _ATTEMPTS + 1)
        assert said in told.problem()
        assert told.parked() == 0
        receiver.answer = lambda _: 204
        await_(lambda: receiver.told() == instances(1))
        assert {one.path for one in receiver.messages} == {"/hook"}


@pytest.mark.parametrize(
    ("at_once", "trickled"),
    [
        (b"", b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 1000),
        (b"HTTP/1.0 503 Later\r\n\r\n", b"later " * 1000),  # whose connection is its answer's from then on
    ],
)
def test_a_receiver_that_trickles_its_answer_is_given_up(tmp_path: Path, at_once: bytes, trickled: bytes) -> None:
    came: list[int] = []

    def trickle(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            came.append(1)
            try:
                connection.sendall(at_once)
                for one in trickled:
                    connection.sendall(bytes([one]))
                    time.sleep(0.05)
            except OSError:
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with telling(hook(url, tmp_path, timeout=0.2)) as told:
            told.store(ct(1))
            await_(told.problem)
            await_(lambda: len(came) > 1)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_receiver_s_certificate_is_verified(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    files = authority.issue("receiver")
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(files.certificate, files.key)
    receiver = HookReceiver(secure=secure)
    with receiver.serving(), telling(hook(receiver.url, tmp_path, ca=str(stranger.file))) as told:
        told.store(ct(1))
        await_(lambda: "no agreement over TLS" in told.problem())
        assert not receiver.messages
        told.replace(hook(receiver.url, tmp_path, ca=str(tmp_path / "nowhere.pem")))
        await_(lambda: "nowhere.pem" in told.problem())
        told.replace(hook(receiver.url, tmp_path, ca=str(authority.file)))
        await_(lambda: receiver.told() == instances(1))


def test_a_connection_that_the_receiver_has_ended_is_opened_again_and_fails_nobody(tmp_path: Path) -> None:
    receiver = HookReceiver()
    with receiver.serving(), telling(hook(receiver.url, tmp_path)) as told:
        for number in range(3):
            told.store(ct(number))
            await_(lambda number=number: len(receiver.changes()) == number + 1)
        assert told.problem() == ""


def test_secrets_are_exchanged_while_serving_and_said_to_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver, file = HookReceiver(), tmp_path / "exchanged.secret"
    old = "a-longer-secret-that-is-the-old-one"
    with receiver.serving(), telling({**hook(receiver.url, tmp_path), "secret_file": str(file)}) as told:
        told.store(ct(1))
        await_(lambda: "cannot read" in told.problem())
        file.write_text("hunter2\n")
        await_(lambda: "has to have secrets of at least 24 bytes" in told.problem())
        file.write_text(f"{old}\n{SECRET}\n")
        await_(lambda: receiver.told() == instances(1))
        (message,) = receiver.messages
        assert message.is_signed_by(SECRET)
        assert message.is_signed_by(old)
        assert not message.is_signed_by("hunter2")
    for one in caplog.records:
        assert not {"hunter2", SECRET, old} & set(str(vars(one)).replace("'", " ").split())


def test_a_webhook_that_is_new_is_told_what_comes_and_one_that_is_back_what_it_missed(tmp_path: Path) -> None:
    first, second = HookReceiver(), HookReceiver()
    with first.serving(), second.serving():
        one, two = hook(first.url, tmp_path, "first"), hook(second.url, tmp_path, "second")
        with telling(one) as told:
            told.store(ct(1))
            await_(lambda: first.told() == instances(1))
            told.replace(two)
            await_(lambda: told.tasks.followed("webhook default/second") is not None)
            told.store(ct(2), ct(3))
            await_(lambda: second.told() == instances(2, 3))
            told.replace(one, two)
            await_(lambda: first.told() == instances(1, 2, 3))
            told.store(ct(4))
            await_(lambda: first.told() == instances(1, 2, 3, 4) and second.told() == instances(2, 3, 4))


def test_messages_of_a_webhook_that_is_gone_say_so(tmp_path: Path) -> None:
    with telling(hook(f"http://127.0.0.1:{free_port()}/", tmp_path)) as told:
        told.store(ct(1))
        await_(told.problem)
        told.replace()
        await_(lambda: "there is no webhook 'default/receiver' any more" in told.problem())


def test_a_webhook_that_was_changed_is_posted_to_where_it_was_no_more_though_much_is_to_be_told(
    tmp_path: Path,
) -> None:
    changed = threading.Event()

    def answer(_: Message) -> int:
        changed.wait(30)
        return 204

    first, second = HookReceiver(answer=answer), HookReceiver()
    with first.serving(), second.serving(), telling(hook(first.url, tmp_path, timeout=30)) as told:
        told.store(ct(0))
        await_(lambda: first.messages)
        told.store(*(ct(number) for number in range(1, 250)))
        told.replace(hook(second.url, tmp_path))
        changed.set()
        await_(lambda: second.told() == instances(*range(1, 250)))
        assert len(first.messages) == 1


def test_one_whose_changes_cannot_be_read_keeps_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Damaged(MemoryChangeFeed):
        """Of the institution `default` nothing can be read."""

        def since(self, institution: str, marks: Marks, limit: int) -> ChangePage:
            if institution == "default":
                raise DamagedError("commit 7: no line of ours")
            return super().since(institution, marks, limit)

    memory, tasks = Memory(), MemoryTasks()
    feed, hooks = Damaged(memory), Hooks(_institutions(*[[hook("http://127.0.0.1:1/", tmp_path)]] * 2))
    webhooks.begin(tasks, feed, hooks)
    MemoryCommits(memory).commit([store(ct(1), "default"), store(ct(1), "other")])
    announcing = Announcing(feed, tasks)
    for _ in range(2):
        announcing.look(hooks)
    assert [one.queue for one in tasks.page(Selection(TaskKind.WEBHOOK), 0, 10)] == ["other/receiver"]
    assert [one.message for one in caplog.records] == ["webhook.waits"]


def test_a_message_s_id_keeps_institution_and_webhook_apart(tmp_path: Path) -> None:
    """Both may have hyphens: `a-b` and `c` are not to be `a` and `b-c`."""
    receiver = HookReceiver()
    with receiver.serving(), telling(hook(receiver.url, tmp_path, "a-list")) as told:
        told.store(ct(1))
        await_(lambda: receiver.told() == instances(1))
        assert receiver.messages[0].id.split("_") == ["default", "a-list", "0"]


def test_what_is_no_change_is_no_message(tmp_path: Path) -> None:
    receiver = HookReceiver()
    with receiver.serving(), telling(hook(receiver.url, tmp_path)) as told:
        told.store(ct(1), ct(1))
        told.commits.commit([journal(query="x")])
        told.store(ct(2))
        await_(lambda: receiver.told() == instances(1, 2))


def test_two_who_tell_make_no_message_twice(tmp_path: Path) -> None:
    """As replicas do: whoever comes second goes on behind it."""
    memory, tasks = Memory(), MemoryTasks()
    commits, feed = MemoryCommits(memory), MemoryChangeFeed(memory)
    hooks = Hooks(_institutions([hook("http://127.0.0.1:1/", tmp_path)], ()))
    webhooks.begin(tasks, feed, hooks)
    commits.commit([store(ct(number)) for number in range(450)])
    names: list[str] = []
    barrier = threading.Barrier(2)

    def tell() -> None:
        announcing = Announcing(feed, tasks)
        for _ in range(5):
            barrier.wait()
            announcing.look(hooks)
            barrier.wait()
            names.extend(task.name for task in tasks.page(Selection(TaskKind.WEBHOOK), 0, 10))
            barrier.wait()
            tasks.drop(Selection(TaskKind.WEBHOOK))

    threads = [threading.Thread(target=tell) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == [str(number) for number in range(0, 450, 100) for _ in range(2)]
