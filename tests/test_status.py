"""Statuses and the states that they mean: DESIGN's table, whole."""

from __future__ import annotations

from statecore.status import FINAL_STATES, LIVE_STATES, STATE_OF, LinkState, State, Status


def test_the_seven_states_are_live_or_final() -> None:
    assert [str(state) for state in State] == [
        "connecting",
        "onboarding",
        "waiting",
        "in_task",
        "completed",
        "disconnected",
        "failed",
    ]
    assert {State.CONNECTING, State.ONBOARDING, State.WAITING, State.IN_TASK} == LIVE_STATES
    assert {State.COMPLETED, State.DISCONNECTED, State.FAILED} == FINAL_STATES


def test_every_status_means_its_state() -> None:
    assert {str(status): state and str(state) for status, state in STATE_OF.items()} == {
        "none": None,
        "accepted": "waiting",
        "onboarding": "onboarding",
        "waiting": "waiting",
        "in task": "in_task",
        "completed": "completed",
        "partner disconnect": "completed",
        "approved": "completed",
        "soft_rejected": "completed",
        "rejected": "completed",
        "disconnect": "disconnected",
        "timeout": "disconnected",
        "expired": "disconnected",
        "returned": "disconnected",
        "mephisto disconnect": "disconnected",
    }
    assert set(STATE_OF) == set(Status)


def test_no_status_means_connecting_or_failed() -> None:
    assert set(State) - set(STATE_OF.values()) == {State.CONNECTING, State.FAILED}


def test_a_link_has_four_states() -> None:
    assert [str(state) for state in LinkState] == ["absent", "up", "lost", "dead"]
