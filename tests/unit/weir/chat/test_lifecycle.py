"""The table of legal transitions, as a whole."""

import pytest

from weir.chat.frames import Status
from weir.chat.lifecycle import TERMINAL, TRANSITIONS, Happening, State, transition

ENDS = [Happening.COMPLETED, Happening.FAILED, Happening.CANCELLED, Happening.EXPIRED]


def test_only_failed_and_expired_requests_begin_again_and_no_other_step_leaves_a_terminal_state() -> None:
    leading_out = {before: (what, after) for (before, what), after in TRANSITIONS.items() if before in TERMINAL}
    anew = (Happening.REDRIVEN, State.ACCEPTED)
    assert leading_out == {State.FAILED: anew, State.EXPIRED: anew}


def test_the_terminal_states_are_the_ways_an_answer_can_end() -> None:
    assert {str(state) for state in TERMINAL} == {str(status) for status in Status}
    assert {Happening(f"request.{status}") for status in Status} == set(ENDS)


def test_every_happening_is_a_step_somewhere_but_for_being_forgotten() -> None:
    assert {happening for _, happening in TRANSITIONS} == set(Happening) - {Happening.FORGOTTEN}


def test_every_state_but_unknown_can_be_reached_and_unknown_is_never_gone_back_to() -> None:
    assert set(TRANSITIONS.values()) == set(State) - {State.UNKNOWN}


@pytest.mark.parametrize("state", [State.UNKNOWN, State.ACCEPTED, State.RUNNING])
@pytest.mark.parametrize("end", ENDS)
def test_a_request_can_end_in_every_way_from_every_state_that_is_no_end(state: State, end: Happening) -> None:
    after = transition(state, end)
    assert after is not None
    assert end == f"request.{after}"


def test_the_steps_between_may_come_in_either_order() -> None:
    assert transition(State.UNKNOWN, Happening.ACCEPTED) is State.ACCEPTED
    assert transition(State.ACCEPTED, Happening.ATTEMPTED) is State.RUNNING
    assert transition(State.UNKNOWN, Happening.ATTEMPTED) is State.RUNNING
    assert transition(State.RUNNING, Happening.ACCEPTED) is State.RUNNING
    assert transition(State.RUNNING, Happening.ATTEMPTED) is State.RUNNING


@pytest.mark.parametrize("state", State)
def test_being_forgotten_is_no_step(state: State) -> None:
    assert transition(state, Happening.FORGOTTEN) is None


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("happening", sorted(set(Happening) - {Happening.REDRIVEN}))
def test_what_is_heard_after_the_end_changes_nothing(state: State, happening: Happening) -> None:
    assert transition(state, happening) is None
