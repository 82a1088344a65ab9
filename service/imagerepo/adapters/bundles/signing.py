"""Sign where the chains stand, now and then; any number of processes may, one at a time does.

1. The work is taken for a while, so that others leave it alone.
2. Chains that have moved in the ledger since they were signed are named in the next root, which is put where none is.
3. The database notes that it is there.

Who dies between 2 and 3 leaves a root that the next one finds in its way, and goes on behind.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imagerepo.adapters.bundles import roots
from imagerepo.adapters.bundles.ledger_writing import link_at
from imagerepo.adapters.bundles.roots import BEGIN, Root, Statement, Tip
from imagerepo.adapters.bundles.signed_lines import SignedLines
from imagerepo.adapters.objects_s3.locked import LockedBucket
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.standbys import await_standbys
from imagerepo.adapters.segments.lines import Link
from imagerepo.adapters.segments.verify import ChainId
from imagerepo.errors import ExistsError, UnavailableError

log = logging.getLogger(__name__)

_HELD: Final = 20  # seconds; what takes longer is done twice, and both count
_CHAINS: Final = 10_000  # that one root names; the next one has the others

_KNOWN: Final = "SELECT number, digest, locked_until FROM signed_root"
_TAKE: Final = (
    "INSERT INTO signed_root AS r (id, number, digest, holder, held_until) "
    "VALUES (1, %s, %s, %s, now() + make_interval(secs => %s)) "
    "ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until "
    "WHERE r.holder = excluded.holder OR r.held_until < now() RETURNING number, digest, locked_until"
)
_UNSIGNED: Final = (
    "SELECT institution, writer, sequence, digest FROM ledger_chain WHERE signed < sequence "
    "ORDER BY institution, writer LIMIT %s"
)
_ADVANCE: Final = "UPDATE signed_root SET number = %s, digest = %s, locked_until = %s WHERE number = %s"
_SIGN: Final = "UPDATE ledger_chain SET signed = greatest(signed, %s) WHERE institution = %s AND writer = %s"


def known(connection: Connection) -> Tip:
    """The last root that the database knows of."""
    row = connection.run(_KNOWN).fetchone()
    return BEGIN if row is None else Tip(*row)


class RootSigner:
    """Signs the roots of all chains. For one thread."""

    def __init__(
        self, database: Database, bucket: LockedBucket, key: Ed25519PrivateKey, holder: str, retention: timedelta
    ) -> None:
        """Assemble.

        Args:
            database: of the cluster.
            bucket: where roots are put.
            key: that signs them.
            holder: names who signs; nobody else in the cluster has the name at the same time.
            retention: for how long nobody can remove a root.
        """
        self._database = database
        self._bucket = bucket
        self._key = key
        self._holder = holder
        self._retention = retention

    def sign(self) -> bool:
        """Put a root, if chains have moved and nobody else is at it; whether it did. Raises UnavailableError."""
        with self._database.reading() as connection:
            taken = connection.run(_TAKE, (BEGIN.number, BEGIN.digest, self._holder, _HELD)).fetchone()
            rows = connection.run(_UNSIGNED, (_CHAINS,)).fetchall() if taken is not None else []
            if taken is None or not rows:
                return False
            await_standbys(connection)
        links = [(ChainId(institution, writer), Link(*link)) for institution, writer, *link in rows]
        self._follow(Tip(*taken), Statement(links))
        return True

    def acknowledge(self, reason: str) -> Sequence[str]:
        """Say, signed, that entries are gone which were signed, since the database was set back.

        Returns:
            What is gone, chain by chain.

        Raises:
            DamagedError: a root is missing, or was signed by another key.
            UnavailableError: nothing was said; others may be signing just now.
        """
        with self._database.reading() as connection:
            tip = known(connection)
        found = roots.read(self._bucket, self._key.public_key(), tip)
        lost = [(chain, link) for chain, links in found.links.items() for link in self._lost(chain, links)]
        if lost:
            with self._database.reading() as connection:
                taken = connection.run(_TAKE, (BEGIN.number, BEGIN.digest, self._holder, _HELD)).fetchone()
            if taken is None:
                raise UnavailableError("a replica is signing just now; run this again in a minute")
            self._follow(Tip(*taken), Statement((), lost, reason))
        return [f"{chain}: entry {link.sequence}" for chain, link in lost]

    def _lost(self, chain: ChainId, links: SignedLines) -> Iterator[Link]:
        """Those that the database has no more: behind one that it has, all are as they were."""
        for link in links.latest_first():
            with self._database.reading() as connection:
                if link_at(connection, chain.institution, chain.writer, link.sequence) == link:
                    return
            yield link

    def _follow(self, tip: Tip, wanted: Statement) -> None:
        try:
            root = self._put(tip, wanted)
        except ExistsError:
            root = self._put(self._last(tip), wanted)
        self._note(tip, root)

    def _put(self, tip: Tip, wanted: Statement) -> Root:
        until = datetime.now(UTC) + self._retention
        body, root = roots.signed(self._key, tip, wanted, until)
        self._bucket.put(roots.key_of(root.tip.number), body, until)
        return root

    def _last(self, tip: Tip) -> Tip:
        """What is to be followed: the last root that there is, with the last number before one that nobody has."""
        last, after = tip, roots.key_of(tip.number)
        for number, found in roots.valid(self._bucket, self._key.public_key(), after):
            if found:
                last = found[0].tip
            else:
                log.error("journal.root_foreign", extra={"bucket": self._bucket.name, "key": roots.key_of(number)})
        number = last.number
        for one in self._bucket.versions(roots.key_of(number)):
            if roots.number_in(one.key) > number + 1:
                break
            number = max(number, roots.number_in(one.key))
        if number == tip.number:
            raise UnavailableError(f"bucket {self._bucket.name} does not show what it has")
        return Tip(number, last.digest, last.locked_until)

    def _note(self, tip: Tip, root: Root) -> None:
        with self._database.transaction() as connection:
            new = root.tip
            if not connection.run(_ADVANCE, (new.number, new.digest, new.locked_until, tip.number)).rowcount:
                return  # somebody else went on
            with connection.pipeline():
                for chain, link in root.links:
                    connection.run(_SIGN, (link.sequence, chain.institution, chain.writer))
