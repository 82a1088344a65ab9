"""Search for studies, series and instances.

Source: PS3.18 sections 10.6 (Search Transaction), 8.3.4.4 (Response Pagination).
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

from imagerepo.dicomweb import results
from imagerepo.dicomweb.negotiate import JSON, check_json
from imagerepo.dicomweb.query import Search, Within, parse
from imagerepo.dicomweb.warnings import warning
from imagerepo.model.query import Between, BetweenMoments, Found, Fuzzy, Key, Level, Query, Wildcard
from imagerepo.web.coding import IDENTITY, WORTHWHILE, Compressor, coding_for, compress, compressor
from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import Headers

_INLINE = 64 << 10  # bytes of an answer that are compressed without a thread
_FEW = 100  # entities that are looked up without a thread
_MANY = (Wildcard, Between, BetweenMoments, Fuzzy)
_NAMES = frozenset({Key.STUDY_INSTANCE_UID, Key.SERIES_INSTANCE_UID, Key.SOP_INSTANCE_UID})


async def studies(exchange: Exchange) -> None:
    """Studies."""
    await _search(exchange, Within(exchange.caller.institution, Level.STUDY))


async def series(exchange: Exchange) -> None:
    """Series of all studies."""
    await _search(exchange, Within(exchange.caller.institution, Level.SERIES))


async def instances(exchange: Exchange) -> None:
    """Instances of all studies."""
    await _search(exchange, Within(exchange.caller.institution, Level.INSTANCE))


async def study_series(exchange: Exchange) -> None:
    """A study's series."""
    study = exchange.uid("study", "Study Instance UID")
    await _search(exchange, Within(exchange.caller.institution, Level.SERIES, study))


async def study_instances(exchange: Exchange) -> None:
    """A study's instances."""
    study = exchange.uid("study", "Study Instance UID")
    await _search(exchange, Within(exchange.caller.institution, Level.INSTANCE, study))


async def series_instances(exchange: Exchange) -> None:
    """A series' instances."""
    study = exchange.uid("study", "Study Instance UID")
    of_series = exchange.uid("series", "Series Instance UID")
    await _search(exchange, Within(exchange.caller.institution, Level.INSTANCE, study, of_series))


async def _search(exchange: Exchange, within: Within) -> None:
    check_json(exchange.accept)
    repository = exchange.repository
    search = parse(exchange.query, within, repository.settings.http.max_search_results, repository.search.optional)
    await repository.audit.query(exchange.caller, _text(exchange))
    found, more = await _find(exchange, replace(search.query, with_header=False))
    # An ancestor that the path names is known to the caller; the others are told (Table 10.6.1-5).
    answer = results.Answer(within.level, exchange.base, within.study_uid is None, search.fields)
    headers = [*_warnings(exchange, search, more=more), (b"vary", b"Accept, Accept-Encoding, Authorization")]
    if search.query.with_header and found:
        await _pages(exchange, found, answer, headers)
        return
    body = results.encode(found, answer)
    coding = coding_for(exchange) if len(body) >= WORTHWHILE else IDENTITY
    if coding != IDENTITY:
        headers.append((b"content-encoding", coding.encode()))
        if len(body) > _INLINE:
            body = await asyncio.to_thread(compress, body, coding)
        else:
            body = compress(body, coding)
    await exchange.answer(200, JSON.encode(), body, headers)


async def _pages(exchange: Exchange, found: Sequence[Found], answer: results.Answer, headers: Headers) -> None:
    """An answer with what stored headers say, which are read while it leaves."""
    coding = coding_for(exchange)
    coded: Headers = [] if coding == IDENTITY else [(b"content-encoding", coding.encode())]
    await exchange.start(200, [(b"content-type", JSON.encode()), *headers, *coded])
    if exchange.head:
        await exchange.end()
        return
    one = compressor(coding)
    pages = exchange.repository.search.headers(exchange.caller.institution, found)
    opening = b"["
    while True:
        await exchange.drained()
        body = await asyncio.to_thread(_page, pages, answer, one, opening)
        if body is None:
            break
        opening = b",\n"
        if body:
            await exchange.piece(body)
    await exchange.end(one.compress(b"]" if opening != b"[" else b"[]") + one.flush())


def _page(pages: Iterator[Sequence[Found]], answer: results.Answer, one: Compressor, opening: bytes) -> bytes | None:
    """A page's bytes, as far as they are ready; None after the last."""
    page = next(pages, None)
    return None if page is None else one.compress(opening + results.entries(page, answer))


async def _find(exchange: Exchange, query: Query) -> tuple[list[Found], bool]:
    """What matches, and whether there is more of it."""
    if query.limit == 0:
        return [], False
    one_more = replace(query, limit=query.limit + 1)
    find = exchange.repository.search.search
    found = find(one_more) if is_brief(query) else await asyncio.to_thread(find, one_more)
    return list(found[: query.limit]), len(found) > query.limit


def is_brief(query: Query) -> bool:
    """Whether a search takes less time than handing it to a thread.

    Only what a UID names: any other match, however few it finds, may look at all there is, while nothing else
    of this process is answered.
    """
    return (
        not query.optional
        and query.limit <= _FEW
        and query.offset <= _FEW
        and any(key in _NAMES for key, _ in query.matches)
        and not any(isinstance(match, _MANY) for _, match in query.matches)
    )


def _text(exchange: Exchange) -> str:
    """The request as the journal keeps it."""
    asked: bytes = exchange.connection["query_string"]
    path: str = exchange.connection["path"]
    return f"{path}?{asked.decode('latin-1')}" if asked else path


def _warnings(exchange: Exchange, search: Search, *, more: bool) -> Headers:
    texts = [
        f"The {name} parameter is not supported. Only literal matching has been performed."
        for name in search.unsupported
    ]
    if more:
        texts.append("There are additional results that can be requested.")
    return [warning(exchange.base, text) for text in texts]
