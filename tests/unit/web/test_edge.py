import asyncio

from imagerepo.web.edge import Edge


def test_a_request_cut_off_at_the_end_is_told_to_come_again() -> None:
    sent: list[dict[str, object]] = []

    async def endless(connection, receive, send) -> None:
        await asyncio.Event().wait()

    async def send(message) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def run() -> None:
        connection = {"type": "http", "method": "GET", "path": "/image/1.2", "headers": []}
        answering = asyncio.create_task(Edge(endless)(connection, receive, send))
        await asyncio.sleep(0)
        answering.cancel()
        await asyncio.wait([answering])

    asyncio.run(run())
    assert sent[0]["status"] == 503
    assert b"drain_grace" in sent[1]["body"]  # pyright: ignore[reportOperatorIssue] - ASGI's bytes
