"""Query → index → page. The protocols make the `Query` and dress what is found."""

from collections.abc import Sequence

from imagerepo.model.query import Found, Query
from imagerepo.ports.index import Index


class Search:
    """Finds studies, series and instances."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def search(self, query: Query) -> Sequence[Found]:
        """What matches, at most `query.limit`; blocks for one page."""
        return self._index.search(query)
