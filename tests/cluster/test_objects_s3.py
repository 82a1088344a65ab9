"""Objects in S3, on a real gateway of Ceph: what is stored, what is refused, what is said."""

import dataclasses
import hashlib
import mmap
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagerepo.adapters.objects_s3.objects import S3Objects
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.errors import DamagedError, ExistsError, OutOfSpaceError, SettingsError, UnavailableError
from imagerepo.model.instance import Range
from tests.harness import s3
from tests.harness.certificates import Authority
from tests.harness.gateway_relay import Harm, Relay
from tests.testbed import plan
from tests.testbed import s3 as testbed_s3
from tests.testbed.bed import Bed
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(300)

INSTITUTION = "north"
_LARGE = (16 << 20) + 7  # bytes: three parts


@pytest.fixture(scope="module")
def bed() -> Bed:
    return shared_bed()


@pytest.fixture
def store(bed: Bed, tmp_path: Path) -> Iterator[S3Store]:
    with s3.opened(s3.settings(bed, tmp_path)) as opened:
        yield opened
        s3.empty(opened, INSTITUTION)


@pytest.fixture
def relay(bed: Bed) -> Iterator[Relay]:
    with Relay(bed.plan.s3.endpoint).running() as running:
        yield running


@pytest.fixture
def by_relay(bed: Bed, relay: Relay, tmp_path: Path) -> Iterator[S3Store]:
    with s3.opened(s3.settings(bed, tmp_path, endpoints=(relay.url,))) as opened:
        opened.check([INSTITUTION])
        yield opened
        s3.empty(opened, INSTITUTION)


def key() -> str:
    return f"{INSTITUTION}/1.2/1.2.3/{uuid.uuid4()}"


def whole(store: S3Store, name: str, size: int) -> bytes:
    return store.read(Range(store.bucket(INSTITUTION), name, 0, size))


def keys(store: S3Store) -> list[str]:
    return [one.key for one in store.list(store.bucket(INSTITUTION), "", "")]


def uploads(access: plan.S3, store: S3Store) -> list[str]:
    with testbed_s3.client(access, 3) as client:
        found = client.list_multipart_uploads(Bucket=store.bucket(INSTITUTION))
        return [one["Key"] for one in found.get("Uploads", [])]


def of_writers(count: int, put: Callable[[int], object]) -> list[BaseException | None]:
    """What each of so many writers got that began at the same time."""
    together = threading.Barrier(count)

    def one(number: int) -> BaseException | None:
        together.wait()
        try:
            put(number)
        except ExistsError as error:
            return error
        return None

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def large_file(folder: Path, size: int = _LARGE) -> Path:
    made = folder / f"large-{uuid.uuid4()}"
    made.write_bytes(os.urandom(size))
    return made


def test_what_was_put_in_pieces_is_read_by_any_range(store: S3Store) -> None:
    mapped = mmap.mmap(-1, 5000)
    mapped[:3] = b"abc"
    parts = [os.urandom(700), memoryview(os.urandom(100_000)), bytearray(os.urandom(3)), b"", mapped]
    body, name = b"".join(parts), key()
    place = store.put(name, parts, institution=INSTITUTION)
    assert (place.store, place.key) == (store.bucket(INSTITUTION), name)
    for start, length in ((0, len(body)), (0, 1), (699, 2), (650, 100_000), (len(body) - 1, 1), (5, 0)):
        assert store.read(Range(place.store, place.key, start, length)) == body[start : start + length]


def test_an_object_is_never_written_over(store: S3Store, tmp_path: Path) -> None:
    name = key()
    store.put(name, [b"first"], institution=INSTITUTION)
    for again in (
        lambda: store.put(name, [b"second"], institution=INSTITUTION),
        lambda: store.put(name, [b"first"], institution=INSTITUTION),
        lambda: store.put_large(name, large_file(tmp_path), institution=INSTITUTION),
    ):
        with pytest.raises(ExistsError, match=name):
            again()
    assert whole(store, name, 5) == b"first"


def test_of_many_writers_of_one_key_one_has_stored(store: S3Store) -> None:
    name = key()
    store.check([INSTITUTION])
    got = of_writers(8, lambda number: store.put(name, [b"%d" % number * 1000], institution=INSTITUTION))
    assert got.count(None) == 1
    assert whole(store, name, 1000) == b"%d" % got.index(None) * 1000


