import mmap

import pytest
from pydicom.multival import MultiValue
from pydicom.valuerep import IS

from imagerepo.dicom.part10 import read_data_set, read_meta
from imagerepo.errors import BadDicomError
from tests.unit.dicom.references import FILES, is_part10, quietly, reference

KEYWORDS = {
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "instance_uid": "SOPInstanceUID",
    "sop_class_uid": "SOPClassUID",
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "study_id": "StudyID",
    "study_description": "StudyDescription",
    "accession_number": "AccessionNumber",
    "referring_physician_name": "ReferringPhysicianName",
    "timezone_offset": "TimezoneOffsetFromUTC",
    "modality": "Modality",
    "series_number": "SeriesNumber",
    "series_description": "SeriesDescription",
    "body_part": "BodyPartExamined",
    "performed_step_date": "PerformedProcedureStepStartDate",
    "performed_step_time": "PerformedProcedureStepStartTime",
    "instance_number": "InstanceNumber",
    "rows": "Rows",
    "columns": "Columns",
    "bits_allocated": "BitsAllocated",
    "number_of_frames": "NumberOfFrames",
}
# What pydicom forgives and an archive does not: bytes are missing, or an identifier is not one.
REFUSED = {
    "rtplan_truncated.dcm": r"\(300A,00B0\) at byte \d+",
    "MR_truncated.dcm": r"\(7FE0,0010\) at byte \d+",
    "emri_small_jpeg_2k_lossless_too_short.dcm": r"\(7FE0,0010\) at byte \d+",
    "DICOMDIR-nooffset": r"\(FFFE,E000\) at byte \d+",
    "bad_sequence.dcm": r"Study Instance UID \(0020,000D\)",
    "meta_missing_tsyntax.dcm": r"Transfer Syntax UID \(0002,0010\)",
}
# Number of Frames is "1A".
NONSENSE = {("badVR.dcm", "number_of_frames")}


def read(content):
    meta = read_meta(content)
    return meta, *read_data_set(
        memoryview(content)[meta.data_set_offset :], meta.transfer_syntax, meta.data_set_offset
    )


def composite(dataset):
    uids = [dataset.get(KEYWORDS[field]) for field in ("study_uid", "series_uid", "instance_uid", "sop_class_uid")]
    return all(uids)


def expected(dataset, field):
    value = dataset.get(KEYWORDS[field])
    if field in {"rows", "columns", "bits_allocated", "number_of_frames"}:
        return None if value is None else int(value)
    if value is None:
        return ""
    values = value if isinstance(value, MultiValue) else [value]
    texts = [getattr(v, "original_string", v) if isinstance(v, IS) else v for v in values]
    return "\\".join(str(text).strip(" \0") for text in texts).rstrip("\\")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_each_of_pydicoms_files_is_read_as_pydicom_reads_it_or_refused(path):
    content = path.read_bytes()
    if not is_part10(path):
        with pytest.raises(BadDicomError, match="no DICM at byte 128"):
            read_meta(content)
        return
    if path.name in REFUSED:
        with pytest.raises(BadDicomError, match=REFUSED[path.name]):
            read(content)
        return
    dataset = reference(path)
    if not composite(dataset):
        with pytest.raises(BadDicomError, match=r"UID \([0-9A-F]{4},[0-9A-F]{4}\) is missing or empty"):
            read(content)
        return

    meta, attributes, layout = read(content)

    assert meta.transfer_syntax == dataset.file_meta.TransferSyntaxUID
    with quietly():
        for field in KEYWORDS:
            if (path.name, field) not in NONSENSE:
                assert getattr(attributes, field) == expected(dataset, field), field
    assert meta.data_set_offset == layout.data_set_offset
    assert layout.data_set_offset <= layout.header_length <= layout.trailer_offset <= len(content)
    if layout.pixel is not None:
        native = "PixelData" in dataset and not layout.pixel.encapsulated
        if native and not meta.transfer_syntax.startswith("1.2.840.10008.1.2.4"):
            value = content[layout.pixel.offset : layout.pixel.offset + layout.pixel.length]
            assert value == dataset.PixelData


@pytest.mark.parametrize("missing", [0, 10])
def test_a_map_can_be_closed_after_it_was_read_or_refused(tmp_path, missing):
    content = next(path for path in FILES if path.name == "CT_small.dcm").read_bytes()
    copy = tmp_path / "copy"
    copy.write_bytes(content[: len(content) - missing])
    refusal = None
    with copy.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        meta = read_meta(mapped)
        with memoryview(mapped) as view, view[meta.data_set_offset :] as data_set:
            try:
                read_data_set(data_set, meta.transfer_syntax, meta.data_set_offset)
            except BadDicomError as error:
                refusal = error
    assert mapped.closed
    assert (refusal is not None) == (missing > 0)
