"""A cluster that a data folder is moved to, and what lies in both."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from imagerepo.adapters.bundles.carrying import CARRIED
from imagerepo.adapters.bundles.journal import BundleJournal
from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.objects_s3.objects import S3Objects
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.adapters.segments import replay
from imagerepo.settings_cluster import Store
from tests.harness.stored import Stored, compared
from tests.testbed.shared import shared_postgres

_ROWS: Final = (
    "SELECT n.name, i.uid, i.current, t.uid, coalesce(g.number, 0) FROM instance i "
    "JOIN institution n ON n.id = i.institution_id JOIN study t ON t.id = i.study_id "
    "LEFT JOIN gone g ON g.institution_id = i.institution_id AND g.uid = i.uid"
)
# What searches answer, in their order, without what names rows.
_ANSWERS: Final = {
    "study": (
        "SELECT n.name, t.uid, patient_id, patient_name, study_date, modalities, series_count, instance_count, "
        "patient_differs FROM study t JOIN institution n ON n.id = t.institution_id ORDER BY t.id"
    ),
    "series": "SELECT uid, modality, series_number, instance_count FROM series ORDER BY id",
    "instance": "SELECT uid, sop_class_uid, instance_number, current, patient_key FROM instance ORDER BY id",
    "version": (
        "SELECT i.uid, number, transfer_syntax, digest, crc32, size, received_at, data_set_offset, header_length, "
        "pixel_offset, frame_length FROM version v JOIN instance i ON i.id = v.instance_id ORDER BY i.uid, number"
    ),
    "gone": "SELECT n.name, uid, number FROM gone g JOIN institution n ON n.id = g.institution_id ORDER BY 1, 2",
    "hold": "SELECT study_uid, held, at, caller, reason FROM hold ORDER BY 1",
    "holding": (
        "SELECT n.name, CAST(sum(study_count) AS bigint), CAST(sum(series_count) AS bigint), "
        "CAST(sum(instance_count) AS bigint), CAST(sum(hot_bytes) AS bigint) FROM holding h "
        "JOIN institution n ON n.id = h.institution_id GROUP BY n.name ORDER BY 1"
    ),
}


@dataclass(frozen=True)
class Target:
    """A cluster without replicas."""

    database: Database
    store: S3Store
    store_settings: Store
    settings: Path

    def walk(self) -> Stored:
        """Read every version; one whose bytes are not those of its row fails the test."""
        rows = self.rows(_ROWS)
        return compared(rows, PostgresIndex(self.database), S3Objects(self.store, lambda: 0))  # pyright: ignore[reportArgumentType]

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.database.reading() as connection:
            return connection.run(statement, values).fetchall()

    def answers(self) -> dict[str, list[tuple[Any, ...]]]:
        return {table: [_plain(row) for row in self.rows(query)] for table, query in _ANSWERS.items()}

    def carried(self) -> list[bytes]:
        """Journal lines that came from data folders, in the order of their commits."""
        bodies = self.rows(
            "SELECT lines FROM journal WHERE starts_with(writer, %s) ORDER BY commit_number, institution", CARRIED
        )
        return [line for (body,) in bodies for line in bytes(body).split(b"\n")]

    @property
    def journal(self) -> BundleJournal:
        return BundleJournal(self.database, self.store, None)

    def objects(self) -> int:
        return len(list(self.store.list(self.store.bucket("default"), "default/", "")))


def answers(data: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Of a data folder, likewise."""
    connection = connect(data / INDEX)
    try:
        return {table: [_plain(row) for row in connection.execute(query)] for table, query in _ANSWERS.items()}
    finally:
        connection.close()


def lines_of(data: Path) -> list[bytes]:
    """A data folder's journal, in order."""
    return [line for commit in replay.counted(data) for line in commit.journal]


def write_settings(folder: Path, url: str, store: Store, **others: object) -> Path:
    """The file that `--config` names."""
    secret = folder / "database"
    secret.write_text(shared_postgres().plan.postgres.password, encoding="ascii")
    written = folder / "imagerepo.yaml"
    values = {
        "data": str(folder / "scratch"),
        "cluster": {
            "database": {"url": re.sub(r":[^/@]*@", "@", url), "password_file": str(secret)},
            "store": store.model_dump(mode="json"),
        },
        **others,
    }
    written.write_text(yaml.safe_dump(values), encoding="utf-8")
    return written


def _plain(row: Any) -> tuple[Any, ...]:
    return tuple(bytes(one) if isinstance(one, memoryview) else one for one in row)
