"""CT instances of a given size whose pixels nothing can compress.

One instance is encoded with pydicom; all others are its bytes with identifiers of the same length
put in place and pixels from a seeded generator, so that a corpus is the same on every machine. A
corpus is written once and kept; its manifest is written last and makes it valid.
"""

import json
import random
import shutil
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.8.498.7"
FORMAT = 3
"""Raised when what `write` produces changes, so that kept corpora are made anew."""

STUDY = f"{ROOT}.1.999999"
SERIES = f"{ROOT}.2.999999"
INSTANCE = f"{ROOT}.3.9999999"
NUMBER = "9999999 "
PIXELS_COMPARED = 16_384  # bytes at the end of each instance
PATIENT = "BENCH-999999"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a corpus consists of."""

    name: str
    code: int  # three digits in every UID, so that two corpora can be stored side by side
    rows: int
    columns: int
    studies: int
    instances_per_study: int

    @property
    def pixel_bytes(self) -> int:
        """Length of Pixel Data at 16 bits a pixel."""
        return self.rows * self.columns * 2


LARGE = Shape("ct-512k", 101, 512, 512, 1, 1000)
SMALL = Shape("ct-20k", 102, 100, 100, 1, 500)
MANY_STUDIES = Shape("ct-20k-100-studies", 103, 100, 100, 100, 5)
LONG = Shape("ct-20k-2000", 105, 100, 100, 1, 2000)
EIGHT_STUDIES = Shape("ct-20k-8-studies", 106, 100, 100, 8, 250)
THOUSAND_STUDIES = Shape("ct-20k-1000-studies", 104, 100, 100, 1000, 1)


@dataclass(frozen=True, slots=True)
class Instance:
    """One generated file and the identifiers in it."""

    path: Path
    study: str
    series: str
    uid: str
    data_set_offset: int  # bytes, from the start of the file

    def pixels(self) -> bytes:
        """The end of the data set: what stays as it is where a sender or server writes the header anew."""
        return self.data_set()[-PIXELS_COMPARED:]

    def data_set(self) -> bytes:
        """The encoded data set, without preamble and File Meta Information (PS3.10 section 7.1)."""
        return self.path.read_bytes()[self.data_set_offset :]


def corpus(shape: Shape, folder: Path) -> list[Instance]:
    """Return the instances of `shape`, kept below `folder` from an earlier call or written now."""
    home = folder / f"{shape.name}-v{FORMAT}"
    manifest = home / "manifest.json"
    if not manifest.exists() or json.loads(manifest.read_text())["shape"] != asdict(shape):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        manifest.write_text(json.dumps({"shape": asdict(shape), "data_set_offset": _write(shape, home)}))
    offset = json.loads(manifest.read_text())["data_set_offset"]
    return [
        Instance(home / f"{n:07}.dcm", *_uids(shape, n), data_set_offset=offset)
        for n in range(shape.studies * shape.instances_per_study)
    ]


def _uids(shape: Shape, n: int) -> tuple[str, str, str]:
    study = f"{shape.code}{n // shape.instances_per_study:03}"
    return f"{ROOT}.1.{study}", f"{ROOT}.2.{study}", f"{ROOT}.3.{shape.code}{n:04}"


def _write(shape: Shape, home: Path) -> int:
    """Write every instance; return where the data set starts in each."""
    template = _template(shape)
    header = template[: -shape.pixel_bytes]
    for n in range(shape.studies * shape.instances_per_study):
        study, series, uid = _uids(shape, n)
        patched = header
        for old, new in (
            (STUDY, study),
            (SERIES, series),
            (INSTANCE, uid),
            (NUMBER, f"{n + 1:<8}"),
            (PATIENT, f"BENCH-{n // shape.instances_per_study:06}"),
        ):
            patched = patched.replace(old.encode(), new.encode())
        (home / f"{n:07}.dcm").write_bytes(patched + random.Random(n).randbytes(shape.pixel_bytes))
    # PS3.10 section 7.1: group 2 starts after preamble and prefix, and its first element is its length.
    return 144 + int.from_bytes(template[140:144], "little")


def _template(shape: Shape) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = INSTANCE
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set = Dataset()
    data_set.file_meta = meta
    for keyword, value in (_patient_and_study() | _series_and_image() | _pixels(shape)).items():
        setattr(data_set, keyword, value)
    file = BytesIO()
    dcmwrite(file, data_set, enforce_file_format=True)
    return file.getvalue()


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _reference(sop_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
    return item


def _patient_and_study() -> dict[str, object]:
    """Return modules Patient, General Study and Patient Study (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2)."""
    request = Dataset()
    request.RequestedProcedureID = "RP20001"
    request.ScheduledProcedureStepID = "SPS20001"
    request.ScheduledProcedureStepDescription = "CT THORAX ABDOMEN CONTRAST"
    request.ScheduledProtocolCodeSequence = Sequence([_code("CTTAB", "99BENCH", "CT thorax and abdomen")])
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "Bench^Generated^^Dr",
        "PatientID": PATIENT,
        "IssuerOfPatientID": "BENCH",
        "PatientBirthDate": "19560304",
        "PatientSex": "O",
        "PatientAge": "068Y",
        "PatientSize": "1.74",
        "PatientWeight": "71",
        "StudyInstanceUID": STUDY,
        "StudyDate": "20240611",
        "StudyTime": "101530.120000",
        "StudyID": "ST10001",
        "AccessionNumber": "ACC0010001",
        "ReferringPhysicianName": "Referrer^Some",
        "StudyDescription": "CT thorax and abdomen",
        "ProcedureCodeSequence": Sequence([_code("CTTAB", "99BENCH", "CT thorax and abdomen")]),
        "RequestAttributesSequence": Sequence([request]),
        "ReferencedStudySequence": Sequence([_reference("1.2.840.10008.3.1.2.3.1", f"{ROOT}.9.1")]),
    }


def _series_and_image() -> dict[str, object]:
    """Return General Series, Equipment, Frame of Reference, General and CT Image (PS3.3 C.7.3 to C.8.2.1)."""
    return {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": INSTANCE,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
        "Modality": "CT",
        "SeriesInstanceUID": SERIES,
        "SeriesNumber": 3,
        "SeriesDate": "20240611",
        "SeriesTime": "101831.480000",
        "SeriesDescription": "Thorax  1.0  B70f",
        "ProtocolName": "ThoraxAbdomenRoutine",
        "BodyPartExamined": "CHEST",
        "PatientPosition": "HFS",
        "Manufacturer": "BENCH",
        "ManufacturerModelName": "Generator 2",
        "InstitutionName": "Bench Hospital",
        "StationName": "CT01",
        "DeviceSerialNumber": "55512",
        "SoftwareVersions": ["syngo CT 2012B", "VA44A"],
        "FrameOfReferenceUID": f"{ROOT}.4.1",
        "PositionReferenceIndicator": "SN",
        "AcquisitionNumber": 4,
        "AcquisitionDate": "20240611",
        "AcquisitionTime": "101829.875000",
        "ContentDate": "20240611",
        "ContentTime": "101829.875000",
        "InstanceNumber": NUMBER.strip(),
        "ImagePositionPatient": ["-172.6621093", "-331.6621093", "-122.5"],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "SliceLocation": "-122.5",
        "SliceThickness": "1",
        "ScanOptions": "SPIRAL",
        "KVP": "120",
        "DataCollectionDiameter": "500",
        "ReconstructionDiameter": "346",
        "DistanceSourceToDetector": "1085.6",
        "DistanceSourceToPatient": "595",
        "GantryDetectorTilt": "0",
        "TableHeight": "159",
        "RotationDirection": "CW",
        "ExposureTime": "500",
        "XRayTubeCurrent": "192",
        "Exposure": "120",
        "FilterType": "FLAT",
        "GeneratorPower": "30",
        "FocalSpots": "1.2",
        "ConvolutionKernel": ["B70f", "2"],
        "ContrastBolusAgent": "Ultravist 370",
        "ReferencedImageSequence": Sequence([_reference(CTImageStorage, f"{ROOT}.5.{n}") for n in (1, 2, 3)]),
    }


def _pixels(shape: Shape) -> dict[str, object]:
    """Return modules Image Plane, Image Pixel and VOI LUT; the pixel values are replaced in each instance."""
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": shape.rows,
        "Columns": shape.columns,
        "PixelSpacing": ["0.67578125", "0.67578125"],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "WindowCenter": ["40", "-600"],
        "WindowWidth": ["400", "1200"],
        "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RescaleType": "HU",
        "PixelData": bytes(shape.pixel_bytes),
    }
