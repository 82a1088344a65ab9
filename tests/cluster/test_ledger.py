"""The journal's copy in S3: complete, in order, each entry once, whoever writes it and whenever he dies."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from imagerepo.adapters.bundles.ledger_format import is_ledger
from imagerepo.errors import DamagedError, UnavailableError
from imagerepo.model.events import Action
from imagerepo.settings_cluster import Store
from tests.harness import databases, s3
from tests.harness.committing import Writing, writing
from tests.harness.dicom_file import ct
from tests.harness.ledgers import Keeping, copied, rewrite
from tests.harness.rebuilding import rebuild
from tests.harness.requests import change, journal, store
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(300)

FIRST, SECOND, THIRD = "000001-000000000001", "000001-000000000002", "000001-000000000003"


@pytest.fixture
def settings(tmp_path: Path) -> Store:
    return s3.settings(shared_bed(), tmp_path)


@pytest.fixture
def one(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    with writing(url, settings, tmp_path, "one") as made:
        yield made


@pytest.fixture
def kept(one: Writing) -> Keeping:
    return Keeping(one)


def test_what_is_committed_comes_into_the_ledger_once_and_in_order(one: Writing, kept: Keeping) -> None:
    one.commits.commit([store(ct(number)) for number in range(3)])
    kept.commit(journal(query="x"), change(Action.HOLD, 1))
    keys = kept.names()
    kept.write()
    assert kept.names() == keys
    kept.commit(change(Action.RELEASE, 1))
    assert len(kept.names()) == len(keys) + 1
    assert kept.names()[0] == FIRST
    assert all(is_ledger(f"default/ledger/{key}") for key in keys)
    assert kept.journal.verify_copy().entries == 6


def test_each_institution_has_its_own(one: Writing, kept: Keeping) -> None:
    one.commits.commit([store(ct(1)), store(ct(2), institution="north"), store(ct(3))])
    for institution in ("default", "north"):
        kept.settle(institution)
    assert kept.journal.verify_copy().chains == 2


def test_places_within_a_commit_are_told_apart(one: Writing, kept: Keeping) -> None:
    """As if a commit had stored to a second institution too."""
    kept.commit(store(ct(1)))
    one.rows("INSERT INTO institution (name) VALUES ('north') RETURNING 1")
    names = "writer, first, entries, stored, xid, lines"
    same = f"SELECT commit_number, 'north', {names} FROM journal"
    one.rows(f"INSERT INTO journal (commit_number, institution, {names}) {same} RETURNING 1")
    one.rows("INSERT INTO chain SELECT 'north', writer, sequence, digest FROM chain RETURNING 1")
    kept.settle("north")
    (mine,), (theirs,) = kept.read(), kept.read("north")
    assert (mine.commit, mine.place) == (theirs.commit, 0)
    assert theirs.place == 1


def test_who_died_before_it_was_noted_has_written_for_the_next_one(one: Writing, kept: Keeping) -> None:
    kept.commit(journal(query="1"))
    before = one.rows("SELECT epoch, number, digest, xid::text, commit_number FROM ledger")[0]
    kept.commit(journal(query="2"), journal(query="3"))
    one.rows(
        "UPDATE ledger SET epoch = %s, number = %s, digest = %s, xid = %s::xid8, commit_number = %s, "
        "held_until = '-infinity' RETURNING 1",
        *before,
    )
    one.rows("UPDATE ledger_chain SET sequence = 1 RETURNING 1")
    one.commits.commit([journal(query="4")])
    while one.rows("SELECT number FROM ledger") != [(3,)]:
        kept.write("other")
    assert kept.names() == [FIRST, SECOND, THIRD]
    assert kept.entries() == kept.rows()
    kept.journal.verify_copy()


@pytest.mark.long
def test_however_many_write_at_once_there_is_one_ledger(one: Writing, kept: Keeping) -> None:
    ending = threading.Event()

    def write(holder: str) -> None:
        while not ending.is_set():
            one.rows("UPDATE ledger SET held_until = '-infinity' RETURNING 1")  # as if each had been paused
            with suppress(UnavailableError):
                kept.write(holder)

    writers = [threading.Thread(target=write, args=(f"holder-{number}",)) for number in range(4)]
    for writer in writers:
        writer.start()
    for number in range(40):
        one.commits.commit([journal(query=f"{number}.{nth}") for nth in range(3)])
    ending.set()
    for writer in writers:
        writer.join()
    kept.settle()
    assert kept.journal.verify_copy().entries == 120
    assert all(key.startswith("000001-") for key in kept.names())


def test_a_database_that_was_set_back_goes_on_in_a_new_epoch(settings: Store, tmp_path: Path) -> None:
    with databases.with_schema() as url, ExitStack() as opened:
        with writing(url, settings, tmp_path, "one") as one:
            Keeping(one).commit(journal(query="before"))
        restored = opened.enter_context(copied(url, settings, tmp_path / "restored"))
        with writing(url, settings, tmp_path, "two") as two:
            Keeping(two).commit(journal(query="lost"))
            Keeping(two).commit(journal(query="lost too"))
        restored.of.rows("UPDATE ledger SET held_until = '-infinity' RETURNING 1")
        restored.commit(journal(query="after"))
        restored.commit(journal(query="and later"))
        assert restored.names() == [FIRST, SECOND, THIRD, "000002-000000000002", "000002-000000000003"]
        said = [line for entry in restored.read() for line in entry.lines.splitlines()]
        assert [any(f'"{word}"'.encode() in line for line in said) for word in ("before", "lost", "after")] == [
            True, False, True,
        ]  # fmt: skip
        restored.journal.verify_copy()


def test_however_often_a_database_is_set_back_the_ledger_is_of_the_last_one(settings: Store, tmp_path: Path) -> None:
    """Each copy is as the first database was behind so many commits."""
    with databases.with_schema() as url, ExitStack() as opened:
        copies: list[Keeping] = []
        for number in range(4):
            with writing(url, settings, tmp_path / f"first-{number}", "one") as one:
                Keeping(one).commit(journal(query=f"first {number}"))
            copies.append(opened.enter_context(copied(url, settings, tmp_path / f"copy-{number}")))
        for nth, behind in enumerate((2, 4, 3, 1, 4)):
            restored = copies[behind - 1]
            if nth == 4:  # the same one goes on for once more, as if it had been restored again
                restored = opened.enter_context(copied(url, settings, tmp_path / "again"))
            restored.commit(journal(query="after"))
            restored.commit(journal(query="and later"))
            assert restored.names()[-2:] == [f"00000{nth + 2}-{behind + later:012d}" for later in (1, 2)]
            assert restored.entries() == restored.rows()
            restored.journal.verify_copy()


def test_an_epoch_whose_beginning_is_gone_or_damaged_is_read_behind_what_it_followed(
    settings: Store, tmp_path: Path
) -> None:
    with databases.with_schema() as url, ExitStack() as opened:
        with writing(url, settings, tmp_path, "one") as one:
            Keeping(one).commit(journal(query="before"))
        restored = opened.enter_context(copied(url, settings, tmp_path / "restored"))
        with writing(url, settings, tmp_path, "two") as two:
            Keeping(two).commit(journal(query="lost"))
        for number in range(2):
            restored.commit(journal(query=f"after {number}"))
        bucket, begin = restored.of.store.bucket("default"), "default/ledger/000002-000000000002"
        s3.put_raw(settings, bucket, begin, b"damaged")
        found: list[DamagedError] = []
        assert len(restored.read(on_damage=found.append)) == 2
        restored.of.store.delete(bucket, [begin])
        assert len(restored.read(on_damage=found.append)) == 2
        assert [begin in str(error) for error in found] == [True, True]


def test_a_database_that_was_made_anew_goes_on_where_its_ledger_is(settings: Store, tmp_path: Path) -> None:
    with databases.with_schema() as url, ExitStack() as opened:
        with writing(url, settings, tmp_path, "one") as one:
            Keeping(one).commit(store(ct(1)))
            Keeping(one).commit(journal(query="x"))
            one.commits.commit([journal(query="not in the ledger")])
        anew = opened.enter_context(copied(url, settings, tmp_path / "anew"))
        anew.of.rows("WITH l AS (DELETE FROM ledger), c AS (DELETE FROM ledger_chain) SELECT 1")
        anew.commit(journal(query="later"))
        assert anew.names()[:2] == [FIRST, SECOND]
        assert anew.entries() == anew.rows()
        anew.journal.verify_copy()


def test_the_ledger_of_another_database_is_left_as_it_is(kept: Keeping, settings: Store, tmp_path: Path) -> None:
    kept.commit(store(ct(1)))
    with databases.with_schema() as url, writing(url, settings, tmp_path, "two") as two:
        two.commits.commit([store(ct(2))])
        with pytest.raises(UnavailableError, match="ledger of another database"):
            Keeping(two).write()
        assert two.rows("SELECT * FROM ledger") == []
    assert kept.names() == [FIRST]


def test_what_was_set_back_to_before_its_ledger_began_goes_on_once_that_is_acknowledged(
    settings: Store, tmp_path: Path
) -> None:
    with databases.with_schema() as url, ExitStack() as opened:
        with writing(url, settings, tmp_path / "first", "one") as one:
            one.commits.commit([journal(query="before")])
        restored = opened.enter_context(copied(url, settings, tmp_path / "restored"))
        later = opened.enter_context(copied(url, settings, tmp_path / "later"))
        with writing(url, settings, tmp_path / "second", "two") as two:
            Keeping(two).settle()
            Keeping(two).commit(journal(query="lost"))
        for number, keeping in enumerate((restored, later)):
            keeping.of.commits.commit([journal(query=f"after {number}")])
            with pytest.raises(UnavailableError, match=r"ledger of another database.*imagerepo audit acknowledge"):
                keeping.write()
            (gone,) = keeping.writer().acknowledge()
            assert gone.startswith(f"{keeping.of.store.bucket('default')}/default/ledger/")
            keeping.commit(journal(query="and later"))
            assert keeping.entries() == keeping.rows()
            assert keeping.names()[-1].startswith(f"00000{number + 2}-")
            keeping.journal.verify_copy()
            assert keeping.writer().acknowledge() == []


def test_a_database_that_was_rebuilt_knows_how_far_its_ledger_is(
    one: Writing, kept: Keeping, settings: Store, tmp_path: Path
) -> None:
    kept.commit(store(ct(1)))
    kept.commit(journal(query="x"))
    with databases.with_schema() as url:
        rebuild(url, settings, tmp_path)
        with writing(url, settings, tmp_path / "anew", "two") as anew:
            for known in (
                "SELECT institution, epoch, number, digest FROM ledger",
                "SELECT institution, writer, sequence, digest FROM ledger_chain",
            ):
                assert anew.rows(known) == one.rows(known)
            Keeping(anew).commit(journal(query="y"))
            Keeping(anew).journal.verify_copy()
    assert kept.names() == [FIRST, SECOND, THIRD]


def test_a_ledger_that_was_damaged_is_found_out(one: Writing, kept: Keeping, settings: Store) -> None:
    for number in range(4):
        kept.commit(journal(query=str(number)))
    bucket = one.store.bucket("default")
    keys = [f"default/ledger/{key}" for key in kept.names()]
    bodies = [s3.raw(settings, bucket, key) for key in keys]

    def said() -> str:
        with pytest.raises(DamagedError) as error:
            kept.journal.verify_copy()
        return str(error.value)

    s3.put_raw(settings, bucket, keys[1], bodies[1].replace(b"ae:TEST", b"ae:EVIL"))
    assert f"ledger object {keys[1]} is damaged at byte" in said()
    s3.put_raw(settings, bucket, keys[1], bodies[0])
    assert f"ledger object {keys[1]} is not the one that was put there" in said()
    s3.put_raw(settings, bucket, keys[1], bodies[1][: len(bodies[1]) // 2])
    assert keys[1] in said()
    one.store.delete(bucket, [keys[1]])
    assert f"ledger object {keys[1]} is missing" in said()
    found: list[DamagedError] = []
    assert len(kept.read(on_damage=found.append)) == 3  # who makes the database anew takes what there is
    assert len(found) == 1
    s3.put_raw(settings, bucket, keys[1], bodies[1])
    one.store.delete(bucket, keys[3:])
    assert f"cut off: object {keys[3]} is missing" in said()
    s3.put_raw(settings, bucket, keys[3], bodies[3])
    kept.journal.verify_copy()


def test_a_journal_that_was_written_anew_is_another_one_than_its_ledger(one: Writing, kept: Keeping) -> None:
    for number in range(3):
        kept.commit(journal(query=str(number)))
    rewrite(one, b'"query":"1"', b'"query":"9"')
    kept.journal.verify(with_bytes=False)
    with pytest.raises(DamagedError, match=r"entry 3 of chain default/one is another one in the ledger"):
        kept.journal.verify_copy()