def test_of_two_writers_of_one_large_object_one_has_stored(bed: Bed, store: S3Store, tmp_path: Path) -> None:
    name, files = key(), [large_file(tmp_path) for _ in range(2)]
    store.check([INSTITUTION])
    got = of_writers(2, lambda number: store.put_large(name, files[number], institution=INSTITUTION))
    assert got.count(None) == 1
    assert whole(store, name, _LARGE) == files[got.index(None)].read_bytes()
    assert uploads(bed.plan.s3, store) == []


@pytest.mark.parametrize("size", [0, 1, 8 << 20, (8 << 20) + 1, _LARGE])
def test_a_large_file_of_any_size_is_stored_whole(store: S3Store, tmp_path: Path, size: int) -> None:
    file, name = large_file(tmp_path, size), key()
    store.put_large(name, file, institution=INSTITUTION)
    assert whole(store, name, size) == file.read_bytes()
    assert [(one.key, one.size) for one in store.list(store.bucket(INSTITUTION), "", "")] == [(name, size)]


def test_nothing_is_left_of_an_upload_that_failed(bed: Bed, store: S3Store, tmp_path: Path) -> None:
    store.check([INSTITUTION])
    with pytest.raises(OSError, match="directory"):
        store.put_large(key(), tmp_path, institution=INSTITUTION)  # not a file
    assert keys(store) == []
    assert uploads(bed.plan.s3, store) == []


def test_an_object_that_is_missing_or_too_short_is_damaged(store: S3Store) -> None:
    place = store.put(key(), [b"x" * 100], institution=INSTITUTION)
    for start, length in ((0, 101), (99, 2), (100, 1), (1000, 1)):
        with pytest.raises(DamagedError, match=place.key):
            store.read(Range(place.store, place.key, start, length))
    with pytest.raises(DamagedError, match="is missing"):
        store.read(Range(place.store, f"{place.key}x", 0, 1))


def test_a_bucket_that_is_missing_is_named_and_not_made(bed: Bed, store: S3Store) -> None:
    bucket = store.bucket(INSTITUTION)
    for asked in (
        lambda: store.read(Range(bucket, key(), 0, 1)),
        lambda: store.delete(bucket, [key()]),
        lambda: list(store.list(bucket, "", "")),
    ):
        with pytest.raises(UnavailableError, match=f"no bucket {bucket}.*cluster.store.bucket_prefix"):
            asked()
    with bed.s3(attempts=3) as client:
        assert bucket not in {one["Name"] for one in client.list_buckets()["Buckets"]}


def test_a_bucket_that_went_is_not_made_anew_for_what_comes(bed: Bed, store: S3Store) -> None:
    store.check([INSTITUTION])
    with bed.s3(attempts=3) as client:
        client.delete_bucket(Bucket=store.bucket(INSTITUTION))
    with pytest.raises(UnavailableError, match=f"no bucket {store.bucket(INSTITUTION)}"):
        store.put(key(), [b"x"], institution=INSTITUTION)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"secret_key": "wrong"}, "SignatureDoesNotMatch"), ({"access_key": "W"}, "InvalidAccessKeyId")],
)
def test_wrong_credentials_are_told_in_a_sentence(bed: Bed, tmp_path: Path, wrong: dict[str, str], said: str) -> None:
    with s3.opened(s3.settings(bed, tmp_path, **wrong)) as store:
        with pytest.raises(SettingsError, match=rf"cluster\.store\.access_key \({said}\).*secret_key_file"):
            store.check([INSTITUTION])
        with pytest.raises(UnavailableError, match=said):
            store.put(key(), [b"x"], institution=INSTITUTION)
        with pytest.raises(UnavailableError, match=said):
            store.read(Range(store.bucket(INSTITUTION), key(), 0, 1))


@pytest.mark.parametrize("content", [None, "", " \n", "two words", b"\xff"])
def test_a_secret_key_that_cannot_be_read_is_told_at_once(bed: Bed, tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=r"cluster\.store\.secret_key_file"):
        S3Store(s3.settings(bed, tmp_path, secret_key_file=file))


@pytest.mark.parametrize("other", ["zoo/elephant", "ape", INSTITUTION, f"{INSTITUTION}0", f"{INSTITUTION}-east/1"])
def test_a_bucket_with_other_things_in_it_is_refused_and_left(bed: Bed, store: S3Store, other: str) -> None:
    bucket = store.bucket(INSTITUTION)
    with bed.s3(attempts=3) as client:
        client.create_bucket(Bucket=bucket)
        ours = key()
        for name in (ours, other):
            client.put_object(Bucket=bucket, Key=name, Body=b"x")
    with pytest.raises(SettingsError, match=rf"bucket_prefix: bucket {bucket} holds '{other}'"):
        store.check([INSTITUTION])
    with pytest.raises(UnavailableError, match=other):
        store.put(key(), [b"x"], institution=INSTITUTION)
    assert sorted(keys(store)) == sorted([ours, other])


