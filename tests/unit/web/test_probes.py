import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagerepo.web.probes import PATHS, routes
from imagerepo.web.state import ServingState
from tests.wire.dicomweb_serving import serving


@pytest.mark.parametrize("path", sorted(PATHS))
def test_a_process_whose_threads_are_all_busy_answers_probes(path: str) -> None:
    state = ServingState(draining=lambda: False, check=lambda: None, render_metrics=lambda: b"")
    with serving() as one:
        alive = next(route for route in routes(one.repository, state) if getattr(route, "path", "") == path)
    connection = {"type": "http", "method": "GET", "path": path, "headers": []}
    statuses: list[int] = []

    async def send(message) -> None:
        statuses.append(message.get("status", 0))

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def ask() -> None:
        released = threading.Event()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        busy = asyncio.create_task(asyncio.to_thread(released.wait))
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(10):
                await alive.app(connection, receive, send)
        finally:
            released.set()
            await busy

    asyncio.run(ask())
    assert statuses[0] == 200
