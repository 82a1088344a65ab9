"""The upper layer's state machine: states, events, actions, and the table that ties them, for both roles.

Source: PS3.8 section 9.2 (DICOM UL State Machine), Tables 9-1 to 9-10.
"""

from enum import StrEnum
from typing import Final

from imagerepo.dimse.pdu import PduType


class State(StrEnum):
    """Where an association is (PS3.8 Tables 9-1 to 9-5)."""

    IDLE = "Sta1"
    AWAITING_ASSOCIATE_RQ = "Sta2"
    AWAITING_LOCAL_ASSOCIATE_RESPONSE = "Sta3"
    AWAITING_TRANSPORT_OPEN = "Sta4"
    AWAITING_ASSOCIATE_AC_OR_RJ = "Sta5"
    DATA_TRANSFER = "Sta6"
    AWAITING_RELEASE_RP = "Sta7"
    AWAITING_LOCAL_RELEASE_RESPONSE = "Sta8"
    COLLISION_REQUESTOR_AWAITING_LOCAL = "Sta9"
    COLLISION_ACCEPTOR_AWAITING_RP = "Sta10"
    COLLISION_REQUESTOR_AWAITING_RP = "Sta11"
    COLLISION_ACCEPTOR_AWAITING_LOCAL = "Sta12"
    AWAITING_TRANSPORT_CLOSE = "Sta13"


class Event(StrEnum):
    """What can happen (PS3.8 Table 9-10)."""

    ASSOCIATE_REQUEST = "Evt1"  # local
    TRANSPORT_CONFIRM = "Evt2"
    ASSOCIATE_AC_PDU = "Evt3"
    ASSOCIATE_RJ_PDU = "Evt4"
    TRANSPORT_INDICATION = "Evt5"
    ASSOCIATE_RQ_PDU = "Evt6"
    ACCEPT_RESPONSE = "Evt7"  # local
    REJECT_RESPONSE = "Evt8"  # local
    P_DATA_REQUEST = "Evt9"  # local
    P_DATA_PDU = "Evt10"
    RELEASE_REQUEST = "Evt11"  # local
    RELEASE_RQ_PDU = "Evt12"
    RELEASE_RP_PDU = "Evt13"
    RELEASE_RESPONSE = "Evt14"  # local
    ABORT_REQUEST = "Evt15"  # local
    ABORT_PDU = "Evt16"
    TRANSPORT_CLOSED = "Evt17"
    ARTIM_EXPIRED = "Evt18"
    INVALID_PDU = "Evt19"


class Action(StrEnum):
    """What is done about it (PS3.8 Tables 9-6 to 9-9)."""

    OPEN_TRANSPORT = "AE-1"
    SEND_ASSOCIATE_RQ = "AE-2"
    CONFIRM_ACCEPTED = "AE-3"
    CONFIRM_REJECTED_AND_CLOSE = "AE-4"
    START_ARTIM_FOR_RQ = "AE-5"
    JUDGE_ASSOCIATE_RQ = "AE-6"
    SEND_ASSOCIATE_AC = "AE-7"
    SEND_ASSOCIATE_RJ = "AE-8"
    SEND_P_DATA = "DT-1"
    INDICATE_P_DATA = "DT-2"
    SEND_RELEASE_RQ = "AR-1"
    INDICATE_RELEASE = "AR-2"
    CONFIRM_RELEASE_AND_CLOSE = "AR-3"
    SEND_RELEASE_RP_AND_START_ARTIM = "AR-4"
    STOP_ARTIM_RELEASED = "AR-5"
    INDICATE_P_DATA_WHILE_RELEASING = "AR-6"
    SEND_P_DATA_WHILE_RELEASING = "AR-7"
    INDICATE_RELEASE_COLLISION = "AR-8"
    SEND_RELEASE_RP = "AR-9"
    CONFIRM_RELEASE = "AR-10"
    ABORT_AS_USER = "AA-1"
    STOP_ARTIM_AND_CLOSE = "AA-2"
    INDICATE_ABORT_AND_CLOSE = "AA-3"
    INDICATE_PROVIDER_ABORT = "AA-4"
    STOP_ARTIM = "AA-5"
    IGNORE_PDU = "AA-6"
    ABORT_AGAIN = "AA-7"
    ABORT_AS_PROVIDER = "AA-8"


EVENT_OF_PDU: Final[dict[int, Event]] = {
    PduType.ASSOCIATE_RQ: Event.ASSOCIATE_RQ_PDU,
    PduType.ASSOCIATE_AC: Event.ASSOCIATE_AC_PDU,
    PduType.ASSOCIATE_RJ: Event.ASSOCIATE_RJ_PDU,
    PduType.P_DATA_TF: Event.P_DATA_PDU,
    PduType.RELEASE_RQ: Event.RELEASE_RQ_PDU,
    PduType.RELEASE_RP: Event.RELEASE_RP_PDU,
    PduType.ABORT: Event.ABORT_PDU,
}

