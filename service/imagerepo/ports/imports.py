"""What an import reads, where it stores, and what it has noted."""

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol, Self

from imagerepo.model.imports import Candidate, Result, Thing, Unit


class Source(Protocol):
    """What is to be imported. Nothing of it is changed."""

    def units(self) -> Iterator[Unit]:
        """Everything, in parts that one thread reads; memory does not grow with their number."""
        ...

    def things(self, unit: Unit) -> Iterator[Thing]:
        """What a unit holds. What cannot be read is told as Unusable. For any thread."""
        ...


class Target(Protocol):
    """Where instances go. Each thread opens its own; leaving the context lets go of it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def store(self, candidates: Sequence[Candidate]) -> Sequence[Result]:
        """Store, in order; blocks, and tries again where that may help. One result a candidate.

        A result that is no refusal means that it is durable there.

        Raises:
            UnavailableError: it does not answer, or has no room, for longer than is waited for.
            PeerError, RefusedError: nothing can be stored there as things are.
        """
        ...


class Notes(Protocol):
    """What earlier runs have stored. For any thread."""

    def known(self, keys: Collection[bytes]) -> set[bytes]:
        """Those of `keys` that are noted."""
        ...

    def note(self, keys: Collection[bytes], study: str = "") -> None:
        """Note what is stored, and one of its studies. What a crash takes away is stored again, which is harmless."""
        ...

    @property
    def study(self) -> str:
        """The study that was noted last; empty: none was."""
        ...
