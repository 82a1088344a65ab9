"""What tests of C-FIND store and ask, by hand."""

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.wire.dimse_peer import CT, EXPLICIT, IMPLICIT, Peer, associate_rq, command, ui, us

STUDY = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve Information Model - FIND
REQUEST = associate_rq(contexts=((1, STUDY, (IMPLICIT,)),))
STUDIES = b"\x08\0\x52\0\x06\0\0\0STUDY \x20\0\x0d\0\0\0\0\0"
"""An identifier in implicit VR: Study Instance UIDs of all studies."""


def instance(study: int, series: int, number: int, **values: object) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = CT
    ds.StudyInstanceUID = f"1.2.{study}"
    ds.SeriesInstanceUID = f"1.2.{study}.{series}"
    ds.SOPInstanceUID = f"1.2.{study}.{series}.{number}"
    ds.PatientID = f"P{study}"
    ds.PatientName = f"Doe^Jane{study}"
    ds.StudyDate = f"2024010{study}"
    ds.StudyTime = f"1{study}0000"
    ds.AccessionNumber = f"A{study}"
    ds.Modality = "CT" if series == 1 else "MR"
    ds.SeriesNumber = series
    ds.InstanceNumber = number
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def store(port: int, *instances: Dataset, called: str = "IMAGEREPO") -> None:
    # By hand: pynetdicom as a sender misses one response in a thousand that comes as fast as ours.
    with Peer(port) as peer:
        peer.associate(associate_rq(called=called, contexts=((3, CT, (EXPLICIT,)),)))
        for ds in instances:
            file = DicomBytesIO()
            file.is_little_endian, file.is_implicit_VR = True, False
            write_dataset(file, ds)
            assert peer.store(file.getvalue(), ds.SOPInstanceUID).status == 0
        peer.release()


def find_command(number: int) -> bytes:
    return command(ui(0x2, STUDY), us(0x100, 0x20), us(0x110, number), us(0x700, 0), us(0x800, 1))