# The state that each action leads to. Two depend on more than event and state: AE-6 on what the service provider
# thinks of the request, AR-8 on the role; the acceptor's side of AR-8, and the good end of AE-6, stand here.
NEXT_STATE: Final = {
    Action.OPEN_TRANSPORT: State.AWAITING_TRANSPORT_OPEN,
    Action.SEND_ASSOCIATE_RQ: State.AWAITING_ASSOCIATE_AC_OR_RJ,
    Action.CONFIRM_ACCEPTED: State.DATA_TRANSFER,
    Action.CONFIRM_REJECTED_AND_CLOSE: State.IDLE,
    Action.START_ARTIM_FOR_RQ: State.AWAITING_ASSOCIATE_RQ,
    Action.JUDGE_ASSOCIATE_RQ: State.AWAITING_LOCAL_ASSOCIATE_RESPONSE,
    Action.SEND_ASSOCIATE_AC: State.DATA_TRANSFER,
    Action.SEND_ASSOCIATE_RJ: State.AWAITING_TRANSPORT_CLOSE,
    Action.SEND_P_DATA: State.DATA_TRANSFER,
    Action.INDICATE_P_DATA: State.DATA_TRANSFER,
    Action.SEND_RELEASE_RQ: State.AWAITING_RELEASE_RP,
    Action.INDICATE_RELEASE: State.AWAITING_LOCAL_RELEASE_RESPONSE,
    Action.CONFIRM_RELEASE_AND_CLOSE: State.IDLE,
    Action.SEND_RELEASE_RP_AND_START_ARTIM: State.AWAITING_TRANSPORT_CLOSE,
    Action.STOP_ARTIM_RELEASED: State.IDLE,
    Action.INDICATE_P_DATA_WHILE_RELEASING: State.AWAITING_RELEASE_RP,
    Action.SEND_P_DATA_WHILE_RELEASING: State.AWAITING_LOCAL_RELEASE_RESPONSE,
    Action.INDICATE_RELEASE_COLLISION: State.COLLISION_ACCEPTOR_AWAITING_RP,
    Action.SEND_RELEASE_RP: State.COLLISION_REQUESTOR_AWAITING_RP,
    Action.CONFIRM_RELEASE: State.COLLISION_ACCEPTOR_AWAITING_LOCAL,
    Action.ABORT_AS_USER: State.AWAITING_TRANSPORT_CLOSE,
    Action.STOP_ARTIM_AND_CLOSE: State.IDLE,
    Action.INDICATE_ABORT_AND_CLOSE: State.IDLE,
    Action.INDICATE_PROVIDER_ABORT: State.IDLE,
    Action.STOP_ARTIM: State.IDLE,
    Action.IGNORE_PDU: State.AWAITING_TRANSPORT_CLOSE,
    Action.ABORT_AGAIN: State.AWAITING_TRANSPORT_CLOSE,
    Action.ABORT_AS_PROVIDER: State.AWAITING_TRANSPORT_CLOSE,
}

_STATES: Final = tuple(State)  # Sta1 to Sta13, as the columns below

# PS3.8 Table 9-10, a row an event, a column a state from Sta1 to Sta13; a dash: cannot happen.
_ROWS: Final = """
Evt1   AE-1 -    -    -    -    -    -    -    -    -     -    -    -
Evt2   -    -    -    AE-2 -    -    -    -    -    -     -    -    -
Evt3   -    AA-1 AA-8 -    AE-3 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt4   -    AA-1 AA-8 -    AE-4 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt5   AE-5 -    -    -    -    -    -    -    -    -     -    -    -
Evt6   -    AE-6 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7
Evt7   -    -    AE-7 -    -    -    -    -    -    -     -    -    -
Evt8   -    -    AE-8 -    -    -    -    -    -    -     -    -    -
Evt9   -    -    -    -    -    DT-1 -    AR-7 -    -     -    -    -
Evt10  -    AA-1 AA-8 -    AA-8 DT-2 AR-6 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt11  -    -    -    -    -    AR-1 -    -    -    -     -    -    -
Evt12  -    AA-1 AA-8 -    AA-8 AR-2 AR-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt13  -    AA-1 AA-8 -    AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3 AA-8 AA-6
Evt14  -    -    -    -    -    -    -    AR-4 AR-9 -     -    AR-4 -
Evt15  -    -    AA-1 AA-2 AA-1 AA-1 AA-1 AA-1 AA-1 AA-1  AA-1 AA-1 -
Evt16  -    AA-2 AA-3 -    AA-3 AA-3 AA-3 AA-3 AA-3 AA-3  AA-3 AA-3 AA-2
Evt17  -    AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4  AA-4 AA-4 AR-5
Evt18  -    AA-2 -    -    -    -    -    -    -    -     -    -    AA-2
Evt19  -    AA-1 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7
"""

TRANSITIONS: Final = {
    (state, Event(event)): Action(action)
    for event, *actions in (row.split() for row in _ROWS.strip().splitlines())
    for state, action in zip(_STATES, actions, strict=True)
    if action != "-"
}
"""What to do about an event in a state; then `NEXT_STATE` of it."""
