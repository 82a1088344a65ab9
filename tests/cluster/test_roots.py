"""Signed roots under object lock: what the database and its ledger cannot prove of themselves."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imagerepo.adapters.bundles import roots
from imagerepo.adapters.objects_s3.access import Access, Way
from imagerepo.adapters.segments import anchor
from imagerepo.errors import DamagedError, ExistsError, SettingsError
from imagerepo.settings_cluster import Store
from tests.cluster import asking
from tests.cluster.replicas import DIRECT, Replicas, replicas
from tests.harness import databases, s3
from tests.harness.committing import Writing, writing
from tests.harness.dicom_file import ct
from tests.harness.ledgers import Keeping, copied, rewrite
from tests.harness.requests import journal, store
from tests.harness.web_client import WebClient
from tests.testbed.bed import Bed
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def settings(tmp_path: Path) -> Store:
    return s3.settings(shared_bed(), tmp_path)


@pytest.fixture
def one(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    with writing(url, settings, tmp_path, "one") as made:
        yield made


@pytest.fixture
def kept(one: Writing) -> Keeping:
    """Five commits, of which the second, third and fourth are signed, and the last is in the ledger."""
    made = Keeping(one)
    made.locked.make()
    one.commits.commit([store(ct(1))])
    for number in range(2, 5):
        made.commit(store(ct(number)))
        assert made.sign()
    made.commit(journal(query="x"))
    return made


def said(kept: Keeping) -> str:
    """What a verification finds."""
    with pytest.raises(DamagedError) as error:
        kept.verify()
    return str(error.value)


def test_every_chain_that_has_moved_is_signed_once(kept: Keeping) -> None:
    assert kept.verify().anchored == 3
    assert kept.sign()
    assert not kept.sign()
    found = kept.verify()
    assert (found.entries, found.chains, found.anchored) == (5, 1, 4)
    assert found.anchored_at is not None
    assert datetime.now(UTC) - found.anchored_at < timedelta(minutes=5)
    assert kept.journal.verify_copy().anchored == 4


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (
            "UPDATE journal SET lines = replace(encode(lines, 'escape'), 'ae:TEST', 'ae:EVIL')::bytea WHERE first = 2",
            "broken between entries 2 and 3",
        ),
        ("DELETE FROM journal WHERE first = 2", "goes from entry 1 to 3"),
        ("DELETE FROM journal WHERE first >= 4", "ends at entry 3, but its writer came to 5"),
    ],
    ids=["line altered", "row deleted", "tail cut off"],
)
def test_the_first_broken_link_is_named(one: Writing, kept: Keeping, damage: str, found: str) -> None:
    one.rows(f"WITH d AS ({damage} RETURNING 1) SELECT * FROM d")
    assert found in said(kept)


def test_a_tail_that_was_cut_off_with_all_that_knew_of_it_is_missed_by_its_root(one: Writing, kept: Keeping) -> None:
    one.rows("WITH j AS (DELETE FROM journal WHERE first >= 4), c AS (DELETE FROM chain) SELECT 1")
    assert "ends at entry 3, but entry 4 was signed" in said(kept)
    assert one.journal.verify(with_bytes=False).anchored is None  # unanchored it would pass


def test_a_chain_that_was_written_anew_is_not_the_signed_one(one: Writing, kept: Keeping) -> None:
    rewrite(one, b"ae:TEST", b"ae:EVIL")
    one.journal.verify(with_bytes=False)
    assert "entry 2 of chain default/one is not the one that was signed" in said(kept)
    before = one.rows("SELECT number FROM ledger")
    one.commits.commit([journal(query="y")])
    while one.rows("SELECT number FROM ledger") == before:
        kept.write()
    kept.sign()  # a server that goes on signs what it finds: earlier roots still tell
    assert "entry 2 of chain default/one is not the one that was signed" in said(kept)


def test_nobody_can_change_or_remove_a_root(kept: Keeping, settings: Store) -> None:
    (first, *_) = kept.locked.versions()
    with pytest.raises(ExistsError):
        kept.locked.put(first.key, b"{}", datetime.now(UTC) + timedelta(days=1))
    with closing(Access(settings)) as access:
        client = access.administration(settings.endpoints[0], Way.WRITING)
        where = {"Bucket": kept.locked.name, "Key": first.key}
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(**where, VersionId=first.version)
        client.put_object(**where, Body=b"{}")
        client.delete_object(Bucket=kept.locked.name, Key=roots.key_of(2))
    assert len(list(kept.locked.versions())) == 4
    assert kept.verify().anchored == 3


@pytest.mark.parametrize(("lacks", "found"), [(1, "root 1"), (2, "root 2"), (3, "root 3")])
def test_a_root_that_is_missing_is_named(one: Writing, kept: Keeping, lacks: int, found: str) -> None:
    """As if the lock had not held: all but one of them, in another bucket."""
    other = Keeping(one, kept.key, f"lacks-{lacks}")
    other.locked.make()
    for version in kept.locked.versions():
        if version.key != roots.key_of(lacks):
            other.locked.put(version.key, kept.locked.read(version), datetime.now(UTC) + timedelta(days=1))
    assert f"{found} is missing" in said(other)


def test_roots_that_another_key_has_signed_prove_nothing(one: Writing, kept: Keeping) -> None:
    assert "the signature of root 1 does not hold" in said(Keeping(one, Ed25519PrivateKey.generate()))


def test_who_died_before_a_root_was_noted_is_gone_on_behind(one: Writing, kept: Keeping) -> None:
    one.rows("DELETE FROM signed_root RETURNING 1")
    assert kept.sign("other")
    assert [version.key for version in kept.locked.versions()] == [roots.key_of(number) for number in range(1, 5)]
    assert kept.verify().anchored == 4


def test_what_anybody_puts_among_the_roots_is_passed_over(one: Writing, kept: Keeping, settings: Store) -> None:
    bodies = [b"", b"{}", b'{"signature": "", "signed": 5}', b"[" * 100_000]
    (first, *_) = kept.locked.versions()
    with closing(Access(settings)) as access:
        client = access.administration(settings.endpoints[0], Way.WRITING)
        for number, body in enumerate([*bodies, kept.locked.read(first)]):
            for key in (roots.key_of(4 + number), roots.key_of(999_999_999_999 - number), f"{number}.json"):
                client.put_object(Bucket=kept.locked.name, Key=key, Body=body)
    assert kept.verify().anchored == 3
    assert kept.sign()
    assert kept.verify().anchored == 4
    kept.commit(journal(query="y"))
    one.rows("DELETE FROM signed_root RETURNING 1")
    assert kept.sign("other")
    assert kept.verify().anchored == 5
    lacks = Keeping(one, kept.key, "lacks")
    lacks.locked.make()
    for version in kept.locked.versions():
        if version.key == roots.key_of(9):  # of those numbers the first one that was not taken
            continue
        lacks.locked.put(version.key, kept.locked.read(version), datetime.now(UTC) + timedelta(days=1))
    assert "root 4" in said(lacks)


def test_what_a_restored_database_lacks_is_missed_until_it_is_acknowledged(settings: Store, tmp_path: Path) -> None:
    with databases.with_schema() as url, ExitStack() as opened:
        with writing(url, settings, tmp_path, "one") as one:
            kept = Keeping(one)
            kept.locked.make()
            kept.commit(journal(query="before"))
            assert kept.sign()
        restored = opened.enter_context(copied(url, settings, tmp_path / "restored"))
        restored.key = kept.key
        for name in ("two", "three"):
            with writing(url, settings, tmp_path, name) as one:
                lost = Keeping(one, kept.key)
                lost.commit(journal(query="lost"))
                assert lost.sign("one")
        assert "chain default/three ends at entry 0, but entry 1 was signed" in said(restored)
        restored.of.rows("UPDATE ledger SET held_until = '-infinity' RETURNING 1")
        restored.commit(journal(query="after"))
        assert restored.sign()
        assert "chain default/three ends" in said(restored)
        gone = ["default/three: entry 1", "default/two: entry 1"]
        assert sorted(restored.signer().acknowledge("restored")) == gone
        found = restored.verify()
        assert (found.entries, found.anchored, found.lost) == (2, 2, 2)
        assert restored.signer().acknowledge("again") == []
        assert restored.journal.verify_copy().lost == 2
        rewrite(restored.of, b"ae:TEST", b"ae:EVIL")
        assert "entry 1 of chain default/one is not the one that was signed" in said(restored)


def test_a_bucket_without_a_lock_is_refused(one: Writing, settings: Store) -> None:
    with closing(Access(settings)) as access:
        name = one.store.locked(roots.BUCKET).name
        access.administration(settings.endpoints[0], Way.ARRANGING).create_bucket(Bucket=name)
    with pytest.raises(SettingsError, match="without object lock"):
        one.store.locked(roots.BUCKET).make()


@pytest.fixture
def signing(bed: Bed, tmp_path: Path) -> Iterator[Replicas]:
    """Two replicas that write the ledger and sign several times a second, and five instances."""
    key = tmp_path / "audit.pem"
    key.write_text(anchor.new_key())
    with replicas(bed, tmp_path, audit={"key": str(key)}) as made:
        quick = "  ledger: {interval: 0.2}\n  roots: {interval: 0.4, retention: 1}\n"
        made.settings.write_text(made.settings.read_text().replace("cluster:\n", f"cluster:\n{quick}"))
        made.start("replica-1", "replica-2")
        with WebClient(made.servers["replica-1"].http, source=DIRECT) as client:
            assert client.stow(*(ct(number) for number in range(5))).status == 200
        yield made


def verified(made: Replicas, entries: int) -> str:
    """What the command says as soon as so many entries are in the ledger, and anchored."""
    until = time.monotonic() + 120
    while True:
        said = asking.command("audit", "verify", "--ledger", "--bytes", "--config", str(made.settings))
        if f"ledger: {entries} entries" in said and "\nanchored" in said:
            return said
        assert time.monotonic() < until, said


def test_replicas_keep_ledger_and_roots_and_the_command_proves_them(signing: Replicas) -> None:
    assert "5 entries in 1 chains" in verified(signing, 5)


@pytest.mark.long
def test_when_who_wrote_ledger_and_roots_is_killed_another_replica_goes_on(signing: Replicas) -> None:
    verified(signing, 5)
    for name in ("replica-1", "replica-2"):
        signing.kill(name)
    signing.start("replica-3")
    assert asking.delete(signing.servers["replica-3"], f"/dicom-web/studies/{ct(1).study}") in {200, 204}
    verified(signing, 6)
