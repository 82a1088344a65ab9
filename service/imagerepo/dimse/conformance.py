"""The tables of the DICOM conformance statement, made from what the code does.

Source: PS3.2 Annex A (DICOM Conformance Statement Template).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from imagerepo.dicom import attributes, charset
from imagerepo.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from imagerepo.dimse import commitment_report, mpps
from imagerepo.dimse.find_answers import ANSWERED
from imagerepo.dimse.levels import LEVEL_NAMES
from imagerepo.dimse.messages import Status
from imagerepo.dimse.negotiate import NATIVE_SYNTAXES, VERIFICATION, storage, transfer_syntaxes
from imagerepo.dimse.query_retrieve import FIND, GET, MOVE
from imagerepo.dimse.worklist import MODALITY_WORKLIST
from imagerepo.model.query import Key, Level
from imagerepo.settings import Settings

_BEGIN: Final = "<!-- begin {} -->"
_END: Final = "<!-- end {} -->"

# Role and service of each SOP class that is no storage class.
_AS_PROVIDER: Final[Mapping[str, frozenset[str]]] = {
    "C-ECHO": frozenset({VERIFICATION}),
    "C-FIND": frozenset({*FIND, MODALITY_WORKLIST}),
    "C-MOVE": frozenset(MOVE),
    "C-GET": frozenset(GET),
    "N-ACTION, N-EVENT-REPORT": frozenset({commitment_report.SOP_CLASS}),
    "N-CREATE, N-SET": frozenset({mpps.MPPS}),
    "N-GET": frozenset({mpps.MPPS_RETRIEVE}),
}
_AS_USER: Final = frozenset({VERIFICATION, *FIND, *MOVE, *GET})
_LEVELS: Final = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.INSTANCE)


def served() -> frozenset[str]:
    """The SOP classes of all services but storage."""
    return frozenset(uid for classes in _AS_PROVIDER.values() for uid in classes)


def filled(statement: str, settings: Settings) -> str:
    """A statement with its tables made anew: each stands between `<!-- begin name -->` and `<!-- end name -->`.

    Raises:
        ValueError: a table has no place in it.
    """
    for name, make in _TABLES.items():
        begin, end = _BEGIN.format(name), _END.format(name)
        before, found, rest = statement.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the statement has no place for the table {name!r}: {begin} … {end}")
        statement = f"{before}{begin}\n{make(settings)}\n{end}{after}"
    return statement


def tables(settings: Settings) -> str:
    """All tables, each below its name."""
    return "\n\n".join(f"## {name.capitalize()}\n\n{make(settings)}" for name, make in _TABLES.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _name(uid: str) -> str:
    # On first use: the table is large, and only this needs its names.
    from pydicom.uid import UID  # noqa: PLC0415

    found = UID(uid).name
    return "private or unknown" if found == uid else found


def _services(settings: Settings) -> str:
    del settings
    rows = [
        (_name(uid), uid, "yes" if uid in _AS_USER else "no", "yes", service)
        for service, classes in _AS_PROVIDER.items()
        for uid in sorted(classes)
    ]
    return _table(("SOP class", "UID", "user (SCU)", "provider (SCP)", "services"), rows)


def _storage(settings: Settings) -> str:
    named = sorted((_name(uid), uid) for uid in storage(settings.dimse))
    return _table(("storage SOP class", "UID"), named)


def _transfer_syntaxes(settings: Settings) -> str:
    known = transfer_syntaxes() | set(settings.dimse.accepted_transfer_syntaxes)
    rows = [
        (_name(uid), uid, "yes", "yes" if uid in NATIVE_SYNTAXES else "no")
        for uid in sorted(known, key=lambda uid: [int(part) for part in uid.split(".")])
    ]
    return _table(("transfer syntax", "UID", "storage", "other services"), rows)


def _keys(settings: Settings) -> str:
    del settings
    matched = {key.tag: key for key in Key}
    rows: list[tuple[str, ...]] = []
    for tag in sorted({*matched, *ANSWERED}):
        key, answered = matched.get(tag), ANSWERED.get(tag)
        vr = key.vr if key else answered.vr if answered else ""
        levels = ", ".join(LEVEL_NAMES[level] for level in _LEVELS if answered and level in answered.levels)
        shown = f"({tag[:4]},{tag[4:]})"
        rows.append((attributes.keyword(tag) or "", shown, vr, "yes" if key else "no", levels or "none"))
    return _table(("attribute", "tag", "VR", "matched", "returned at"), rows)


def _association(settings: Settings) -> str:
    dimse = settings.dimse
    rows = (
        ("application context", "1.2.840.10008.3.1.1.1"),
        ("implementation class UID", IMPLEMENTATION_CLASS_UID),
        ("implementation version name", IMPLEMENTATION_VERSION_NAME),
        ("AE title", settings.ae_title),
        ("associations at the same time, accepted", str(dimse.max_associations)),
        ("largest PDU received", f"{dimse.max_pdu} bytes"),
        ("asynchronous operations window", "1 invoked, 1 performed"),
        ("idle time until an association is aborted", f"{dimse.idle_timeout:g} s"),
        ("matches answered to one C-FIND", str(dimse.max_find_results)),
    )
    return _table(("", "value"), rows)


def _statuses(settings: Settings) -> str:
    del settings
    rows = [(f"{status.value:04X}", status.name.replace("_", " ").lower()) for status in sorted(Status)]
    return _table(("status", "meaning"), rows)


def _character_sets(settings: Settings) -> str:
    del settings
    return _table(("Specific Character Set", "read"), [(name, "yes") for name in charset.names()])


_TABLES: Final[Mapping[str, Callable[[Settings], str]]] = {
    "services": _services,
    "storage": _storage,
    "transfer syntaxes": _transfer_syntaxes,
    "association": _association,
    "query keys": _keys,
    "statuses": _statuses,
    "character sets": _character_sets,
}
