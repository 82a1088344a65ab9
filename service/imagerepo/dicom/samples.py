"""pydicom's bundled test files: small, of many kinds, some broken on purpose."""

from pathlib import Path

import pydicom.data


def files() -> list[Path]:
    """All of them; nothing is downloaded."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    return sorted(path for path in folder.rglob("*.dcm") if path.is_file())
