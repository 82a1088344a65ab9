"""Rows of a commit, gathered table by table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.decisions import Decisions
from imagerepo.adapters.bundles.item import Stored
from imagerepo.adapters.bundles.known import KnownStudy, Name, State
from imagerepo.adapters.index_sql import apply
from imagerepo.adapters.index_sql.descriptions import series_values, study_values
from imagerepo.adapters.index_sql.rows import patient_key, patient_of
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.model.instance import Attributes
from imagerepo.ports.index import POSITIONS_A_COMMIT

PLACES = (POSITIONS_A_COMMIT - 1).bit_length()
"""Bits of a key that tell the place within its commit."""

_LONGEST = 600  # characters, of four bytes each


@dataclass(slots=True)
class _Study:
    """A study that something is stored to."""

    id: int
    modalities: set[str]
    differs: bool
    patient: tuple[str, ...]
    first: apply.Stored | None = None  # that describes it, if it is new
    series: int = 0  # that are added
    instances: int = 0


@dataclass(slots=True)
class _Series:
    """Likewise a series."""

    id: int
    study: int
    first: apply.Stored | None = None
    instances: int = 0


@dataclass(slots=True)
class _Sums:
    """What is added to an institution's holdings."""

    studies: int = 0
    series: int = 0
    instances: int = 0
    size: int = 0  # bytes


@dataclass(frozen=True, slots=True)
class Correction:
    """A new version of an instance that was there: it may describe its study or series."""

    instance: int
    study: int
    series: int
    attributes: Attributes


