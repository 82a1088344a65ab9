"""Fill a data folder's index with many minimal instances, quickly, for the `scale` workload.

Rows are written by the code that ingest uses; all instances share the bytes of one file, so that each can be read.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from bench import generate
from imagerepo.adapters.index_sql.apply import Applier, Stored
from imagerepo.adapters.index_sql.engine import INDEX, connect, transaction
from imagerepo.adapters.segments import folder, projection
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.projection import Position
from imagerepo.adapters.segments.writer import FOLDER
from imagerepo.dicom import part10
from imagerepo.model.instance import Range
from imagerepo.model.uids import Uid

PER_SERIES = 50
PER_STUDY = 100
_AT_ONCE = 5000
_ROOT = "1.2.826.0.1.3680043.10.1507.9"
_WRITER = "filler"
_KEY = "files/filler/one.dcm"
_FAMILIES = ("SMITH", "GARCIA", "MUELLER", "ROSSI", "NOVAK", "SILVA", "TANAKA", "KIM", "IVANOV", "DUBOIS")
_MODALITIES = ("CT", "MR", "CR", "US", "MG")


def fill(data_dir: Path, instances: int, work: Path) -> None:
    """Index so many minimal instances in the embedded repository at `data_dir`, which no server has open.

    They are found by QIDO like any other: studies of 100 instances with distinct Patient IDs and study dates.
    """
    with folder.FolderLock(data_dir):
        folder.make_ready(data_dir, ())
        stored = _rows(_one(data_dir, work), instances)
        connection = connect(data_dir / INDEX)
        applier = Applier(connection)
        # A segment of its own, empty, to say which commit numbers the rows have taken.
        segment = segment_format.segment_name(_WRITER, 1)
        header = segment_format.segment_header(_WRITER, 1, segment_format.new_seal())
        (data_dir / FOLDER / segment).write_bytes(header)
        done = 0
        while batch := list(islice(stored, _AT_ONCE)):
            with transaction(connection):
                applier.add(batch)
                end = Position(segment, len(header), batch[-1].commit)
                projection.mark_applied(connection, end, _WRITER, {})
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            done += len(batch)
            if done % 100_000 == 0:
                print(f"  {done} instances indexed", file=sys.stderr, flush=True)
        connection.close()


def _one(data_dir: Path, work: Path) -> Stored:
    """A real instance, its bytes in place."""
    data = generate.corpus(generate.SMALL, work)[0].path.read_bytes()
    path = data_dir / _KEY
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    meta = part10.read_meta(data)
    attributes, layout = part10.read_data_set(
        memoryview(data)[meta.data_set_offset :], meta.transfer_syntax, meta.data_set_offset
    )
    where = (Range("data", _KEY, 0, len(data)),)
    return Stored(
        institution="default",
        attributes=attributes,
        layout=layout,
        transfer_syntax=meta.transfer_syntax,
        number=1,
        digest=bytes(32),
        crc32=0,
        size=len(data),
        received_at=datetime.now(UTC),
        commit=0,
        place=0,
        ranges=where,
    )


def day_of(study: int) -> datetime:
    """When a study was made."""
    return datetime(2005, 1, 1, tzinfo=UTC) + timedelta(days=study % 7000, seconds=study % 86_400)


def _rows(one: Stored, instances: int) -> Iterator[Stored]:
    for number in range(instances):
        study, series = number // PER_STUDY, number // PER_SERIES
        day = day_of(study)
        attributes = replace(
            one.attributes,
            study_uid=Uid(f"{_ROOT}.1.{study}"),
            series_uid=Uid(f"{_ROOT}.2.{series}"),
            instance_uid=Uid(f"{_ROOT}.3.{number}"),
            patient_id=f"PID{study:08}",
            patient_name=f"{_FAMILIES[study % 10]}{study:06}^{_FAMILIES[study // 10 % 10].title()}",
            study_date=day.strftime("%Y%m%d"),
            study_time=day.strftime("%H%M%S"),
            accession_number=f"ACC{study:09}",
            modality=_MODALITIES[study % 5],
            instance_number=str(number % PER_SERIES + 1),
        )
        yield replace(one, attributes=attributes, commit=number // 50 + 1, place=number % 50)
