"""What a directory record says of what it stands for: its type by SOP class, its keys by type.

Source: PS3.3 F.4 (Basic Directory IOD Information Model), F.5 (Definition of Specific Directory Records).
"""

from typing import Final

_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_CONTENT: Final = ("00080023", "00080033", "00200013")  # Content Date and Time, Instance Number
_NAMED: Final = (*_CONTENT, "00700080", "00700081", "00700084")  # and Content Label, Description, Creator's Name

PATIENT: Final = ("00100010", "00100020", "00100030", "00100040")
STUDY: Final = ("00080020", "00080030", "00080050", "00081030", "0020000D", "00200010")
SERIES: Final = ("00080060", "0008103E", "0020000E", "00200011")

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "IMAGE": ("00080008", "00200013"),
    "RT DOSE": ("00200013", "30040002"),
    "RT STRUCTURE SET": ("00200013", "30060002", "30060008", "30060009"),
    "RT PLAN": ("00200013", "300A0002", "300A0006", "300A0007"),
    "RT TREAT RECORD": ("00200013", "30080250", "30080251"),
    "PRESENTATION": ("00200013", "00700080", "00700081", "00700082", "00700083", "00700084"),
    "WAVEFORM": _CONTENT,
    "SR DOCUMENT": (*_CONTENT, "0040A030", "0040A043", "0040A491", "0040A493"),
    "KEY OBJECT DOC": (*_CONTENT, "0040A043"),
    "SPECTROSCOPY": ("00080008", *_CONTENT, "00280008", "00280010", "00280011", "00289001", "00289002"),
    "RAW DATA": _CONTENT,
    "REGISTRATION": _NAMED,
    "FIDUCIAL": _NAMED,
    "VALUE MAP": _NAMED,
    "SURFACE": _NAMED,
    "TRACT": _NAMED,
    "ENCAP DOC": (*_CONTENT, "0040A043", "0040E001", "00420010", "00420012"),
    "MEASUREMENT": _CONTENT,
    "STEREOMETRIC": _NAMED,
    "SURFACE SCAN": _CONTENT,
    "ASSESSMENT": _CONTENT,
    "RADIOTHERAPY": (*_CONTENT, "30100077"),
}
"""Tags in their order, by type of record."""

NUMBERED: Final = frozenset({"00200011", "00200013"})
"""Keys that are made up by counting where an instance has none: Series and Instance Number."""

# The longest beginning that fits decides; whatever has none of them is an image.
_TYPES: Final = {
    "481.2": "RT DOSE",
    "481.3": "RT STRUCTURE SET",
    "481.5": "RT PLAN",
    "481.8": "RT PLAN",
    "481.4": "RT TREAT RECORD",
    "481.6": "RT TREAT RECORD",
    "481.7": "RT TREAT RECORD",
    "481.9": "RT TREAT RECORD",
    "481.1": "IMAGE",
    "481": "RADIOTHERAPY",
    "11": "PRESENTATION",
    "9": "WAVEFORM",
    "88": "SR DOCUMENT",
    "88.59": "KEY OBJECT DOC",
    "4.2": "SPECTROSCOPY",
    "66": "RAW DATA",
    "66.1": "REGISTRATION",
    "66.2": "FIDUCIAL",
    "66.3": "REGISTRATION",
    "66.4": "IMAGE",  # segmentations
    "66.7": "IMAGE",
    "66.5": "SURFACE",
    "66.6": "TRACT",
    "67": "VALUE MAP",
    "68": "SURFACE SCAN",
    "77.1.5.3": "STEREOMETRIC",
    "78": "MEASUREMENT",
    "90.1": "ASSESSMENT",
    "104": "ENCAP DOC",
}


def record_type(sop_class: str) -> str:
    """The type of the record that stands for an instance of `sop_class`."""
    if not sop_class.startswith(_ROOT):
        return "IMAGE"
    parts = sop_class.removeprefix(_ROOT).split(".")
    beginnings = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((_TYPES[one] for one in beginnings if one in _TYPES), "IMAGE")
