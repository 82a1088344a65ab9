"""Bytes that are not what was stored end an answer before its last byte, where that is wanted."""

import asyncio

import pytest

from imagerepo.adapters.memory import Memory, MemoryCommits, MemoryIndex, MemoryObjects
from imagerepo.dimse.outgoing import DataSets
from imagerepo.dimse.pdu import Framing
from imagerepo.errors import DamagedError
from imagerepo.flows.batches import Extent, Part
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.sealing import TRUSTING, Seals, Verifying
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from tests.harness.dicom_file import ct
from tests.harness.requests import caller, store

FILES = [ct(1, size=1000), ct(2, size=1_700_000), ct(3, size=5000)]  # the second fills several buffers
SIZES = [len(file.part10) for file in FILES]


class Repository:
    """Three instances, read with or without looking."""

    def __init__(self, seals: Seals) -> None:
        self._memory = Memory()
        MemoryCommits(self._memory).commit([store(file) for file in FILES])
        self.retrieve = Retrieve(MemoryIndex(self._memory), MemoryObjects(self._memory), seals)

    @property
    def versions(self) -> list[Version]:
        return [one for page in self.retrieve.pages(Scope("default", FILES[0].study)) for one in page]

    def alter(self, version: Version, at: int) -> None:
        """One bit of an instance's file."""
        (where,) = version.copy.ranges
        body = bytearray(self._memory.objects[where.key])
        body[where.offset + at] ^= 1
        self._memory.objects[where.key] = bytes(body)

    def sent(self, parts: list[Part]) -> tuple[int, bool]:
        """How many bytes of an answer leave, and whether it ends as it should."""
        sent = 0

        async def send() -> None:
            nonlocal sent
            async for piece in self.retrieve.stream(caller(), parts):
                sent += len(piece)

        try:
            asyncio.run(send())
        except DamagedError:
            return sent, False
        return sent, True

    def sent_as_message(self, version: Version) -> bool:
        """Whether the end of a data set leaves in a DIMSE message."""
        try:
            for _ in DataSets(self.retrieve)(version).fragments(Framing(1, 0, takes_lent=False)):
                pass
        except DamagedError:
            return False
        return True


def whole(versions: list[Version]) -> list[Part]:
    return [part for one in versions for part in (b"--boundary", Extent(one, 0, one.size))]


def test_what_is_as_it_was_stored_is_sent() -> None:
    repository = Repository(Verifying())
    versions = repository.versions
    assert repository.sent(whole(versions)) == (sum(SIZES) + 3 * len(b"--boundary"), True)
    assert all(repository.sent_as_message(version) for version in versions)


@pytest.mark.parametrize("place", ["preamble", "header", "last byte"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_altered_instance_is_never_sent_whole(which: int, place: str) -> None:
    repository = Repository(Verifying())
    version = repository.versions[which]
    at = {"preamble": 5, "header": version.layout.data_set_offset + 9, "last byte": version.size - 1}[place]
    repository.alter(version, at)
    sent, is_whole = repository.sent(whole(repository.versions))
    assert not is_whole
    assert sent < sum(SIZES[: which + 1])
    assert repository.sent_as_message(version) == (place == "preamble")  # which is not in the message


def test_parts_of_an_instance_are_sent_as_they_are() -> None:
    repository = Repository(Verifying())
    version = repository.versions[1]
    repository.alter(version, version.size - 1)
    some = [Extent(version, 0, 0), Extent(version, 1000, version.size - 1000), Extent(version, 0, 500)]
    assert repository.sent([some[0], *some[1:], *whole(repository.versions[2:])])[1]


def test_without_the_setting_nothing_is_compared() -> None:
    repository = Repository(TRUSTING)
    for version in repository.versions:
        repository.alter(version, version.size - 1)
    assert repository.sent(whole(repository.versions))[1]
