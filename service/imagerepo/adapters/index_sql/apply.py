"""Turn committed versions into rows, in the transaction of whoever calls.

The result does not depend on the order of commits: a study's and a series' attributes are those of the earliest
commit, and keys follow from commits, so that an index rebuilt from the segments gives the same answers in the same
order. Deletions are removal.py's. Statements are plain SQL, made once: this
is the hot path.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from imagerepo.adapters.index_sql import statements as sql
from imagerepo.adapters.index_sql.descriptions import forget_text, index_text, series_values, study_values, sums_of
from imagerepo.adapters.index_sql.rows import patient_key, patient_of
from imagerepo.adapters.moments import microseconds
from imagerepo.model.instance import Attributes, Layout, Range
from imagerepo.model.tier import Tier
from imagerepo.ports.index import POSITIONS_A_COMMIT

_PLACES = (POSITIONS_A_COMMIT - 1).bit_length()  # bits of a key that tell the place within its commit


@dataclass(frozen=True, slots=True)
class Stored:
    """A committed version, as the index needs it."""

    institution: str
    attributes: Attributes
    layout: Layout
    transfer_syntax: str
    number: int
    digest: bytes
    crc32: int
    size: int
    received_at: datetime
    commit: int
    place: int  # among the versions of its commit, from 0
    ranges: Sequence[Range]

    @property
    def key(self) -> int:
        """Of the rows that are made for it: they follow each other in order of commit."""
        return self.commit << _PLACES | self.place


@dataclass(frozen=True, slots=True)
class _Rival:
    """A version that another commit stored under the same number; keys of its rows."""

    commit: int
    size: int  # bytes
    number: int
    instance: int
    study: int
    series: int


@dataclass(slots=True)
class _Added:
    """What a batch adds to an institution's holdings."""

    studies: int = 0
    series: int = 0
    instances: int = 0
    size: int = 0
    by_study: dict[int, int] = field(default_factory=dict[int, int])  # instances, by the study's key
    by_series: dict[int, int] = field(default_factory=dict[int, int])


