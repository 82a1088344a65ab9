"""What ingest knew of an instance, read from its bytes once more."""

import logging
from collections.abc import Callable
from dataclasses import fields

from imagerepo.adapters.index_sql.removal import Source
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.dicom import part10
from imagerepo.errors import DamagedError, RefusedError
from imagerepo.model.instance import Attributes, Layout, Range
from imagerepo.model.uids import Uid

log = logging.getLogger(__name__)

_UNREADABLE = (RefusedError, DamagedError, ValueError, BufferError)


def read(objects: LocalObjects, where: Range, transfer_syntax: str, offset: int) -> tuple[Attributes, Layout] | str:
    """Read the data set that begins at `offset` of a file; or why it cannot be read.

    Raises:
        OSError: the disk did not answer; that says nothing about the bytes.
    """
    try:
        # Every view is left before the map is closed, also when an error still holds it.
        with objects.mapped(where) as view, view[offset:] as data_set:
            return part10.read_data_set(data_set, Uid(transfer_syntax), offset)
    except _UNREADABLE as error:
        return str(error)


def unknown(study_uid: str, series_uid: str, instance_uid: str, sop_class_uid: str) -> Attributes:
    """What is known of an instance that cannot be read."""
    said = {field.name: "" for field in fields(Attributes)}
    said |= {"study_uid": study_uid, "series_uid": series_uid, "instance_uid": instance_uid}
    numbers = dict.fromkeys(("rows", "columns", "bits_allocated", "number_of_frames"))
    return Attributes(**{**said, **numbers, "sop_class_uid": sop_class_uid})  # pyright: ignore[reportArgumentType] - by name


def describing(objects: LocalObjects) -> Callable[[Source], Attributes]:
    """Reads what describes a study from which something was deleted."""

    def describe(source: Source) -> Attributes:
        blank = unknown(source.study_uid, source.series_uid, source.instance_uid, source.sop_class_uid)
        if source.is_gone:
            return blank
        try:
            found = read(objects, source.where, source.transfer_syntax, source.data_set_offset)
        except OSError as error:
            # Rows of a durable commit must be written, whatever becomes of one old instance.
            found = str(error)
        if isinstance(found, str):
            log.error("index.instance_unreadable", extra={"instance": source.instance_uid, "reason": found})
            return blank
        return found[0]

    return describe
