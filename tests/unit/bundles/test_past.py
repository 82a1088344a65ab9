"""A study's past, told line by line: what lives, what is gone, and under which keys."""

import json
from datetime import UTC, datetime, timedelta

from imagerepo.adapters.bundles.locating import Held, locate
from imagerepo.adapters.bundles.past import Entry, Lived, Past
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.lines import StoreLine

STUDY = "1.2"
BUCKET = "bucket"
AT = datetime(2026, 3, 1, tzinfo=UTC)


def stored(instance: str, series: str = "1.2.1", *, version: int = 1, digest: int = 1, key: str = "a") -> bytes:
    said = {
        "action": "store", "institution": "default", "commit": 0, "seq": 1, "prev": "", "at": AT.isoformat(),
        "study": STUDY, "series": series, "instance": instance, "class": "1", "syntax": "1.2.840.10008.1.2.1",
        "version": version, "digest": f"{digest:064x}", "crc32": digest, "size": 10, "layout": [1, 10, 10],
        "ranges": [[BUCKET, f"default/{STUDY}/{series}/{key}", 104, 10]],
    }  # fmt: skip
    return json.dumps(said).encode()


def deleted(series: str | None = None, instance: str | None = None, action: str = "delete") -> bytes:
    said = {"action": action, "institution": "default", "commit": 0, "seq": 1, "prev": "", "at": AT.isoformat()}
    said |= {"caller": "", "reason": "", "study": STUDY}
    return json.dumps(
        said | ({"series": series} if series else {}) | ({"instance": instance} if instance else {})
    ).encode()


def past(*commits: bytes | tuple[bytes, ...], writer: str = "one") -> Past:
    made = Past(STUDY)
    for number, said in enumerate(commits, 1):
        made.add(Entry(number, writer, 0, said if isinstance(said, tuple) else (said,)))
    return made


def names(made: Past) -> list[tuple[str, int]]:
    return [(one.line.instance_uid, one.line.version) for one in made.versions]


def test_versions_live_in_order_of_their_commits() -> None:
    made = past((stored("i"), stored("j")), stored("i", version=2, digest=2))
    assert names(made) == [("i", 1), ("j", 1), ("i", 2)]
    assert [one.key for one in made.versions] == [1 << 10, 1 << 10 | 1, 2 << 10]


def test_what_is_deleted_is_gone_with_all_its_versions() -> None:
    made = past(stored("i"), stored("i", version=2, digest=2), stored("j"), deleted("1.2.1", "i"))
    assert names(made) == [("j", 1)]
    assert made.gone == {"i": 2}


def test_a_deletion_of_a_series_leaves_the_others() -> None:
    made = past(stored("i"), stored("j", "1.2.2"), deleted("1.2.2"))
    assert names(made) == [("i", 1)]
    assert made.series == {"1.2.1": 1 << 10}


def test_a_study_has_the_key_of_what_made_it_until_nothing_is_left_of_it() -> None:
    made = past(stored("i"), stored("j"), deleted("1.2.1", "i"))
    assert (made.study, made.series) == (1 << 10, {"1.2.1": 1 << 10})
    made = past(stored("i"), deleted(), stored("i", version=2))
    assert (made.study, made.series) == (3 << 10, {"1.2.1": 3 << 10})
    assert names(made) == [("i", 2)]


def test_the_last_entry_says_whether_it_is_held() -> None:
    assert past(deleted(action="hold"), deleted(action="release"), deleted(action="hold")).hold.held
    assert not past(deleted(action="hold"), deleted(action="release")).hold.held


def test_what_is_carried_over_lifts_no_hold_that_was_set_here() -> None:
    carried = "data:0123/one"
    hold, release = deleted(action="hold"), deleted(action="release")
    for writers, entries, held in (
        ((carried, carried), (hold, release), False),
        (("one", carried), (hold, release), True),
        ((carried, "one", carried), (hold, hold, release), True),
        (("one", "one", carried), (hold, release, hold), True),
        ((carried, "one"), (hold, release), False),
        (("data:4567/one", carried), (hold, release), True),
    ):
        made = Past(STUDY)
        for number, (writer, said) in enumerate(zip(writers, entries, strict=True), 1):
            made.add(Entry(number, writer, 0, (said,)))
        assert made.hold is not None
        assert made.hold.held is held, (writers, entries)


