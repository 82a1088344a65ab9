from itertools import product

import pytest
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

from imagerepo.dimse.states import EVENT_OF_PDU, NEXT_STATE, TRANSITIONS, Action, Event, State

PDU_EVENTS = (*EVENT_OF_PDU.values(), Event.INVALID_PDU)
EXPECTED = {
    State.AWAITING_ASSOCIATE_RQ: {Event.ASSOCIATE_RQ_PDU},
    State.AWAITING_LOCAL_ASSOCIATE_RESPONSE: set(),
    State.DATA_TRANSFER: {Event.P_DATA_PDU, Event.RELEASE_RQ_PDU},
    State.AWAITING_LOCAL_RELEASE_RESPONSE: set(),
}


def test_the_table_is_the_one_another_implementation_has() -> None:
    ours = {(event.value, state.value): action.value for (state, event), action in TRANSITIONS.items()}
    assert ours == TRANSITION_TABLE


@pytest.mark.parametrize("action", Action)
def test_every_action_leads_to_the_state_that_another_implementation_says(action: Action) -> None:
    state = ACTIONS[action.value][2]
    assert NEXT_STATE[action].value in (state if isinstance(state, tuple) else (state,))


@pytest.mark.parametrize(("state", "event"), tuple(product(EXPECTED, PDU_EVENTS)))
def test_an_unexpected_pdu_aborts_in_every_state_of_an_acceptor(state: State, event: Event) -> None:
    action = TRANSITIONS[state, event]
    if event in EXPECTED[state]:
        assert action not in {Action.ABORT_AS_USER, Action.ABORT_AS_PROVIDER}
    elif event is Event.ABORT_PDU:
        assert NEXT_STATE[action] is State.IDLE
    elif state is State.AWAITING_ASSOCIATE_RQ:
        assert action is Action.ABORT_AS_USER
    else:
        assert action is Action.ABORT_AS_PROVIDER


@pytest.mark.parametrize("event", PDU_EVENTS)
def test_no_pdu_leads_out_of_waiting_for_the_close_except_an_abort(event: Event) -> None:
    following = NEXT_STATE[TRANSITIONS[State.AWAITING_TRANSPORT_CLOSE, event]]
    assert following is (State.IDLE if event is Event.ABORT_PDU else State.AWAITING_TRANSPORT_CLOSE)


@pytest.mark.parametrize("state", [one for one in State if one is not State.IDLE])
def test_a_lost_connection_ends_every_state(state: State) -> None:
    assert NEXT_STATE[TRANSITIONS[state, Event.TRANSPORT_CLOSED]] is State.IDLE
