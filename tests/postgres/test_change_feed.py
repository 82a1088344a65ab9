"""What changed, told of the journal in PostgreSQL: in order of transactions, whatever is committed when."""

import json
from collections.abc import Iterator

import psycopg
import pytest

from imagerepo.adapters.bundles import change_feed
from imagerepo.adapters.bundles.carrying import CARRIED
from imagerepo.adapters.bundles.change_feed import BundleChangeFeed
from imagerepo.adapters.bundles.feed import BundleFeed
from imagerepo.adapters.postgres.database import Database
from imagerepo.errors import ForgottenError
from imagerepo.ports.feed import Marks
from tests.harness import databases


@pytest.fixture
def url() -> Iterator[str]:
    with databases.with_schema() as made:
        yield made


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with databases.opened(url) as made:
        yield made


def line(action: str, study: str, institution: str = "default") -> bytes:
    at, who = "2026-01-01T00:00:00.000000+00:00", "ae:TEST"
    said = {"action": action, "institution": institution, "commit": 1, "seq": 1, "prev": "0", "at": at, "caller": who}
    return json.dumps({**said, "study": study, "series": "1.1", "instance": "1.1.1"}, separators=(",", ":")).encode()


def enter(
    connection: psycopg.Connection, commit: int, *lines: bytes, writer: str = "w", institution: str = "default"
) -> None:
    """Journal lines of one commit."""
    connection.execute(
        "INSERT INTO journal (commit_number, institution, writer, first, entries, stored, lines) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (commit, institution, writer, commit, len(lines), 0, b"\n".join(lines)),
    )


def told(database: Database, marks: Marks, limit: int = 100) -> tuple[list[str], Marks]:
    """Study Instance UIDs after `marks`."""
    found: list[str] = []
    more = True
    while more:
        page = BundleChangeFeed(database).since("default", marks, limit)
        found += [one.study_uid for one in page.changes]
        marks, more = page.marks, page.more
    return found, marks


def test_who_began_earlier_and_commits_later_is_waited_for(url: str, database: Database) -> None:
    with psycopg.connect(url) as slow, psycopg.connect(url, autocommit=True) as quick:
        enter(quick, 1, line("store", "1"))
        enter(slow, 2, line("store", "2"))
        enter(quick, 3, line("store", "3"))
        stamps = BundleChangeFeed(database).stamps(["default"])
        found, marks = told(database, {})
        assert found == ["1"]
        slow.commit()
        assert BundleChangeFeed(database).stamps(["default"]) != stamps
        assert told(database, marks)[0] == ["2", "3"]


def test_several_commits_of_one_transaction_are_told_each_page_by_page(url: str, database: Database) -> None:
    with psycopg.connect(url) as connection:
        for commit in range(1, 41):
            enter(connection, commit, *(line("store", f"{commit}.{number}") for number in range(3)))
    wanted = [f"{commit}.{number}" for commit in range(1, 41) for number in range(3)]
    for limit in (1, 2, 7, 1000):
        assert told(database, {}, limit)[0] == wanted


def test_marks_hold_where_the_journal_was_written_anew(url: str, database: Database) -> None:
    """As a rebuild and a move to another server do: rows are the same, transactions are others."""
    with psycopg.connect(url, autocommit=True) as connection:
        for commit in range(1, 6):
            enter(connection, commit, line("store", str(commit)))
        _, marks = told(database, {}, 1)
        enter(connection, 6, line("store", "6"))
        connection.execute("CREATE TABLE kept AS SELECT * FROM journal")
        connection.execute("DELETE FROM journal")
        columns = "commit_number, institution, writer, first, entries, stored, lines"
        for commit in range(1, 7):
            connection.execute(
                f"INSERT INTO journal ({columns}) SELECT {columns} FROM kept WHERE commit_number = %s", (commit,)
            )
        assert told(database, marks)[0] == ["6"]


