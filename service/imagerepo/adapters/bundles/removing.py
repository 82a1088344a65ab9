"""The rows of a deletion, in the transaction of whoever calls, who has the study's lock.

What is left of a study and its series is described anew where the instance that described them is gone.
"""

from dataclasses import dataclass

from imagerepo.adapters.bundles import correcting
from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.describing import Descriptions, Source, UndescribedError
from imagerepo.adapters.bundles.rows import PLACES, described_series, described_study
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.model.instance import Range


@dataclass(frozen=True, slots=True)
class Doomed:
    """What a deletion names."""

    institution: int  # key
    study: int  # key
    series_uid: str | None  # None: the whole study
    instance_uid: str | None  # None: the whole series

    @property
    def parameters(self) -> tuple[int | str | None, ...]:
        """Of the statements about it."""
        return (self.study, self.series_uid, self.series_uid, self.instance_uid, self.instance_uid)


@dataclass(frozen=True, slots=True)
class _Removed:
    """What went of one series."""

    series: int
    instances: int
    first: int  # key of the earliest one
    size: int  # bytes


def count(connection: Connection, doomed: Doomed) -> int:
    """How many instances it has."""
    (found,) = connection.run(sql.COUNT_DOOMED, doomed.parameters).fetchone() or (0,)
    return found


def remove(connection: Connection, doomed: Doomed, now: int, slot: int, descriptions: Descriptions) -> None:
    """Remove its rows.

    Args:
        connection: in a transaction.
        doomed: what; it has instances.
        now: microseconds since 1970, UTC; from when on its objects may go.
        slot: which of the institution's holdings is counted in.
        descriptions: of what is left.

    Raises:
        UndescribedError: of that, some are missing.
    """
    removed = [_Removed(*row) for row in connection.run(sql.DELETE, (*doomed.parameters, now, now))]
    counted = [{"id": one.series, "instance_count": -one.instances} for one in removed]
    connection.run(sql.COUNT_SERIES, (sql.document(counted),))
    series = connection.run(sql.DROP_EMPTY_SERIES, (doomed.study,)).rowcount
    instances = sum(one.instances for one in removed)
    (left,) = connection.run(sql.COUNT_STUDY, (instances, series, doomed.study)).fetchone() or (0,)
    if left:
        _describe_anew(connection, doomed.study, removed, descriptions)
    else:
        connection.run(sql.DROP_STUDY, (doomed.study,))
    held = {
        "institution_id": doomed.institution,
        "slot": slot,
        "study_count": 0 if left else -1,
        "series_count": -series,
        "instance_count": -instances,
        "hot_bytes": -sum(one.size for one in removed),
    }
    connection.run(sql.ADD_HOLDINGS, (sql.document([held]),))


def _describe_anew(connection: Connection, study: int, removed: list[_Removed], descriptions: Descriptions) -> None:
    first_of_study = correcting.first_of_studies(connection, {study})[study]
    first_of_series = correcting.first_of_series(connection, {(study, one.series) for one in removed})
    series = {
        one.series: first_of_series[one.series]
        for one in removed
        if one.series in first_of_series and one.first < first_of_series[one.series]
    }
    is_undescribed = min(one.first for one in removed) < first_of_study
    needed = {*series.values(), *([first_of_study] if is_undescribed else [])}
    if needed:
        sources = {one.instance: one for one in _sources(connection, needed)}
        said = {key: descriptions.of(source) for key, source in sources.items()}
        missing = [sources[key] for key, attributes in said.items() if attributes is None]
        if missing:
            raise UndescribedError(missing)
        known = {key: attributes for key, attributes in said.items() if attributes is not None}
        correcting.describe(
            connection,
            [{"id": study, **described_study(known[first_of_study], first_of_study >> PLACES)}]
            if is_undescribed
            else [],
            [{"id": one, **described_series(known[key], key >> PLACES)} for one, key in series.items()],
        )
    correcting.mark(connection, {study})


def _sources(connection: Connection, instances: set[int]) -> list[Source]:
    asked = sql.document({"id": one} for one in sorted(instances))
    return [
        Source(key, version, syntax, data_set, Range(store, name, offset, min(header, length)), *uids)
        for key, version, syntax, data_set, header, store, name, offset, length, *uids in connection.run(
            sql.SOURCES, (asked,)
        )
    ]
