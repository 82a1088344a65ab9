"""Send stored bytes: piece by piece, as they are, none read before the last has left."""

from imagerepo.model.instance import Version
from imagerepo.web.exchange import Exchange


async def send_range(exchange: Exchange, version: Version, offset: int, length: int) -> None:
    """Send `length` bytes of a version's Part 10 file."""
    left = length
    async for piece in exchange.repository.retrieve.stream(exchange.caller, version, offset, length):
        await exchange.piece(piece)
        left -= len(piece)
        if left:
            await exchange.drained()


async def send_file(exchange: Exchange, version: Version) -> None:
    """Send a version's Part 10 file."""
    await send_range(exchange, version, 0, version.size)