def test_marks_of_what_was_undone_by_a_backup_are_told_apart(url: str, database: Database) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        enter(connection, 1, line("store", "1"))
        _, marks = told(database, {})
        connection.execute("DELETE FROM journal")
        enter(connection, 1, line("store", "2"), writer="another")  # the number is given again, by another writer
        with pytest.raises(ForgottenError):
            told(database, marks)


def test_reads_and_queries_cost_a_look_and_are_passed_over_for_good(url: str, database: Database) -> None:
    with psycopg.connect(url) as connection:
        for commit in range(1, 2501):
            enter(connection, commit, line("query", "1"))
        enter(connection, 2501, line("read", "1"), line("delete", "7"))
    page = BundleChangeFeed(database).since("default", {}, 100)
    assert (page.changes, page.more) == ([], True)
    assert told(database, page.marks)[0] == ["7"]


def test_arrivals_are_followed_in_the_order_of_numbers_however_many_digits_these_have(
    url: str, database: Database
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for commit in range(1, 201):
            # Transactions in whose numbers a digit is added meanwhile, as if this database had just been made.
            enter(connection, commit, stored(f"{commit}.1", commit))
            connection.execute(
                "UPDATE journal SET stored = 1, xid = %s::text::xid8 WHERE commit_number = %s", (commit + 5, commit)
            )
    feed, marks, found = BundleFeed(database), {}, []
    while True:
        page = feed.since(marks)
        found += [one.study_uid for one in page.arrived]
        marks = page.marks
        if not page.more:
            break
    assert found == [f"{commit}.1" for commit in range(1, 201)]
    assert told(database, {}, 7)[0] == found


def stored(study: str, commit: int) -> bytes:
    """A line that has all of what was stored."""
    said = json.loads(line("store", study))
    more = {"class": "1", "syntax": "1", "version": 1, "digest": "00", "crc32": 1, "size": 1, "layout": [0, 0, 0],
            "ranges": []}  # fmt: skip
    return json.dumps({**said, **more, "commit": commit}, separators=(",", ":")).encode()


def test_what_was_carried_over_from_a_data_folder_is_passed_over(url: str, database: Database) -> None:
    """A deletion there says nothing of what is here, and what was stored there may have been refused here."""
    with psycopg.connect(url, autocommit=True) as connection:
        enter(connection, 1, line("store", "1"))
        enter(connection, 2, line("store", "2"), line("delete", "1"), writer=f"{CARRIED}folder/w")
        enter(connection, 3, line("store", "3"))
        assert told(database, {}, 1)[0] == ["1", "3"]
        enter(connection, 4, line("delete", "3"), writer=f"{CARRIED}folder/w")
        _, behind = told(database, {})
        enter(connection, 5, line("store", "5"))
    assert told(database, behind)[0] == ["5"]
    assert told(database, BundleChangeFeed(database).now("default"))[0] == []


def test_a_line_that_cannot_be_read_costs_its_commit_and_no_other(
    url: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        enter(connection, 1, stored("1", 1))
        enter(connection, 2, b'{"action":"store","institution":"default",cut off')
        enter(connection, 3, stored("3", 3))
        connection.execute("UPDATE journal SET stored = 1")
    assert told(database, {})[0] == ["1", "3"]
    assert [one.study_uid for one in BundleFeed(database).since({}).arrived] == ["1", "3"]
    assert [one.message for one in caplog.records] == ["feed.commit_damaged"] * 2


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (change_feed._SINCE, ("default", "0", 0, 16)),  # pyright: ignore[reportPrivateUsage] - its plan is the claim
        (change_feed._STAMPS, (["default", "other"],)),  # pyright: ignore[reportPrivateUsage] - likewise
    ],
)
def test_an_index_leads_to_what_is_next(url: str, database: Database, statement: str, values: tuple) -> None:
    with psycopg.connect(url) as connection:
        for commit in range(1, 400):
            enter(connection, commit, line("store", "1"), institution=f"i{commit % 50}")
    with database.reading() as connection:
        plan = "\n".join(row[0] for row in connection.run(f"EXPLAIN {statement}", values).fetchall())
    assert "journal_by_institution" in plan
    assert "Sort" not in plan
