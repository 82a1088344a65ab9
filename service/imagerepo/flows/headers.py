"""Stored headers of what a search found: what the index does not know is read from an entity's first instance."""

from collections.abc import Iterator, Sequence
from typing import Final

from imagerepo.dicom import header
from imagerepo.errors import NotFoundError
from imagerepo.flows.metadata import Metadata, slices
from imagerepo.model.instance import Version
from imagerepo.model.query import Found
from imagerepo.model.scope import Scope
from imagerepo.ports.index import Index

AT_ONCE: Final = 50
"""Entities whose headers are held at a time, at the most."""
_TEXT: Final = 512 << 10  # bytes of DICOM JSON whose headers are held at a time, or one header


class Headers:
    """Reads headers. Safe to call from any number of threads."""

    def __init__(self, index: Index, metadata: Metadata) -> None:
        self._index = index
        self._metadata = metadata

    def read(self, institution: str, found: Sequence[Found]) -> Iterator[Sequence[Found]]:
        """The same with their headers, a few at a time, without those that have gone meanwhile; blocks.

        Of a header too large to be held there is what the index knows (flows.metadata).
        """
        for begin in range(0, len(found), AT_ONCE):
            few: list[Found] = []
            held = 0
            for one, text in self._texts(institution, found[begin : begin + AT_ONCE]):
                if few and held + len(text) > _TEXT:
                    yield few
                    few, held = [], 0
                few.append(one._replace(header=header.read(text)))
                held += len(text)
            if few:
                yield few

    def _texts(self, institution: str, found: Sequence[Found]) -> Iterator[tuple[Found, bytes]]:
        known = [(one, version) for one in found if (version := self._first(institution, one)) is not None]
        entities = iter(known)
        for some in slices([version for _, version in known]):
            # Addresses of bulk data are below the instance's: whoever answers knows how it is called.
            made = self._metadata.of(some, [""] * len(some))
            self._metadata.keep(made.fresh)
            for text in made.texts:
                yield next(entities)[0], text

    def _first(self, institution: str, found: Found) -> Version | None:
        """The first instance of an entity."""
        study, series, instance = found.study, found.series, found.instance
        scope = Scope(institution, study.uid, series and series.uid, instance and instance.uid)
        try:
            return next((version for _, version in self._index.versions(scope, 0, 1)), None)
        except NotFoundError:
            return None
