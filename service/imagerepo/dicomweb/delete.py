"""Delete studies, series and instances.

PS3.18 leaves DELETE of these resources to implementations; clients send it to the resource's own URL. Here the query
may say why: `?reason=…`.

Source: PS3.18 sections 10.1.1 (Studies Service: Resource Descriptions), 8.5 (Status Codes); RFC 9110 section 9.3.5.
"""

import asyncio

from imagerepo.dicomweb.wado import instance_scope, series_scope, study_scope
from imagerepo.model.scope import Scope
from imagerepo.web.exchange import Exchange


async def study(exchange: Exchange) -> None:
    """A study."""
    await _delete(exchange, study_scope(exchange))


async def series(exchange: Exchange) -> None:
    """A series."""
    await _delete(exchange, series_scope(exchange))


async def instance(exchange: Exchange) -> None:
    """An instance, with all its versions."""
    await _delete(exchange, instance_scope(exchange))


async def _delete(exchange: Exchange, scope: Scope) -> None:
    reason = exchange.query_value("reason") or ""
    await asyncio.to_thread(exchange.repository.deletion.delete, exchange.caller, scope, reason)
    await exchange.start(204, [])
    await exchange.end()
