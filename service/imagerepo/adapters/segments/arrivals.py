"""What the lines of a commit say has arrived (ports.feed)."""

from collections.abc import Iterable, Iterator

from imagerepo.adapters.segments import lines
from imagerepo.model.uids import Uid
from imagerepo.ports.feed import Arrived


def arrived(journal: Iterable[bytes], commit: int, place: str) -> Iterator[Arrived]:
    """Each version that the lines of one commit tell of, in order. Raises DamagedError, which begins with `place`."""
    for line in journal:
        said = lines.parse_line(line, place)
        for one in lines.stores(said, commit):
            yield Arrived(
                one.institution,
                Uid(one.study_uid),
                Uid(one.series_uid),
                Uid(one.instance_uid),
                one.version,
                said["caller"],
            )