@dataclass(slots=True)
class Rows:
    """The rows of one commit."""

    state: State
    keys: dict[str, int]  # of institutions
    slot: int  # which of an institution's holdings is counted in
    now: int  # microseconds since 1970, UTC
    corrections: dict[int, Correction] = field(default_factory=dict[int, Correction])  # by instance, the last one
    _studies: dict[Name, _Study] = field(default_factory=dict[Name, _Study])
    _series: dict[tuple[Name, str], _Series] = field(default_factory=dict[tuple[Name, str], _Series])
    _versions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _current: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])  # by instance, the last one
    _sums: dict[int, _Sums] = field(default_factory=dict[int, _Sums])

    def add(self, stored: apply.Stored, object_: int) -> tuple[int, bool]:
        """Add a version; its study's key, and whether that disagrees about the patient, as far as is known."""
        key = self.keys[stored.institution]
        sums = self._sums.setdefault(key, _Sums())
        study = self._study((key, stored.attributes.study_uid), stored, sums)
        series = self._series_of((key, stored.attributes.study_uid), study, stored, sums)
        name = (key, stored.attributes.instance_uid)
        instance = self.state.instances.get(name)
        is_new = instance is None
        if instance is None:
            instance = self.state.instances[name] = stored.key
            sums.instances += 1
            study.instances += 1
            series.instances += 1
        else:
            self.corrections[instance] = Correction(instance, study.id, series.id, stored.attributes)
        sums.size += stored.size
        places = {"id": instance, "institution_id": key, "study_id": study.id, "series_id": series.id}
        version = {**places, **_version(stored), "object_id": object_, "n": int(is_new)}
        self._versions.append(version)
        self._current[instance] = version
        return study.id, study.differs

    def _study(self, name: Name, stored: apply.Stored, sums: _Sums) -> _Study:
        study = self._studies.get(name)
        patient = patient_of(stored.attributes)
        if study is None:
            known = self.state.studies.get(name)
            if known is None:
                sums.studies += 1
                study = _Study(stored.key, set(), differs=False, patient=patient, first=stored)
            else:
                study = _known(known)
            self._studies[name] = study
        study.differs = study.differs or study.patient != patient
        if stored.attributes.modality:
            study.modalities.add(stored.attributes.modality)
        return study

    def _series_of(self, name: Name, study: _Study, stored: apply.Stored, sums: _Sums) -> _Series:
        of = (name, stored.attributes.series_uid)
        series = self._series.get(of)
        if series is None:
            known = self.state.series.get(of)
            if known is None:
                sums.series += 1
                study.series += 1
                series = _Series(stored.key, study.id, first=stored)
            else:
                series = _Series(known, study.id)
            self._series[of] = series
        return series

    def write(self, connection: Connection, objects: Sequence[dict[str, Any]]) -> None:
        """Write them all, and the rows of objects; in a pipeline, so that it waits for nothing."""
        for statement, documents in self.statements(objects):
            connection.run(statement, documents)

    def statements(self, objects: Sequence[dict[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """What writes them: statements, and their documents."""
        studies, series = list(self._studies.items()), list(self._series.items())
        yield from _statement(
            sql.ADD_STUDIES,
            [_new_study(name, one, one.first) for name, one in studies if one.first is not None],
        )
        yield from _statement(
            sql.ADD_SERIES,
            [_new_series(name, one, one.first) for (name, _), one in series if one.first is not None],
        )
        # In one order for all writers: those who store the same instances to different studies do not deadlock.
        versions = sorted(self._versions, key=lambda row: (row["institution_id"], row["uid"], row["number"]))
        yield from _statement(sql.ADD_VERSIONS, objects, versions)
        yield from _statement(sql.CHANGE_INSTANCES, [self._current[one] for one in self.corrections])
        yield from _statement(
            sql.COUNT,
            [{"id": one.id, **_study_sums(one)} for _, one in studies if one.first is None],
            [{"id": one.id, "instance_count": one.instances} for _, one in series if one.first is None],
            [{"institution_id": key, "slot": self.slot, **_held(one)} for key, one in sorted(self._sums.items())],
        )


def of_objects(done: Decisions, now: int) -> tuple[list[dict[str, Any]], dict[Stored, int], list[dict[str, Any]]]:
    """Rows of a commit's objects, their keys, and which of their bytes nobody needs."""
    keys = {one: done.commit << PLACES | place for place, one in enumerate(done.objects)}
    rows = [
        {
            "id": keys[one],
            "store": one.store,
            "key": one.key,
            "size": one.size,
            "live": len(needed),
            "gone_at": None if needed else now,
        }
        for one, needed in done.objects.items()
    ]
    unneeded: list[dict[str, Any]] = []
    for item in done.unneeded:
        if item.object_ is not None and item.where is not None and done.objects[item.object_]:
            where = item.where
            lies = {"object_id": keys[item.object_], "offset": where.offset, "length": where.length}
            unneeded.append({**lies, "digest": "", "gone_at": now})
    return rows, keys, unneeded


def _statement(statement: str, *documents: Sequence[dict[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if any(documents):
        yield statement, tuple(sql.document(rows) for rows in documents)


def _known(study: KnownStudy) -> _Study:
    modalities = set(study.modalities.split("\\")) - {""}
    return _Study(study.id, modalities, study.differs, study.patient)


def _study_sums(study: _Study) -> dict[str, Any]:
    return {
        "modalities": "\\".join(sorted(study.modalities)),
        "patient_differs": int(study.differs),
        "series_count": study.series,
        "instance_count": study.instances,
    }


def _new_study(name: Name, study: _Study, first: apply.Stored) -> dict[str, Any]:
    said = described_study(first.attributes, first.commit)
    return {"id": study.id, "institution_id": name[0], "uid": name[1], **said, **_study_sums(study)}


def _new_series(study: Name, series: _Series, first: apply.Stored) -> dict[str, Any]:
    names = {"id": series.id, "institution_id": study[0], "study_id": series.study, "uid": first.attributes.series_uid}
    return {**names, **described_series(first.attributes, first.commit), "instance_count": series.instances}


def described_study(attributes: Attributes, commit: int) -> dict[str, Any]:
    """What a study's row says, described by an instance that `commit` was the first to store."""
    return {name: _indexed(value) for name, value in zip(sql.STUDY, study_values(attributes, commit), strict=True)}


def described_series(attributes: Attributes, commit: int) -> dict[str, Any]:
    """Likewise a series' row."""
    return {name: _indexed(value) for name, value in zip(sql.SERIES, series_values(attributes, commit), strict=True)}


def _indexed(value: str | int) -> str | int:
    """An entry of an index has 2,704 bytes at the most; what is longer than any value may be is cut (PS3.5 6.2)."""
    return value[:_LONGEST] if isinstance(value, str) else value


def _version(stored: apply.Stored) -> dict[str, Any]:
    attributes, layout, pixel = stored.attributes, stored.layout, stored.layout.pixel
    return {
        "uid": attributes.instance_uid,
        "sop_class_uid": attributes.sop_class_uid,
        "instance_number": attributes.instance_number,
        "rows": attributes.rows,
        "columns": attributes.columns,
        "bits_allocated": attributes.bits_allocated,
        "number_of_frames": attributes.number_of_frames,
        "patient_key": patient_key(attributes),
        "current": stored.number,
        "number": stored.number,
        "transfer_syntax": stored.transfer_syntax,
        "digest": stored.digest.hex(),
        "crc32": stored.crc32,
        "size": stored.size,
        "received_at": microseconds(stored.received_at),
        "commit_number": stored.commit,
        "data_set_offset": layout.data_set_offset,
        "header_length": layout.header_length,
        "trailer_offset": layout.trailer_offset,
        "pixel_offset": pixel.offset if pixel else None,
        "pixel_length": pixel.length if pixel else None,
        "frame_length": pixel.frame_length if pixel else None,
        "frames": pixel.frames.hex() if pixel else None,
        "offset": stored.ranges[0].offset,
    }


def _held(sums: _Sums) -> dict[str, int]:
    return {
        "study_count": sums.studies,
        "series_count": sums.series,
        "instance_count": sums.instances,
        "hot_bytes": sums.size,
    }
