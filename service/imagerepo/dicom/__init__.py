"""DICOM's own encodings: header, JSON, frames. Pure functions over buffers."""