def test_a_bucket_of_ones_own_is_taken_as_it_is(store: S3Store, tmp_path: Path, bed: Bed) -> None:
    store.put(name := key(), [b"x"], institution=INSTITUTION)
    prefix = store.bucket(INSTITUTION).removesuffix(f"-{INSTITUTION}")
    with s3.opened(s3.settings(bed, tmp_path, bucket_prefix=prefix)) as again:
        again.check([INSTITUTION])
        again.put(other := key(), [b"y"], institution=INSTITUTION)
        assert keys(again) == sorted([name, other])


def test_a_bucket_that_is_another_users_is_refused(bed: Bed, store: S3Store, tmp_path: Path) -> None:
    store.check([INSTITUTION])
    bucket = store.bucket(INSTITUTION)
    with s3.user(bed) as (access_key, secret_key):
        prefix = bucket.removesuffix(f"-{INSTITUTION}")
        others = s3.settings(bed, tmp_path, access_key=access_key, secret_key=secret_key, bucket_prefix=prefix)
        with s3.opened(others) as other, pytest.raises(SettingsError, match=f"bucket {bucket} is another user's"):
            other.check([INSTITUTION])


def test_a_full_quota_is_told_and_leaves_nothing(bed: Bed, tmp_path: Path) -> None:
    with s3.user(bed, max_size="4M") as (access_key, secret_key):
        own = s3.settings(bed, tmp_path, access_key=access_key, secret_key=secret_key)
        with s3.opened(own) as store:
            first, body = key(), os.urandom(3 << 20)
            store.put(first, [body], institution=INSTITUTION)
            with pytest.raises(OutOfSpaceError, match="quota"):
                store.put(key(), [body], institution=INSTITUTION)
            with pytest.raises(OutOfSpaceError, match="quota"):
                store.put_large(key(), large_file(tmp_path), institution=INSTITUTION)
            assert whole(store, first, len(body)) == body
            assert keys(store) == [first]
            access = dataclasses.replace(bed.plan.s3, access_key=access_key, secret_key=secret_key)
            assert uploads(access, store) == []


def test_a_listing_goes_on_from_behind_any_key(store: S3Store) -> None:
    names = sorted(f"{INSTITUTION}/1.2/1.2.{number % 3}/{number:04}" for number in range(1030))
    store.check([INSTITUTION])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, [b"x"], institution=INSTITUTION), names))
    assert keys(store) == names
    bucket = store.bucket(INSTITUTION)
    of_one = [name for name in names if "/1.2.1/" in name]
    assert [one.key for one in store.list(bucket, f"{INSTITUTION}/1.2/1.2.1", of_one[7])] == of_one[8:]
    assert [one.key for one in store.list(bucket, "other/", "")] == []
    store.delete(bucket, [*names[:500], f"{INSTITUTION}/gone"])
    store.delete(bucket, [*names[:10]])
    assert keys(store) == names[500:]


def test_what_is_altered_on_its_way_is_not_stored(relay: Relay, by_relay: S3Store, tmp_path: Path) -> None:
    body, name = os.urandom(100_000), key()
    relay.harm(Harm.ALTER_BODY, method="PUT")
    by_relay.put(name, [body], institution=INSTITUTION)
    assert whole(by_relay, name, len(body)) == body
    file, name = large_file(tmp_path), key()
    relay.harm(Harm.ALTER_BODY, method="PUT", containing="partNumber=2")
    by_relay.put_large(name, file, institution=INSTITUTION)
    assert whole(by_relay, name, _LARGE) == file.read_bytes()
    assert relay.harm_left == 0


def test_an_object_whose_answer_was_lost_is_ones_own(relay: Relay, by_relay: S3Store, tmp_path: Path) -> None:
    body, name = os.urandom(100_000), key()
    relay.harm(Harm.LOSE_ANSWER, method="PUT")
    by_relay.put(name, [body[:10], body[10:]], institution=INSTITUTION)
    assert whole(by_relay, name, len(body)) == body
    file, name = large_file(tmp_path), key()
    for method, containing in (("PUT", ""), ("POST", "uploads"), ("PUT", "partNumber=1"), ("POST", "uploadId")):
        relay.harm(Harm.LOSE_ANSWER, method=method, containing=containing)
    by_relay.put_large(name, file, institution=INSTITUTION)
    assert whole(by_relay, name, _LARGE) == file.read_bytes()
    assert relay.harm_left == 0


