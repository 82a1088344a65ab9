"""Attributes that were read again, into the rows (ports.upkeep.Reindexer), under the lock of their study."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from imagerepo.adapters.bundles import correcting, known
from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.rows import Correction
from imagerepo.adapters.index_sql.rows import patient_key
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.settled import in_transaction
from imagerepo.model.scope import Scope
from imagerepo.ports.upkeep import Reread

_LOCK: Final = "SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(%s)"
_PRESENT: Final = "SELECT id, study_id, series_id, current FROM instance WHERE id = ANY(%s)"


@dataclass(frozen=True, slots=True)
class StoredDescriptions:
    """Descriptions of studies, series and instances as the database has them."""

    database: Database

    def describe(self, study: Scope, found: Sequence[Reread]) -> None:
        """Have rows say what was read."""
        assert study.study_uid is not None
        lock = known.lock_of_study(study.institution, study.study_uid)
        if found:
            in_transaction(self.database, lambda connection: _describe(connection, lock, found))


def _describe(connection: Connection, lock: int, found: Sequence[Reread]) -> None:
    connection.run(_LOCK, (known.PATIENCE, lock))
    read = {one.instance: one for one in found}
    corrections: list[Correction] = []
    rows: list[dict[str, Any]] = []
    for instance, study, series, current in connection.run(_PRESENT, (sorted(read),)).fetchall():
        one = read[instance]
        if one.version == current:
            corrections.append(Correction(instance, study, series, one.attributes))
            rows.append({"id": instance, "current": current, **_said(one)})
    if corrections:
        connection.run(sql.CHANGE_INSTANCES, (sql.document(rows),))
        correcting.correct(connection, corrections)


def _said(one: Reread) -> dict[str, Any]:
    attributes = one.attributes
    return {
        "sop_class_uid": attributes.sop_class_uid,
        "instance_number": attributes.instance_number,
        "rows": attributes.rows,
        "columns": attributes.columns,
        "bits_allocated": attributes.bits_allocated,
        "number_of_frames": attributes.number_of_frames,
        "patient_key": patient_key(attributes),
    }
