"""The journal of all replicas (ports.journal): read, and proved chain by chain.

A line that was changed, removed, added or moved breaks its chain there; so does a chain that ends before the entry at
which its writer left it. That both were written anew together is not told by this.
"""

from collections.abc import Callable, Iterator
from typing import Final

from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.segments import lines, proof
from imagerepo.adapters.segments.lines import START, Link
from imagerepo.errors import DamagedError
from imagerepo.model.instance import Range
from imagerepo.ports.journal import Verified

_ROWS: Final = 64  # read at a time

_IN_ORDER: Final = (
    "SELECT commit_number, institution, lines FROM journal WHERE (commit_number, institution) > (%s, %s) "
    "ORDER BY commit_number, institution LIMIT %s"
)
_BY_CHAIN: Final = (
    "SELECT institution, writer, first, commit_number, lines FROM journal "
    "WHERE (institution, writer, first) > (%s, %s, %s) ORDER BY institution, writer, first LIMIT %s"
)
_HEADS: Final = "SELECT institution, writer, sequence, digest FROM chain"
_IS_THERE: Final = (
    "SELECT 1 FROM institution n JOIN instance i ON i.institution_id = n.id AND i.uid = %s "
    "JOIN version v ON v.instance_id = i.id AND v.number = %s WHERE n.name = %s"
)

_Chain = tuple[str, str]
"""Institution, writer."""


class BundleJournal:
    """Reads and verifies, while replicas serve."""

    def __init__(self, database: Database, read: Callable[[Range], bytes]) -> None:
        """`read` reads stored bytes."""
        self._database = database
        self._read = read

    def entries(self) -> Iterator[str]:
        """Lines in order of commit. Raises UnavailableError."""
        after = (0, "")
        while True:
            with self._database.reading() as connection:
                rows = connection.run(_IN_ORDER, (*after, _ROWS)).fetchall()
            for commit, institution, body in rows:
                after = (commit, institution)
                for line in bytes(body).split(b"\n"):
                    yield line.decode()
            if len(rows) < _ROWS:
                return

    def verify(self, *, with_bytes: bool) -> Verified:
        """Verify all chains, and every instance's bytes too if `with_bytes`. Raises DamagedError, UnavailableError."""
        # Looked up first: what is committed meanwhile only makes chains longer.
        with self._database.reading() as connection:
            heads = {(one, writer): Link(sequence, digest) for one, writer, sequence, digest in connection.run(_HEADS)}
        reached: dict[_Chain, Link] = {}
        met: set[_Chain] = set()
        for chain, place, line in self._chained():
            link = _follow(chain, reached.get(chain, START), line, place)
            reached[chain] = link
            if heads.get(chain) == link:
                met.add(chain)
            if with_bytes:
                self._check_bytes(line, place)
        for chain, head in heads.items():
            if chain not in met:
                raise DamagedError(_cut(chain, reached.get(chain, START), head))
        return Verified(sum(link.sequence for link in reached.values()), len(reached), None)

    def _chained(self) -> Iterator[tuple[_Chain, str, bytes]]:
        """All lines, chain by chain, in order, with their place."""
        after: tuple[str, str, int] = ("", "", 0)
        while True:
            with self._database.reading() as connection:
                rows = connection.run(_BY_CHAIN, (*after, _ROWS)).fetchall()
            for institution, writer, first, commit, body in rows:
                after = (institution, writer, first)
                for line in bytes(body).split(b"\n"):
                    yield (institution, writer), f"commit {commit}", line
            if len(rows) < _ROWS:
                return

    def _check_bytes(self, line: bytes, place: str) -> None:
        fields = lines.parse_line(line, place)
        for stored in lines.stores(fields, fields["commit"]):
            wrong = proof.wrong_bytes(stored, self._read)
            if wrong is not None and self._is_there(stored):
                raise DamagedError(f"{place}: {wrong}")

    def _is_there(self, stored: lines.StoreLine) -> bool:
        """Whether it was not deleted."""
        with self._database.reading() as connection:
            row = connection.run(_IS_THERE, (stored.instance_uid, stored.version, stored.institution)).fetchone()
        return row is not None


def _follow(chain: _Chain, link: Link, line: bytes, place: str) -> Link:
    fields = lines.parse_line(line, place)
    if f"commit {fields['commit']}" != place:
        raise DamagedError(f"{place}: entry {fields['seq']} of chain {_name(chain)} is of another commit")
    if fields["institution"] != chain[0]:
        raise DamagedError(f"{place}: entry {fields['seq']} of chain {_name(chain)} is of another institution")
    return proof.follow(link, line, fields, _name(chain), place)


def _cut(chain: _Chain, reached: Link, head: Link) -> str:
    name = _name(chain)
    if reached.sequence < head.sequence:
        return f"chain {name} ends at entry {reached.sequence}, but its writer came to {head.sequence}: it was cut off"
    return f"chain {name}: entry {head.sequence} is not the one that its writer left: it was changed"


def _name(chain: _Chain) -> str:
    return "/".join(chain)
