"""What a C-GET has to be offered: presentation contexts for what the peer will send.

A C-GET comes over the association that asks for it, so that SOP classes and transfer syntaxes have to be proposed
before anything is known of the instances. Hence the peer is queried first, where it can be; else the usual kinds are
proposed. Each transfer syntax is a context of its own: the peer chooses among them, one for each instance.

Source: PS3.4 C.4.3 (C-GET operation), C.5.3 (association negotiation).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from imagerepo.dimse.associate import ProposedContext, Role
from imagerepo.dimse.client import keys
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.levels import LEVEL, QueryLevel
from imagerepo.dimse.client.negotiation import MOST_CONTEXTS, propose
from imagerepo.dimse.client.query import SYNTAXES, find
from imagerepo.dimse.query_retrieve import Model
from imagerepo.errors import PeerError, PeerFailure
from imagerepo.model.header import Attribute, Header
from imagerepo.model.peer import Peer

_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_SOP_CLASS: Final = "00080016"
_AVAILABLE_SYNTAX: Final = "00083002"  # Available Transfer Syntax UID
_MOST: Final = 10_000  # entities of a level that are looked at, to learn of their kinds

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
USUAL_CLASSES: Final = tuple(
    _STORAGE + number
    for number in (
        "2", "2.1", "4", "4.1", "1", "1.1", "1.2", "6.1", "3.1", "7", "128", "20", "12.1", "12.2", "88.11", "88.22",
        "88.33", "11.1", "104.1", "481.2", "481.3",
    )
)  # fmt: skip
"""CT, MR, CR, DX, MG, US, SC, PET, NM, XA, XRF, SR, GSPS, PDF, RT structure sets and plans."""
USUAL_SYNTAXES: Final = (
    "1.2.840.10008.1.2.1",  # explicit VR little endian
    "1.2.840.10008.1.2",  # implicit VR little endian
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
)
"""What instances are mostly kept in."""
_FURTHER_SYNTAXES: Final = (
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K lossless RPCL
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.2",  # explicit VR big endian
    "1.2.840.10008.1.2.4.100",  # MPEG2
    "1.2.840.10008.1.2.4.102",  # MPEG-4
    "1.2.840.10008.1.2.4.107",  # HEVC
)


def contexts(model: Model, kinds: Iterable[tuple[str, Sequence[str]]]) -> tuple[ProposedContext, ...]:
    """A context for the C-GET, then one for each SOP class and syntax, as many as there is room for."""
    storage = ((sop_class, (syntax,)) for sop_class, syntaxes in kinds for syntax in syntaxes)
    return propose([(model.get, SYNTAXES), *islice(storage, MOST_CONTEXTS - 1)])


def roles(proposed: Iterable[ProposedContext], model: Model) -> tuple[Role, ...]:
    """That we take instances: SCP of the storage classes (PS3.7 D.3.3.4)."""
    classes = dict.fromkeys(one.abstract_syntax for one in proposed if one.abstract_syntax != model.get)
    return tuple(Role(sop_class, scu=False, scp=True) for sop_class in classes)


def kinds_of(peer: Peer, calling: str, model: Model, identifier: Header) -> Sequence[tuple[str, Sequence[str]]]:
    """SOP classes with their transfer syntaxes, as the peer tells them of what is wanted; else the usual ones.

    Raises:
        PeerError: it is unreachable, or gone.
    """
    found: dict[str, dict[str, None]] = {}
    try:
        with Connection.open(peer, calling, propose([(model.find, SYNTAXES)])) as connection:
            for image in _images(connection, model, identifier):
                for sop_class in _values(image, _SOP_CLASS):
                    found.setdefault(sop_class, {}).update(dict.fromkeys(_values(image, _AVAILABLE_SYNTAX)))
    except PeerError as error:
        if error.failure not in {PeerFailure.REFUSED, PeerFailure.DECLINED}:
            raise
    if not found:
        return [(sop_class, USUAL_SYNTAXES) for sop_class in USUAL_CLASSES]
    return _with_syntaxes(found)


def _with_syntaxes(found: dict[str, dict[str, None]]) -> list[tuple[str, Sequence[str]]]:
    room = max((MOST_CONTEXTS - 1) // len(found), 1)
    guessed = (*USUAL_SYNTAXES, *_FURTHER_SYNTAXES)
    return [
        # Those that were named, and the uncompressed ones that every peer can make of them.
        (sop_class, list(dict.fromkeys((*named, *(guessed[:2] if named else guessed))))[:room])
        for sop_class, named in found.items()
    ]


def _images(connection: Connection, model: Model, identifier: Header) -> Iterator[Header]:
    """Of each image that an identifier names its SOP class and transfer syntaxes; asks level by level."""
    above = {tag: one for tag, one in identifier.items() if tag != LEVEL}
    wanted = ["SOPInstanceUID", "SOPClassUID", "AvailableTransferSyntaxUID"]
    for study in _below(connection, model, above, QueryLevel.STUDY, _STUDY):
        for series in _below(connection, model, study, QueryLevel.SERIES, _SERIES):
            asked = keys.merged(keys.parse(wanted), series)
            yield from find(connection, model, _at(QueryLevel.IMAGE, asked), _MOST)


def _below(connection: Connection, model: Model, above: Header, level: QueryLevel, unique: str) -> Iterator[Header]:
    """The entities of one level; each as an identifier that names it and what is above it."""
    given = above.get(unique)
    if given is not None and given.values:
        for value in given.values:
            yield {**above, unique: Attribute("UI", (value,))}
        return
    without = {tag: one for tag, one in above.items() if tag not in {_SERIES, _INSTANCE}}
    asked = keys.merged(without, {unique: Attribute("UI")})
    # All of a level before any of the next: an association does one query at a time.
    for found in list(find(connection, model, _at(level, asked), _MOST)):
        for value in _values(found, unique):
            yield {**above, unique: Attribute("UI", (value,))}


def _at(level: QueryLevel, header: Header) -> Header:
    return keys.merged(header, {LEVEL: Attribute("CS", (level.upper(),))})


def _values(header: Header, tag: str) -> Sequence[str]:
    attribute = header.get(tag)
    return [str(value) for value in attribute.values if value] if attribute else []
