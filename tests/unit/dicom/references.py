"""pydicom as the reference, and its test files."""

import logging
import warnings
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom.data import get_charset_files, get_testdata_files

FILES = sorted({Path(path) for path in get_testdata_files() + get_charset_files() if Path(path).is_file()})


def is_part10(path):
    return path.read_bytes()[128:132] == b"DICM"


@contextmanager
def quietly():
    """pydicom comments on files made to be commented on; here that is noise."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def reference(path):
    with quietly():
        return pydicom.dcmread(path)


def sample(name):
    return next(path for path in FILES if path.name == name)
