"""Send stored bytes: piece by piece, as they are, none read before the last has left."""

from collections.abc import Iterable
from contextlib import aclosing

from imagerepo.flows.batches import Extent, Part
from imagerepo.model.instance import Version
from imagerepo.web.exchange import Exchange


async def send(exchange: Exchange, parts: Iterable[Part]) -> None:
    """Send text and bytes of versions, one after another."""
    async with aclosing(exchange.repository.retrieve.stream(exchange.caller, parts)) as pieces:
        async for piece in pieces:
            await exchange.piece(piece)
            await exchange.drained()


def whole(version: Version) -> Extent:
    """All of a version's Part 10 file."""
    return Extent(version, 0, version.size)
