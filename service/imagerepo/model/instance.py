"""An instance, its versions and where their bytes lie."""

from dataclasses import dataclass
from datetime import datetime

from imagerepo.model.tier import Tier
from imagerepo.model.uids import Uid


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the index keeps of one data set.

    Text is decoded by the data set's Specific Character Set, multiple values joined by a backslash,
    padding removed, '' where absent. Dates and times are as sent (YYYYMMDD, HHMMSS.FFFFFF).
    """

    study_uid: Uid
    series_uid: Uid
    instance_uid: Uid
    sop_class_uid: Uid
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_date: str
    study_time: str
    study_id: str
    study_description: str
    accession_number: str
    referring_physician_name: str
    timezone_offset: str
    modality: str
    series_number: str
    series_description: str
    body_part: str
    performed_step_date: str  # Performed Procedure Step Start Date
    performed_step_time: str  # Performed Procedure Step Start Time
    instance_number: str
    rows: int | None
    columns: int | None
    bits_allocated: int | None
    number_of_frames: int | None


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Where pixel data lie in the Part 10 file; offsets in bytes from the file's first byte."""

    offset: int  # native: the first byte of the value; encapsulated: the Basic Offset Table's item tag
    length: int  # bytes of the value; encapsulated: up to and including the sequence delimiter
    frame_length: int  # native: bytes of one frame, 0 if frames are not whole bytes; encapsulated: 0
    frames: bytes  # encapsulated: packed fragments by frame, see dicom/frames.py; native: b''

    @property
    def encapsulated(self) -> bool:
        """Whether the value is a sequence of fragments (PS3.5 A.4)."""
        return bool(self.frames)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a Part 10 file; offsets in bytes from the file's first byte."""

    data_set_offset: int  # the first byte after group 2
    header_length: int  # up to the Pixel Data (or Float/Double Float) element's tag; the whole file if there is none
    trailer_offset: int  # the first byte after pixel data; the file's size if nothing follows or there is none
    pixel: PixelLayout | None  # None also for the deflated syntax, whose bytes have no addressable frames


@dataclass(frozen=True, slots=True)
class Range:
    """Consecutive bytes of one stored object."""

    store: str
    key: str
    offset: int  # bytes
    length: int  # bytes


@dataclass(frozen=True, slots=True)
class Copy:
    """One complete set of a version's bytes: ranges to be read in order."""

    ranges: tuple[Range, ...]
    tier: Tier


@dataclass(frozen=True, slots=True)
class Version:
    """One durable, findable state of an instance, with where to read it."""

    institution: str
    study_uid: Uid
    series_uid: Uid
    instance_uid: Uid
    sop_class_uid: Uid
    transfer_syntax: Uid
    number: int  # from 1, in order of commit
    digest: bytes  # BLAKE3 of the data set's bytes, 32 bytes
    crc32: int  # of the whole Part 10 file
    size: int  # bytes of the whole Part 10 file
    received_at: datetime  # aware, UTC
    layout: Layout
    copy: Copy