def test_an_object_of_somebody_else_is_not_taken_for_ones_own(relay: Relay, by_relay: S3Store) -> None:
    for stored in (b"y" * 1000, b"x" * 999, b"x" * 1001, b"y"):
        name = key()
        by_relay.put(name, [stored], institution=INSTITUTION)
        relay.harm(Harm.LOSE_ANSWER, method="PUT")
        with pytest.raises(ExistsError):
            by_relay.put(name, [b"x" * 1000], institution=INSTITUTION)
        assert whole(by_relay, name, len(stored)) == stored


def test_a_gateway_that_wants_less_is_asked_again(relay: Relay, by_relay: S3Store) -> None:
    name = key()
    relay.harm(*[Harm.SLOW_DOWN] * 3, method="PUT")
    by_relay.put(name, [b"abc"], institution=INSTITUTION)
    relay.harm(*[Harm.SLOW_DOWN] * 3, method="GET")
    assert whole(by_relay, name, 3) == b"abc"
    assert relay.harm_left == 0


def test_a_gateway_that_wants_less_is_not_asked_again_by_everybody(relay: Relay, by_relay: S3Store) -> None:
    relay.always(Harm.SLOW_DOWN)
    before, count = relay.asked, 200

    def ask(_: int) -> None:
        with pytest.raises(UnavailableError, match="SlowDown"):
            by_relay.put(key(), [b"x"], institution=INSTITUTION)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(ask, range(count)))
    assert relay.asked - before < 1.5 * count
    relay.always(None)
    by_relay.put(key(), [b"x"], institution=INSTITUTION)


def test_variables_of_others_change_nothing(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "wrong")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    with s3.opened(s3.settings(bed, tmp_path)) as store:
        name = key()
        store.put(name, [b"abc"], institution=INSTITUTION)
        assert whole(store, name, 3) == b"abc"


def test_a_gateway_whose_certificate_the_system_trusts_is_asked_over_tls(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path, "authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with (
        Relay(bed.plan.s3.endpoint, authority.issue("gateway")).running() as relay,
        s3.opened(s3.settings(bed, tmp_path, endpoints=(relay.url,))) as store,
    ):
        first, second, file = key(), key(), large_file(tmp_path, 100)
        store.put(first, [b"abc"], institution=INSTITUTION)
        store.put_large(second, file, institution=INSTITUTION)
        assert whole(store, first, 3) == b"abc"
        assert keys(store) == sorted([first, second])
        assert store.complaint() == ""


def test_a_gateway_whose_certificate_nobody_vouches_for_is_not_asked(bed: Bed, tmp_path: Path) -> None:
    certificate = Authority(tmp_path, "authority").issue("gateway")
    with Relay(bed.plan.s3.endpoint, certificate).running() as relay:
        both = (relay.url, bed.plan.s3.endpoint)
        with s3.opened(s3.settings(bed, tmp_path, endpoints=both)) as store:
            store.put(name := key(), [b"abc"], institution=INSTITUTION)
            assert whole(store, name, 3) == b"abc"
        assert relay.asked == 0


def test_what_is_expected_is_read_once_and_within_bounds(relay: Relay, by_relay: S3Store) -> None:
    body, size = os.urandom(4 << 20), 64 << 10
    place = by_relay.put(key(), [body], institution=INSTITUTION)
    objects = S3Objects(by_relay, lambda: 0)
    ranges = [Range(place.store, place.key, start, size) for start in range(0, len(body), size)]
    before, found = relay.asked, hashlib.sha256()
    objects.expect(ranges)
    for where in ranges:
        room = bytearray(size)
        objects.read_into(where, memoryview(room))
        again = bytearray(size)
        assert objects.read_at_hand(where, memoryview(again))
        assert again == room
        found.update(room)
    assert found.digest() == hashlib.sha256(body).digest()
    assert relay.asked - before <= 3


def test_what_was_expected_and_cannot_be_read_is_told_to_who_reads_it(store: S3Store) -> None:
    place = store.put(key(), [b"x" * 100], institution=INSTITUTION)
    objects = S3Objects(store, lambda: 0)
    short, gone = Range(place.store, place.key, 0, 101), Range(place.store, f"{place.key}x", 0, 10)
    good = Range(place.store, place.key, 0, 100)
    objects.expect([short, gone, good])
    for wrong in (short, gone):
        with pytest.raises(DamagedError):
            objects.read(wrong)
    assert objects.read(good) == b"x" * 100
