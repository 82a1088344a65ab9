"""Chains followed line by line, and compared with what has been seen of them elsewhere."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from imagerepo.adapters.bundles.carrying import CARRIED
from imagerepo.adapters.bundles.signed_lines import Following, SignedLines
from imagerepo.adapters.segments import lines, proof
from imagerepo.adapters.segments.lines import START, Link
from imagerepo.adapters.segments.verify import ChainId
from imagerepo.errors import DamagedError


@dataclass(slots=True)
class ChainProof:
    """Follows chains; the lines of each come in order, those of several in any."""

    signed: Mapping[ChainId, SignedLines]
    """By chain the lines that signed roots name."""
    reached: dict[ChainId, Link] = field(default_factory=dict[ChainId, Link])
    _followed: dict[ChainId, Following] = field(init=False)

    def __post_init__(self) -> None:
        self._followed = {chain: signed.followed() for chain, signed in self.signed.items()}

    def follow(self, chain: ChainId, commit: int, body: bytes) -> Iterator[dict[str, Any]]:
        """Take the lines that one commit has of a chain; their fields. Raises DamagedError."""
        place = f"commit {commit}"
        signed, link = self._followed.get(chain), self.reached.get(chain, START)
        for line in body.split(b"\n"):
            fields = lines.parse_line(line, place)
            self._require_its_own(chain, commit, fields)
            link = self.reached[chain] = proof.follow(link, line, fields, str(chain), place)
            if signed is not None:
                signed.come(link)
            yield fields

    def require_signed(self) -> None:
        """Raise DamagedError if a signed entry did not come."""
        for chain, signed in sorted(self._followed.items(), key=lambda item: str(item[0])):
            first, end = signed.missing, self.reached.get(chain, START).sequence
            if first is None:
                continue
            if first > end:
                raise DamagedError(f"chain {chain} ends at entry {end}, but entry {first} was signed: it was cut off")
            raise DamagedError(
                f"entry {first} of chain {chain} is not the one that was signed: it was changed, or the chain was "
                "written anew"
            )

    @property
    def entries(self) -> int:
        """How many lines came."""
        return sum(link.sequence for link in self.reached.values())

    def _require_its_own(self, chain: ChainId, commit: int, fields: dict[str, Any]) -> None:
        # What was carried over from a data folder has the numbers that commits had there.
        if fields["commit"] != commit and not chain.writer.startswith(CARRIED):
            raise DamagedError(f"commit {commit}: entry {fields['seq']} of chain {chain} is of another commit")
        if fields["institution"] != chain.institution:
            raise DamagedError(f"commit {commit}: entry {fields['seq']} of chain {chain} is of another institution")
