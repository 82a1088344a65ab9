"""The start page's path."""

import asyncio

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from imagerepo.errors import NotFoundError
from imagerepo.flows.repository import Repository
from imagerepo.model.caller import Role
from imagerepo.model.query import Level, Query
from imagerepo.ui.page import CONTENT_SECURITY_POLICY, Links, render_choice, render_start
from imagerepo.web.endpoint import Endpoint, Verb, resolve
from imagerepo.web.exchange import PREFIX, Exchange

_LATEST = 20
_HTML = b"text/html; charset=utf-8"
_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


async def start(exchange: Exchange) -> None:
    """What the caller's institution holds."""
    repository, institution = exchange.repository, exchange.caller.institution
    await repository.audit.query(exchange.caller, "the latest studies, on the start page")
    query = Query(institution, Level.STUDY, (), _LATEST)
    found = await asyncio.to_thread(repository.search.search, query)
    holdings = await asyncio.to_thread(repository.index.holdings)
    root = repository.settings.public_url or ""
    base = f"{root}{exchange.connection.get(PREFIX, '')}"
    page = render_start(institution, Links(root, base), holdings.get(institution), [one.study for one in found])
    await exchange.answer(200, _HTML, page.encode("utf-8", "replace"), _HEADERS)


class _Start:
    """The start page, or a choice of institutions where the caller has to name one."""

    def __init__(self, page: Endpoint, repository: Repository) -> None:
        self.template = page.template
        self._page = page
        self._repository = repository

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        if connection["method"] in {"GET", "HEAD"} and not connection.get(PREFIX):
            try:
                resolve(self._repository, connection)
            except NotFoundError:
                await _choose(self._repository, send)
                return
        await self._page(connection, receive, send)


async def _choose(repository: Repository, send: Send) -> None:
    body = render_choice(repository.access.institutions(), repository.settings.public_url or "").encode()
    headers = [(b"content-type", _HTML), (b"content-length", b"%d" % len(body)), *_HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def routes(repository: Repository) -> list[BaseRoute]:
    """The start page."""
    page = Endpoint("/", repository, {"GET": Verb(Role.READ, start)})
    return [Route("/", _Start(page, repository))]
