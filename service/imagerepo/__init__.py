"""A medical imaging repository: DICOM in, DICOMweb and DIMSE out. Start reading at docs/architecture.md."""
