"""Retrieve studies, series and instances as stored.

Source: PS3.18 section 10.4 (Retrieve Transaction), 10.4.1.1.1 (Instance Resources).
"""

import secrets
from collections.abc import Iterator, Sequence

from imagerepo.dicomweb.negotiate import DICOM, Form, checker_of_many, choose_instance
from imagerepo.dicomweb.parts import Frame, overhead, part_type, total
from imagerepo.flows.batches import Part
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.model.uids import Uid
from imagerepo.web.contents import survey
from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import Headers
from imagerepo.web.first_image import FirstImage
from imagerepo.web.streaming import send, whole
from imagerepo.web.validators import caching, digest_of, etag, not_modified


class Wado:
    """Handlers of the instance resources."""

    def __init__(self, first_image: FirstImage) -> None:
        self._first_image = first_image

    async def instance(self, exchange: Exchange) -> None:
        """One instance."""
        version = await self.admitted_version(exchange)
        form = choose_instance(exchange.accept, version.transfer_syntax)
        digest = digest_of(version)
        tag = etag(digest, form.value)
        if await not_modified(exchange, tag):
            return
        part = part_type(DICOM, version.transfer_syntax)
        opening = closing = b""
        if form is Form.PARTS:
            frame = Frame(digest, DICOM)
            content_type, opening, closing = frame.content_type, frame.opening(part), frame.closing
        else:
            content_type = f"{DICOM}; transfer-syntax={version.transfer_syntax}".encode()
        length = len(opening) + version.size + len(closing)
        await exchange.start(
            200, [(b"content-type", content_type), (b"content-length", b"%d" % length), *caching(tag)]
        )
        if not exchange.head:
            await send(exchange, (opening, whole(version), closing))
            self._first_image.sent(exchange.caller, version.study_uid)
        await exchange.end()

    async def study(self, exchange: Exchange) -> None:
        """All instances of a study."""
        await self._many(exchange, study_scope(exchange))

    async def series(self, exchange: Exchange) -> None:
        """All instances of a series."""
        await self._many(exchange, series_scope(exchange))

    async def admitted_version(self, exchange: Exchange) -> Version:
        """The version that the path names, its reading entered into the journal."""
        version = exchange.repository.retrieve.version(instance_scope(exchange))
        self._first_image.asked(exchange.caller, version.study_uid)
        await exchange.repository.audit.read(exchange.caller, version.study_uid)
        return version

    async def _many(self, exchange: Exchange, scope: Scope) -> None:
        retrieve = exchange.repository.retrieve
        check = checker_of_many(exchange.accept)
        # Looked for before the survey, which takes its time on large studies.
        self._first_image.asked(exchange.caller, scope.study_uid or "")

        def weigh(version: Version) -> int:
            check(version.transfer_syntax)
            return version.size + overhead(part_type(DICOM, version.transfer_syntax))

        contents = await survey(retrieve, scope, weigh)
        await exchange.repository.audit.read(exchange.caller, contents.study_uid)
        headers: Headers = []
        digest = secrets.token_hex(16)
        if contents.complete:
            digest = contents.digest
            tag = etag(digest, Form.PARTS.value)
            if await not_modified(exchange, tag):
                return
            headers = [(b"content-length", b"%d" % total(contents.length)), *caching(tag)]
        frame = Frame(digest, DICOM)
        await exchange.start(200, [(b"content-type", frame.content_type), *headers])
        if not exchange.head:
            write_head = frame.opening

            def framed(versions: Sequence[Version]) -> Iterator[Part]:
                for version in versions:
                    check(version.transfer_syntax)
                    yield write_head(part_type(DICOM, version.transfer_syntax))
                    yield whole(version)

            async for page in contents.pages(retrieve):
                rest = page
                if write_head == frame.opening:
                    await send(exchange, framed(page[:1]))
                    self._first_image.sent(exchange.caller, contents.study_uid)
                    rest, write_head = page[1:], frame.between
                await send(exchange, framed(rest))
        await exchange.end(frame.closing)


def study_scope(exchange: Exchange) -> Scope:
    """The study that the path names."""
    return Scope(exchange.caller.institution, _study(exchange))


def series_scope(exchange: Exchange) -> Scope:
    """The series that the path names."""
    return Scope(exchange.caller.institution, _study(exchange), exchange.uid("series", "Series Instance UID"))


def instance_scope(exchange: Exchange) -> Scope:
    """The instance that the path names."""
    return Scope(
        exchange.caller.institution,
        _study(exchange),
        exchange.uid("series", "Series Instance UID"),
        exchange.uid("instance", "SOP Instance UID"),
    )


def _study(exchange: Exchange) -> Uid:
    return exchange.uid("study", "Study Instance UID")