class Applier:
    """Writes rows through one connection. Forget it after a transaction that failed: it remembers keys."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._institutions: dict[str, int] = {}
        self._objects: dict[tuple[str, str], int] = {}

    def forget(self) -> None:
        """Drop remembered keys, after a transaction was rolled back."""
        self._institutions.clear()
        self._objects.clear()

    def add(self, batch: Sequence[Stored]) -> list[bool]:
        """Add versions whose numbers no other commit has; for each, whether its study disagrees about the patient."""
        added: dict[int, _Added] = {}
        differs = [self._add(stored, added) for stored in batch]
        self._hold_all(added)
        return differs

    def replay(self, batch: Sequence[Stored]) -> None:
        """Add versions found in segments: of two commits that have one number, the later one stays.

        The flush of the other one failed, so that it was never acknowledged.
        """
        added: dict[int, _Added] = {}
        for stored in batch:
            institution = self._institution(stored.institution)
            rival = self._rival(institution, stored)
            if rival is not None:
                if rival.commit > stored.commit:
                    continue
                sums = added.setdefault(institution, _Added())
                self._count_instances(sums)  # whether any are left tells what else goes
                self._drop(rival, sums)
            self._add(stored, added)
        self._hold_all(added)

    def _add(self, stored: Stored, added: dict[int, _Added]) -> bool:
        institution = self._institution(stored.institution)
        sums = added.get(institution)
        if sums is None:
            sums = added[institution] = _Added()
        study, disagrees = self._study(institution, stored, sums)
        series = self._series(institution, study, stored, sums)
        instance, is_new = self._instance((institution, study, series), stored)
        if is_new:
            sums.instances += 1
            sums.by_study[study] = sums.by_study.get(study, 0) + 1
            sums.by_series[series] = sums.by_series.get(series, 0) + 1
        elif stored.number > 1:
            disagrees = self._correct(study, series, instance, stored)
        self._version(instance, stored)
        sums.size += stored.size
        return disagrees

    def _hold_all(self, added: dict[int, _Added]) -> None:
        for institution, sums in added.items():
            self._hold(institution, sums)

    def _hold(self, institution: int, sums: _Added) -> None:
        self._count_instances(sums)
        self._connection.execute(sql.ADD_HOLDING, (institution, sums.studies, sums.series, sums.instances, sums.size))

    def _count_instances(self, sums: _Added) -> None:
        self._connection.executemany(sql.COUNT_IN_STUDY, [(count, key) for key, count in sums.by_study.items()])
        self._connection.executemany(sql.COUNT_IN_SERIES, [(count, key) for key, count in sums.by_series.items()])
        sums.by_study.clear()
        sums.by_series.clear()

    def _institution(self, name: str) -> int:
        key = self._institutions.get(name)
        if key is None:
            self._connection.execute(sql.ADD_INSTITUTION, (name,))
            (key,) = self._connection.execute(sql.FIND_INSTITUTION, (name,)).fetchone()
            self._institutions[name] = key
        return key

    def _study(self, institution: int, stored: Stored, sums: _Added) -> tuple[int, bool]:
        found = self._connection.execute(sql.FIND_STUDY, (institution, stored.attributes.study_uid)).fetchone()
        if found is None:
            sums.studies += 1
            values = study_values(stored.attributes, stored.commit)
            uid = stored.attributes.study_uid
            self._connection.execute(sql.ADD_STUDY, (stored.key, institution, uid, *values))
            index_text(self._connection, stored.key, stored.attributes)
            return stored.key, False
        key, source, modalities, was, *patient = found
        differs = bool(was) or tuple(patient) != patient_of(stored.attributes)
        modality = stored.attributes.modality
        known: list[str] = modalities.split("\\") if modalities else []
        if stored.commit < source:
            forget_text(self._connection, key)
            for statement in sql.MOVE_STUDY:
                self._connection.execute(statement, (stored.key, key))
            if key in sums.by_study:
                sums.by_study[stored.key] = sums.by_study.pop(key)
            key = stored.key
            self._connection.execute(sql.CHANGE_STUDY, (*study_values(stored.attributes, stored.commit), key))
            index_text(self._connection, key, stored.attributes)
        if (modality and modality not in known) or differs != bool(was) or stored.commit < source:
            joined = "\\".join(sorted({*known, modality} - {""}))
            self._connection.execute(sql.MARK_STUDY, (joined, differs, key))
        return key, differs

    def _series(self, institution: int, study: int, stored: Stored, sums: _Added) -> int:
        found = self._connection.execute(sql.FIND_SERIES, (study, stored.attributes.series_uid)).fetchone()
        if found is None:
            sums.series += 1
            self._connection.execute(sql.COUNT_SERIES, (study,))
            values = series_values(stored.attributes, stored.commit)
            self._connection.execute(
                sql.ADD_SERIES, (stored.key, institution, study, stored.attributes.series_uid, *values)
            )
            return stored.key
        key, source = found
        if stored.commit < source:
            self._connection.execute(sql.MOVE_SERIES, (stored.key, key))
            self._connection.execute(sql.MOVE_INSTANCES, (stored.key, study, key))
            if key in sums.by_series:
                sums.by_series[stored.key] = sums.by_series.pop(key)
            key = stored.key
            self._connection.execute(sql.CHANGE_SERIES, (*series_values(stored.attributes, stored.commit), key))
        return key

    def _instance(self, place: tuple[int, int, int], stored: Stored) -> tuple[int, bool]:
        attributes = stored.attributes
        values = (
            attributes.sop_class_uid,
            attributes.instance_number,
            attributes.rows,
            attributes.columns,
            attributes.bits_allocated,
            attributes.number_of_frames,
            patient_key(attributes),
            stored.number,
        )
        added = self._connection.execute(sql.ADD_INSTANCE, (stored.key, *place, attributes.instance_uid, *values))
        if added.rowcount == 1:
            return stored.key, True
        key, current = self._connection.execute(sql.FIND_INSTANCE, (place[0], attributes.instance_uid)).fetchone()
        if stored.number >= current:
            self._connection.execute(sql.CHANGE_INSTANCE, (*values, key))
        return key, False

    def _rival(self, institution: int, stored: Stored) -> "_Rival | None":
        """What another commit stored under the same version number."""
        found = self._connection.execute(sql.FIND_RIVAL, (institution, stored.attributes.instance_uid, stored.number))
        row = found.fetchone()
        return None if row is None else _Rival(*row)

    def _drop(self, rival: "_Rival", sums: _Added) -> None:
        """Remove a version that was never acknowledged, and what was made for it alone."""
        execute = self._connection.execute
        for table in ("range", "copy", "version"):
            execute(f'DELETE FROM "{table}" WHERE instance_id = ? AND number = ?', (rival.instance, rival.number))
        sums.size -= rival.size
        if execute(sql.ANY_VERSION, (rival.instance,)).fetchone() is not None:
            return
        execute("DELETE FROM instance WHERE id = ?", (rival.instance,))
        sums.instances -= 1
        execute("UPDATE study SET instance_count = instance_count - 1 WHERE id = ?", (rival.study,))
        execute("UPDATE series SET instance_count = instance_count - 1 WHERE id = ?", (rival.series,))
        if execute("DELETE FROM series WHERE id = ? AND instance_count = 0", (rival.series,)).rowcount:
            sums.series -= 1
            execute("UPDATE study SET series_count = series_count - 1 WHERE id = ?", (rival.study,))
        if execute(sql.EMPTY_STUDY, (rival.study,)).fetchone() is not None:
            forget_text(self._connection, rival.study)
            execute("DELETE FROM study WHERE id = ?", (rival.study,))
            sums.studies -= 1

    def _correct(self, study: int, series: int, instance: int, stored: Stored) -> bool:
        """A new version of an instance corrects what it gave its study and series; whether patients disagree now."""
        execute = self._connection.execute
        (first,) = execute("SELECT min(commit_number) FROM version WHERE instance_id = ?", (instance,)).fetchone()
        if study == instance:  # made for it: the keys of rows are those of the instance that they follow from
            forget_text(self._connection, study)
            execute(sql.CHANGE_STUDY, (*study_values(stored.attributes, first), study))
            index_text(self._connection, study, stored.attributes)
        if series == instance:
            execute(sql.CHANGE_SERIES, (*series_values(stored.attributes, first), series))
        modalities, differs = sums_of(self._connection, study)
        execute(sql.MARK_STUDY, (modalities, differs, study))
        return differs

    def _version(self, instance: int, stored: Stored) -> None:
        layout, pixel = stored.layout, stored.layout.pixel
        values = (
            instance,
            stored.number,
            stored.transfer_syntax,
            stored.digest,
            stored.crc32,
            stored.size,
            microseconds(stored.received_at),
            stored.commit,
            layout.data_set_offset,
            layout.header_length,
            layout.trailer_offset,
            *((pixel.offset, pixel.length, pixel.frame_length, pixel.frames) if pixel else (None,) * 4),
        )
        self._connection.execute(sql.ADD_VERSION, values)
        self._connection.execute(sql.ADD_COPY, (instance, stored.number, 0, Tier.HOT))
        for ordinal, where in enumerate(stored.ranges):
            object_ = self._object(where.store, where.key)
            place = (instance, stored.number, 0, ordinal)
            self._connection.execute(sql.ADD_RANGE, (*place, object_, where.offset, where.length))

    def _object(self, store: str, key: str) -> int:
        found = self._objects.get((store, key))
        if found is None:
            self._connection.execute(sql.ADD_OBJECT, (store, key))
            (found,) = self._connection.execute(sql.FIND_OBJECT, (store, key)).fetchone()
            if len(self._objects) > 64:  # a writer appends to one segment at a time
                self._objects.clear()
            self._objects[store, key] = found
        return found
