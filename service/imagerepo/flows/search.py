"""Query → index → page. The protocols make the `Query` and dress what is found.

What the index does not know is matched in stored headers, of what the index leads to, up to a limit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from imagerepo.dicom.attributes import lookup
from imagerepo.dicom.matching import holds
from imagerepo.errors import SettingsError, TooLargeError
from imagerepo.flows.headers import Headers
from imagerepo.model.query import Found, Path, Query
from imagerepo.ports.index import Index

USUAL = (
    "AcquisitionDate", "AcquisitionTime", "AdmissionID", "ContentDate", "ContentTime", "FrameOfReferenceUID",
    "ImageType", "InstitutionName", "InstitutionalDepartmentName", "Laterality", "Manufacturer",
    "ManufacturerModelName", "NameOfPhysiciansReadingStudy", "OperatorsName", "OtherPatientIDs", "PatientAge",
    "PatientComments", "PatientSize", "PatientWeight", "PerformingPhysicianName", "ProcedureCodeSequence",
    "ProtocolName", "ReferencedStudySequence", "RequestAttributesSequence", "SeriesDate", "SeriesTime",
    "StationName", "StudyComments",
)  # fmt: skip
"""Optional keys that are there without any setting; a sequence means all in it."""

_UNLIMITED = 1 << 40  # entities


@dataclass(frozen=True, slots=True)
class OptionalKeys:
    """What may be asked of stored headers."""

    paths: frozenset[Path]  # of a sequence: whatever is in it too
    most: int  # headers looked through by a search

    @classmethod
    def of(cls, names: Iterable[str], most: int) -> "OptionalKeys":
        """The usual ones, and those of settings: keywords or tags, joined by dots. Raises SettingsError."""
        return cls(frozenset(_path(name) for name in (*USUAL, *names)), most)

    def __contains__(self, path: Path) -> bool:
        return any(path[:length] in self.paths for length in range(1, len(path) + 1))


class Search:
    """Finds patients, studies, series and instances."""

    def __init__(self, index: Index, headers: Headers, optional: OptionalKeys) -> None:
        self._index = index
        self._headers = headers
        self.optional = optional

    def search(self, query: Query) -> Sequence[Found]:
        """What matches, at most `query.limit`; blocks for one page, longer where headers are read."""
        if not query.optional and not query.with_header:
            return self._index.search(query)
        return [one for page in self.pages(query) for one in page]

    def pages(self, query: Query) -> Iterator[Sequence[Found]]:
        """What matches, at most `query.limit`, a page at a time: never whole in memory; blocks for each page.

        A page may be empty: of the headers that were looked through for it none matched.

        Raises:
            TooLargeError: too much would have to be looked through; at any page.
        """
        if query.optional:
            return self._matching(query)
        if query.with_header:
            return self._with_headers(query)
        return self._index.pages(query)

    def headers(self, institution: str, found: Sequence[Found]) -> Iterator[Sequence[Found]]:
        """What was found without headers, with them: a few at a time; blocks for each."""
        return self._headers.read(institution, found)

    def _with_headers(self, query: Query) -> Iterator[Sequence[Found]]:
        for page in self._index.pages(query):
            yield from self._headers.read(query.institution, page)

    def _matching(self, query: Query) -> Iterator[Sequence[Found]]:
        looked, passed, left = 0, query.offset, query.limit
        for some in self._with_headers(replace(query, offset=0, limit=_UNLIMITED)):
            matching = [one for one in some[: self.optional.most - looked] if _holds(one, query)]
            page = matching[passed : passed + left]
            passed = max(passed - len(matching), 0)
            left -= len(page)
            # An empty one too: whoever takes the pages may see in between that nobody waits any more.
            yield page if query.with_header else [one._replace(header=None) for one in page]
            if left <= 0:
                return
            looked += len(some)
            if looked > self.optional.most:
                raise TooLargeError(
                    f"the search is too broad: {self.optional.most} stored headers have been looked through for a key "
                    "that has no index; add a patient, a study or a narrower range of dates"
                )


def _holds(found: Found, query: Query) -> bool:
    return found.header is not None and holds(found.header, query.optional)


def _path(name: str) -> Path:
    known = [lookup(part) for part in name.split(".")]
    if None in known:
        raise SettingsError(f"search.optional_keys: {name!r} is not the keyword or tag of an attribute")
    return tuple(one[0] for one in known if one is not None)
