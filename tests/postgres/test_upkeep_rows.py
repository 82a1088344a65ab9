"""Rows that upkeep goes by, where some are missing or were changed by somebody else."""

from collections.abc import Iterator

import pytest

from imagerepo.adapters.bundles import compaction_rows, known, object_check
from imagerepo.adapters.bundles.compaction_plan import Lying
from imagerepo.adapters.bundles.compaction_rows import Move, Series
from imagerepo.adapters.bundles.object_check import _is_full, _Named
from imagerepo.adapters.bundles.scrubbing import StoredCopies
from imagerepo.adapters.postgres.database import Database
from imagerepo.errors import OvertakenError
from tests.harness import databases
from tests.harness.index_rows import INSTANCES_A_SERIES, INSTANCES_A_STUDY, make_rows

FIRST = INSTANCES_A_STUDY + 1  # key of a study, its first series, that one's first instance and its object


@pytest.fixture
def database() -> Iterator[Database]:
    with databases.with_schema() as url, databases.opened(url) as opened:
        make_rows(opened, 1, "default", range(1, 3))
        yield opened


def test_a_pass_over_copies_goes_on_behind_those_whose_object_has_no_row(database: Database) -> None:
    with database.transaction() as connection:
        connection.run("DELETE FROM object WHERE id = %s", (FIRST,))
    copies = StoredCopies(database)
    pages = [copies.page((0, 0, 0), INSTANCES_A_SERIES)]
    while pages[-1]:
        pages.append(copies.page(pages[-1][-1].position, INSTANCES_A_SERIES))
    assert [len(page) for page in pages] == [*(4 * [INSTANCES_A_SERIES]), 0]
    assert [{len(one.ranges) for one in page} for page in pages[:-1]] == [{0}, {1}, {1}, {1}]
    (_, second, *_) = pages[0]
    assert copies.find(second.position) == second


@pytest.mark.parametrize("missing", ["version", "instance", '"range"'])
def test_a_copy_without_its_rows_is_there_without_ranges(database: Database, missing: str) -> None:
    key = "id" if missing == "instance" else "instance_id"
    with database.transaction() as connection:
        connection.run(f"DELETE FROM {missing} WHERE {key} = %s", (FIRST,))
    one, other = StoredCopies(database).page((0, 0, 0), 2)
    assert one.instance_uid
    assert (one.position, other.position) == ((FIRST, 1, 0), (FIRST + 1, 1, 0))
    assert (len(one.ranges), len(other.ranges)) == (0, 1)


@pytest.mark.parametrize("by", ["gone_at = gone_at + 1", "size = 1"])
def test_a_new_object_that_somebody_has_taken_meanwhile_gets_no_versions(database: Database, by: str) -> None:
    """It was deleted in the store, and its row is still there."""
    target = [Lying(FIRST, "store", "key", 1, 1, 1, FIRST, FIRST + 9, is_torn=False)]
    with database.transaction() as connection:
        held = compaction_rows.held(connection, Series(FIRST, FIRST), target)
        reserved = compaction_rows.reserve(connection, ("store", "new"), 1000, 2**60)
    assert len(held) == 10
    with database.transaction() as connection:
        connection.run(f"UPDATE object SET {by} WHERE id = %s", (reserved.id,))
    move = Move(reserved, held, [0] * len(held))
    with pytest.raises(OvertakenError), database.transaction() as connection:
        compaction_rows.switch(connection, known.lock_of_study("default", "1.2.1"), move, (0, 0))
    with database.reading() as connection:
        assert connection.run('SELECT count(*) FROM "range" WHERE object_id = %s', (reserved.id,)).fetchone() == (0,)


def test_all_series_are_had_page_by_page(database: Database) -> None:
    found: list[int] = []
    with database.reading() as connection:
        while page := compaction_rows.stored(connection, found[-1] if found else 0, 3):
            found += [one.key for one in page]
    assert found == [FIRST + place * INSTANCES_A_SERIES for place in range(4)]


def test_objects_are_counted_together_as_far_as_a_statement_can_bear_their_versions() -> None:
    small, large = _Named(1, "key", 1, 1, is_going=False), _Named(2, "key", 1, 4096, is_going=False)
    assert not _is_full([small] * (object_check._ROWS - 1))
    assert _is_full([small] * object_check._ROWS)
    assert not _is_full([large] * 4)
    assert _is_full([large] * 5)
