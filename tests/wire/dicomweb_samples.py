"""Instances for the tests of HTTP."""

import io
import logging
import os
import warnings
from pathlib import Path

import data_store
import pydicom
from pydicom.uid import generate_uid

from imagerepo.dicom import part10, samples
from imagerepo.errors import BadDicomError

FILES = sorted({*samples.files(), *(Path(data_store.__file__).parent / "data").rglob("*.dcm")})
"""pydicom's and pydicom-data's; nothing is downloaded."""


def sample(name: str) -> bytes:
    """One of these files."""
    return next(path for path in FILES if path.name == name).read_bytes()


def storable() -> list[tuple[str, bytes]]:
    """Those that are whole Part 10 instances, and not too large for a quick test."""
    found: list[tuple[str, bytes]] = []
    for path in FILES:
        content = path.read_bytes()
        if len(content) > 4 << 20:
            continue
        try:
            meta = part10.read_meta(content)
            data_set = memoryview(content)[meta.data_set_offset :]
            part10.read_data_set(data_set, meta.transfer_syntax, meta.data_set_offset)
        except BadDicomError:
            continue
        found.append((path.name, content))
    return found


def make(
    *,
    study: str = "1.2.3",
    series: str = "1.2.3.1",
    instance: str | None = None,
    size: int = 64,
    patient: str = "DOE^JOHN",
    modality: str = "CT",
) -> bytes:
    """A small CT instance with random pixels."""
    data_set = read(sample("CT_small.dcm"))
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = study, series
    data_set.SOPInstanceUID = instance or generate_uid(prefix="1.2.3.4.")
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    data_set.PatientName, data_set.Modality = patient, modality
    data_set.Rows = data_set.Columns = size
    data_set.PixelData = os.urandom(2 * size * size)
    out = io.BytesIO()
    data_set.save_as(out)
    return out.getvalue()


def read(content: bytes) -> pydicom.Dataset:
    """An instance as pydicom sees it."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = pydicom.dcmread(io.BytesIO(content), force=True)
            _ = one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
            return one
    finally:
        logging.disable(logging.NOTSET)


def path_of(content: bytes) -> str:
    """Where DICOMweb has it."""
    one = read(content)
    return f"/dicom-web/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
