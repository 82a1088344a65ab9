"""The ledger and the signed roots of a database, as tests write and look at them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imagerepo.adapters.bundles import ledger, roots
from imagerepo.adapters.bundles.journal import BundleJournal, SignedRoots
from imagerepo.adapters.bundles.ledger import OnDamage
from imagerepo.adapters.bundles.ledger_format import LedgerEntry, prefix_of
from imagerepo.adapters.bundles.ledger_writing import LedgerWriter
from imagerepo.adapters.bundles.signing import RootSigner
from imagerepo.adapters.objects_s3.locked import LockedBucket
from imagerepo.adapters.segments import lines
from imagerepo.errors import DamagedError
from imagerepo.ports.journal import Verified
from imagerepo.settings_cluster import Store
from tests.harness import databases
from tests.harness.committing import Writing, writing

_ROWS = (
    "SELECT commit_number, institution, writer, first, stored, lines FROM journal WHERE institution = %s "
    "ORDER BY xid, commit_number"
)
_CHAINED = "SELECT commit_number, institution, writer, lines FROM journal ORDER BY institution, writer, first"
_CHANGE = "UPDATE journal SET lines = %s WHERE commit_number = %s AND institution = %s"
_LEAVE = "UPDATE chain SET sequence = %s, digest = %s WHERE institution = %s AND writer = %s"


def refuse(error: DamagedError) -> None:
    """On damage."""
    raise error


@dataclass
class Keeping:
    """Ledger and roots of what a writer commits to; `bucket`: where roots are put."""

    of: Writing
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    bucket: str = roots.BUCKET

    @property
    def locked(self) -> LockedBucket:
        return self.of.store.locked(self.bucket)

    def write(self, holder: str = "one") -> None:
        self.writer(holder).write()

    def writer(self, holder: str = "one") -> LedgerWriter:
        return LedgerWriter(self.of.database, self.of.store, holder)

    def signer(self, holder: str = "one") -> RootSigner:
        return RootSigner(self.of.database, self.locked, self.key, holder, timedelta(days=1))

    def sign(self, holder: str = "one") -> bool:
        return self.signer(holder).sign()

    def commit(self, *requests: object) -> None:
        """Commit, and wait until it is in the ledger: other databases of the server may have older transactions."""
        for result in self.of.commits.commit(list(requests)):  # type: ignore[arg-type]
            assert result.error is None
        self.settle()

    def settle(self, institution: str = "default") -> None:
        """Write until all that is committed is in the ledger."""
        while self.entries(institution) != self.rows(institution):
            self.write()

    def entries(self, institution: str = "default") -> list[tuple]:
        """What the ledger has, as the journal's rows have it."""
        return [_row(one) for one in self.read(institution)]

    def read(self, institution: str = "default", on_damage: OnDamage = refuse) -> list[LedgerEntry]:
        self.of.store.check([institution])
        return list(ledger.read(self.of.store, institution, on_damage))

    def rows(self, institution: str = "default") -> list[tuple]:
        """What the journal has, in order of visibility."""
        return [(*row[:-1], bytes(row[-1])) for row in self.of.rows(_ROWS, institution)]

    def names(self, institution: str = "default") -> list[str]:
        """Names of the ledger's objects."""
        store = self.of.store
        listed = store.list(store.bucket(institution), prefix_of(institution), "")
        return [one.key.rpartition("/")[2] for one in listed]

    @property
    def journal(self) -> BundleJournal:
        return BundleJournal(self.of.database, self.of.store, SignedRoots(self.locked, self.key.public_key()))

    def verify(self) -> Verified:
        return self.journal.verify(with_bytes=False)


@contextmanager
def copied(url: str, settings: Store, folder: Path) -> Iterator[Keeping]:
    """A copy of a database that nobody uses at the moment, and a writer that goes on with the chains of `one`."""
    with databases.copied(url) as copy, writing(copy, settings, folder, "one") as made:
        yield Keeping(made)


def rewrite(of: Writing, old: bytes, new: bytes) -> None:
    """Change lines, and compute all chains anew, as somebody with the keys of the database may."""
    links: dict[tuple[str, str], lines.Link] = {}
    with of.database.transaction() as connection:
        for commit, institution, writer, body in connection.run(_CHAINED).fetchall():
            made: list[bytes] = []
            for line in bytes(body).replace(old, new).split(b"\n"):
                link = links.get((institution, writer), lines.START)
                fields = json.loads(line) | {"prev": link.digest}
                made.append(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode())
                links[institution, writer] = lines.follow(link, made[-1])
            connection.run(_CHANGE, (b"\n".join(made), commit, institution))
        for (institution, writer), link in links.items():
            connection.run(_LEAVE, (link.sequence, link.digest, institution, writer))


def _row(one: LedgerEntry) -> tuple:
    return one.commit, one.institution, one.writer, one.first, one.stored, one.lines
