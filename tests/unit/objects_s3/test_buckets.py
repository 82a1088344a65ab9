"""adapters.objects_s3.buckets: names."""

import re
import string

from hypothesis import given
from hypothesis import strategies as st

from imagerepo.adapters.objects_s3.buckets import bucket_of

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_LETTERS = string.ascii_lowercase + string.digits
institutions = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True, alphabet=_LETTERS + "-")
prefixes = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?", fullmatch=True, alphabet=_LETTERS + "-")


@given(prefixes, institutions)
def test_every_institution_has_a_name_that_a_host_may_have(prefix: str, institution: str) -> None:
    assert _NAME.fullmatch(bucket_of(prefix, institution))


@given(prefixes, institutions, institutions)
def test_two_institutions_have_two_buckets(prefix: str, one: str, other: str) -> None:
    assert (bucket_of(prefix, one) == bucket_of(prefix, other)) == (one == other)


def test_those_that_begin_alike_have_two_buckets() -> None:
    alike = "a" * 62
    assert len({bucket_of("imagerepo", f"{alike}{end}") for end in ("", "b", "c", "-")}) == 4


def test_a_plain_name_is_told_by_its_bucket() -> None:
    assert bucket_of("imagerepo", "north") == "imagerepo-north"