def test_what_is_carried_over_deletes_nothing_that_came_another_way() -> None:
    made = past(stored("i"))
    made.add(Entry(2, "data:0123/one", 0, (stored("j", key="x"), deleted())))
    assert names(made) == [("i", 1)]


def held(*said: bytes, writer: str = "bundle", at: datetime = AT, key: str = "") -> Held:
    name = f"{round(at.timestamp() * 1000):012x}{0:020x}"
    found: list[StoreLine] = [one for line in said for one in lines.stores(json.loads(line), 0)]
    return Held(f"default/{STUDY}/1.2.1/{key or name}", 500, writer, found)


def test_a_version_lies_where_its_line_says_or_where_it_was_compacted_to() -> None:
    made = past(stored("i", key="a"), stored("j", key="b", digest=2))
    a, b = f"default/{STUDY}/1.2.1/a", f"default/{STUDY}/1.2.1/b"
    found = locate(made, BUCKET, {a: 500, b: 500}, [])
    assert [where.key for where in found.ranges.values()] == [a, b]
    both = held(stored("i", key="x"), stored("j", key="x", digest=2), writer="compacted")
    found = locate(made, BUCKET, {b: 500, both.key: 500}, [both])
    assert [where.key for where in found.ranges.values()] == [both.key, b]
    assert found.unneeded == []


def test_while_what_a_line_names_is_there_nothing_else_is_taken_for_it() -> None:
    made = past(stored("i", key="a"))
    a, copy = f"default/{STUDY}/1.2.1/a", held(stored("i", key="x"), writer="compacted")
    found = locate(made, BUCKET, {a: 500, copy.key: 500}, [copy])
    assert [where.key for where in found.ranges.values()] == [a]
    assert [one.key for one in found.unneeded] == [copy.key]


def test_of_several_copies_one_that_was_read_and_is_wrong_is_passed_over() -> None:
    made = past(stored("i", key="a"))
    (version,) = made.versions
    copies = [held(stored("i"), writer="compacted", key=key) for key in ("x", "y")]
    sizes = {one.key: 500 for one in copies}
    first = locate(made, BUCKET, sizes, copies)
    assert [where.key for where in first.ranges.values()] == [copies[0].key]
    assert first.doubtful == [version]
    second = locate(made, BUCKET, sizes, copies, {first.ranges[version.key]})
    assert [where.key for where in second.ranges.values()] == [copies[1].key]
    third = locate(made, BUCKET, sizes, copies, {first.ranges[version.key], second.ranges[version.key]})
    assert third.ranges == first.ranges
    assert third.unneeded == []


def test_a_version_whose_bytes_nobody_has_is_lost_and_its_number_stays_taken() -> None:
    made = past(stored("i", key="a"))
    found = locate(made, BUCKET, {f"default/{STUDY}/1.2.1/a": 50}, [])
    assert [one.line.instance_uid for one in found.lost] == ["i"]
    made.lose(found.lost[0])
    assert (made.versions, made.gone, made.study) == ([], {"i": 1}, 0)


def test_what_no_line_knows_is_new_and_what_was_deleted_is_not() -> None:
    made = past(stored("i", key="a"), deleted())
    later, hour = AT + timedelta(hours=1), timedelta(hours=1)
    for one, new in (
        (held(stored("j")), [0]),
        (held(stored("i"), stored("j", digest=3)), [1]),
        (held(stored("i"), at=AT - hour), []),
        (held(stored("i"), at=later), [0]),
        (held(stored("i"), at=later, writer="compacted"), []),
        (held(stored("j"), at=later, writer="compacted"), [0]),
    ):
        found = locate(made, BUCKET, {one.key: 500}, [one])
        assert [numbers for _, numbers in found.recovered] == ([new] if new else [])
        assert [held_.key for held_ in found.unneeded] == ([] if new else [one.key])


def test_an_object_that_a_line_names_has_nothing_new() -> None:
    made = past(stored("i", key="a"), deleted())
    one = held(stored("j"), key="a")
    assert locate(made, BUCKET, {one.key: 500}, [one]).recovered == []


def test_lines_of_other_studies_count_in_the_places_alone() -> None:
    other = stored("o").replace(b'"study": "1.2"', b'"study": "1.3"')
    (only,) = past((other, stored("i"))).versions
    assert isinstance(only, Lived)
    assert only.place == 1
