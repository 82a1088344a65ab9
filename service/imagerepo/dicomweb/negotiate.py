"""Which form of what is stored a client accepts; nothing is transcoded yet.

Source: PS3.18 sections 8.7.3 (DICOM Media Types), 8.7.3.3 (Bulkdata), Tables 8.7.3-4 and 8.7.3-5.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

from imagerepo.errors import NotAcceptableError
from imagerepo.model.uids import Uid
from imagerepo.web.media import parse_accept

DICOM: Final = "application/dicom"
JSON: Final = "application/dicom+json"
OCTETS: Final = "application/octet-stream"
_ANY_SYNTAX: Final = frozenset({"", "*"})
_EXPLICIT_LITTLE: Final = Uid("1.2.840.10008.1.2.1")
_IMPLICIT_LITTLE: Final = Uid("1.2.840.10008.1.2")

_BASE: Final = "1.2.840.10008.1.2."
_COMPRESSED: Final = {
    **dict.fromkeys((f"{_BASE}4.{number}" for number in (50, 51, 57, 70)), "image/jpeg"),
    f"{_BASE}5": "image/dicom-rle",
    **dict.fromkeys((f"{_BASE}4.{number}" for number in (80, 81)), "image/jls"),
    **dict.fromkeys((f"{_BASE}4.{number}" for number in (90, 91)), "image/jp2"),
    **dict.fromkeys((f"{_BASE}4.{number}" for number in (92, 93)), "image/jpx"),
    **dict.fromkeys((f"{_BASE}4.{number}" for number in (100, 101)), "video/mpeg"),
    **dict.fromkeys((f"{_BASE}4.{number}" for number in range(102, 109)), "video/mp4"),
    **dict.fromkeys((f"{_BASE}4.{number}" for number in (110, 111, 112)), "image/jxl"),
    **dict.fromkeys((f"{_BASE}4.{number}" for number in (201, 202, 203)), "image/jphc"),
}


class Form(Enum):
    """How an object is packed."""

    PARTS = "parts"  # multipart/related
    SINGLE = "single"  # the object alone


def choose_instance(accept: str, syntax: Uid) -> Form:
    """The form of one instance stored in `syntax`. Raises NotAcceptableError."""
    if not accept:
        return Form.PARTS
    for one in parse_accept(accept):
        if one.transfer_syntax not in _ANY_SYNTAX and one.transfer_syntax != syntax:
            continue
        if one.covers_related(DICOM):
            return Form.PARTS
        if one.covers(DICOM):
            return Form.SINGLE
    raise NotAcceptableError(
        f"the instance is stored in transfer syntax {syntax} and can be had as multipart/related; "
        f'type="{DICOM}" or {DICOM}, with that transfer-syntax or *; Accept has neither'
    )


def checker_of_many(accept: str) -> Callable[[Uid], None]:
    """A check of each instance's transfer syntax for an answer of several parts. Raises NotAcceptableError."""
    if not accept:
        return _accept_any
    wanted = {one.transfer_syntax for one in parse_accept(accept) if one.covers_related(DICOM)}
    if not wanted:
        raise NotAcceptableError(
            f'several instances can be had as multipart/related; type="{DICOM}"; Accept has it not'
        )
    if wanted & _ANY_SYNTAX:
        return _accept_any

    def check(syntax: Uid) -> None:
        if syntax not in wanted:
            raise NotAcceptableError(
                f"an instance is stored in transfer syntax {syntax}, which Accept has not; ask for transfer-syntax=*"
            )

    return check


def _accept_any(syntax: Uid) -> None:
    del syntax


def check_json(accept: str) -> None:
    """Raise NotAcceptableError unless DICOM JSON is accepted."""
    if accept and not any(one.covers(JSON) or one.covers("application/json") for one in parse_accept(accept)):
        raise NotAcceptableError(f"this can be had as {JSON}; Accept has it not")


def pixel_type(syntax: Uid, *, encapsulated: bool) -> str:
    """The media type of pixel data stored in `syntax`."""
    return _COMPRESSED.get(syntax, OCTETS) if encapsulated else OCTETS


def pixel_syntax(syntax: Uid) -> Uid:
    """The transfer syntax that names the bytes of native pixel data: both little endian ones have the same."""
    return _EXPLICIT_LITTLE if syntax == _IMPLICIT_LITTLE else syntax


def choose_bulk(accept: str, native: str, syntax: Uid) -> tuple[Form, str]:
    """The form and media type of bulk data whose own media type is `native`.

    Raises:
        NotAcceptableError: none of what they can be had as.
    """
    if not accept:
        return Form.PARTS, native
    for one in parse_accept(accept):
        if one.transfer_syntax not in _ANY_SYNTAX and one.transfer_syntax != syntax:
            continue
        for offered in dict.fromkeys((native, OCTETS)):
            if one.covers_related(offered):
                return Form.PARTS, offered
            if one.covers(offered):
                return Form.SINGLE, offered
    raise NotAcceptableError(_bulk_message(native, syntax))


def _bulk_message(native: str, syntax: Uid) -> str:
    kinds = " or ".join(dict.fromkeys((native, OCTETS)))
    return f"this is stored in transfer syntax {syntax} and can be had as {kinds}, in multipart/related or alone"
