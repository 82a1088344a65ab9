"""The journal of all replicas (ports.journal): read, and proved chain by chain.

A line that was changed, removed, added or moved breaks its chain there; so does a chain that ends before the entry at
which its writer left it. That both were written anew together signed roots tell (roots.py); so does the ledger
(ledger.py), which is the journal once more.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from imagerepo.adapters.bundles import ledger, ledger_format, roots, signing
from imagerepo.adapters.bundles.carrying import CARRIED
from imagerepo.adapters.bundles.chain_proof import ChainProof
from imagerepo.adapters.bundles.ledger_format import Place
from imagerepo.adapters.bundles.ledger_writing import link_at
from imagerepo.adapters.bundles.roots import Signed
from imagerepo.adapters.objects_s3.locked import LockedBucket
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.segments import lines, proof
from imagerepo.adapters.segments.lines import START, Link
from imagerepo.adapters.segments.verify import ChainId
from imagerepo.errors import DamagedError
from imagerepo.model.instance import Range
from imagerepo.ports.journal import Verified

_ROWS: Final = 64  # read at a time
_LOOKS: Final = 3  # at bytes that moved while they were read

_IN_ORDER: Final = (
    "SELECT commit_number, institution, lines FROM journal WHERE (commit_number, institution) > (%s, %s) "
    "ORDER BY commit_number, institution LIMIT %s"
)
_BY_CHAIN: Final = (
    "SELECT institution, writer, first, commit_number, lines FROM journal "
    "WHERE (institution, writer, first) > (%s, %s, %s) ORDER BY institution, writer, first LIMIT %s"
)
_HEADS: Final = "SELECT institution, writer, sequence, digest FROM chain"
_LEDGERS: Final = (
    "SELECT i.name, coalesce(l.epoch, 1), coalesce(l.number, 0) FROM institution i "
    "LEFT JOIN ledger l ON l.institution = i.name ORDER BY i.name"
)
_LIES_AT: Final = (
    'SELECT o.store, o.key, r."offset", r.length FROM institution n '
    "JOIN instance i ON i.institution_id = n.id AND i.uid = %s "
    "JOIN version v ON v.instance_id = i.id AND v.number = %s AND v.digest = coalesce(%s, v.digest) "
    'JOIN "range" r ON r.instance_id = i.id AND r.number = v.number AND r.copy = 0 '
    "JOIN object o ON o.id = r.object_id WHERE n.name = %s ORDER BY r.ordinal"
)


@dataclass(frozen=True, slots=True)
class SignedRoots:
    """Where roots are, and the public half of the key that signs them."""

    bucket: LockedBucket
    key: Ed25519PublicKey


class BundleJournal:
    """Reads and verifies, while replicas serve."""

    def __init__(self, database: Database, store: S3Store, signed: SignedRoots | None) -> None:
        """`signed`: None if nobody signs."""
        self._database = database
        self._store = store
        self._signed = signed

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
        signed = self._roots()
        with self._database.reading() as connection:
            heads = {ChainId(one, writer): Link(*link) for one, writer, *link in connection.run(_HEADS)}
        followed = ChainProof(signed.links)
        met: set[ChainId] = set()
        for chain, commit, body in self._chained():
            head = heads.get(chain)
            for fields in followed.follow(chain, commit, body):
                if followed.reached[chain] == head:
                    met.add(chain)
                if with_bytes:
                    self._check_bytes(chain, fields, commit)
        for chain, head in heads.items():
            if chain not in met:
                raise DamagedError(_cut(chain, followed.reached.get(chain, START), head))
        followed.require_signed()
        return self._verified(followed, signed)

    def verify_copy(self) -> Verified:
        """Verify the ledger, and that the database's chains are the same. Raises DamagedError, UnavailableError."""
        signed = self._roots()
        with self._database.reading() as connection:
            ledgers = connection.run(_LEDGERS).fetchall()
        followed = ChainProof(signed.links)
        for institution, epoch, number in ledgers:
            last = 0
            for one in ledger.objects(self._store, institution, _refuse) if number else ():
                last = one.place.number
                for entry in one.entries:
                    deque(followed.follow(ChainId(institution, entry.writer), entry.commit, entry.lines), maxlen=0)
            if last < number:
                missing = ledger_format.key_of(institution, Place(epoch, last + 1))
                raise DamagedError(f"the ledger of {institution} was cut off: object {missing} is missing")
        for chain, link in followed.reached.items():
            self._require_same(chain, link)
        followed.require_signed()
        return self._verified(followed, signed)

    def _roots(self) -> Signed:
        if self._signed is None:
            return Signed()
        with self._database.reading() as connection:
            known = signing.known(connection)
        return roots.read(self._signed.bucket, self._signed.key, known)

    def _verified(self, followed: ChainProof, signed: Signed) -> Verified:
        anchored = None if self._signed is None else sum(map(len, signed.links.values()))
        return Verified(followed.entries, len(followed.reached), anchored, signed.at, signed.lost)

    def _chained(self) -> Iterator[tuple[ChainId, int, bytes]]:
        """All lines, chain by chain, in order, with their commit."""
        after: tuple[str, str, int] = ("", "", 0)
        while True:
            with self._database.reading() as connection:
                rows = connection.run(_BY_CHAIN, (*after, _ROWS)).fetchall()
            for institution, writer, first, commit, body in rows:
                after = (institution, writer, first)
                yield ChainId(institution, writer), commit, bytes(body)
            if len(rows) < _ROWS:
                return

    def _check_bytes(self, chain: ChainId, fields: dict[str, Any], commit: int) -> None:
        for stored in lines.stores(fields, commit):
            ranges: tuple[Range, ...] = ()
            wrong: str | None = None
            # Where its line says it lay when it was stored; it may have moved since, or go while it is read.
            for _ in range(_LOOKS):
                before, ranges = ranges, self._lies_at(chain, stored)
                if not ranges or (wrong is not None and ranges == before):
                    break
                wrong = proof.wrong_bytes(replace(stored, ranges=ranges), self._store.read)
                if wrong is None:
                    return
            if ranges and wrong is not None:
                raise DamagedError(f"commit {commit}: {wrong}")

    def _lies_at(self, chain: ChainId, stored: lines.StoreLine) -> tuple[Range, ...]:
        """Where its bytes are; nowhere: it was deleted, or not carried over since another had its number."""
        digest = stored.digest if chain.writer.startswith(CARRIED) else None
        named = (stored.instance_uid, stored.version, digest, stored.institution)
        with self._database.reading() as connection:
            rows = connection.run(_LIES_AT, named).fetchall()
        return tuple(Range(*row) for row in rows)

    def _require_same(self, chain: ChainId, link: Link) -> None:
        with self._database.reading() as connection:
            there = link_at(connection, chain.institution, chain.writer, link.sequence)
        if there is None or there.sequence != link.sequence:
            raise DamagedError(f"entry {link.sequence} of chain {chain} is in the ledger, and not in the database")
        if there != link:
            raise DamagedError(
                f"entry {link.sequence} of chain {chain} is another one in the ledger than in the database: "
                "one of them was written anew"
            )


def _refuse(error: DamagedError) -> None:
    raise error


def _cut(chain: ChainId, reached: Link, head: Link) -> str:
    if reached.sequence < head.sequence:
        came = head.sequence
        return f"chain {chain} ends at entry {reached.sequence}, but its writer came to {came}: it was cut off"
    return f"chain {chain}: entry {head.sequence} is not the one that its writer left: it was changed"
