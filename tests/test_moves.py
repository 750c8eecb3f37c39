from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_steps import alive_core, frame, page, router, seat, status, submission

from statecore.delivery import weight
from statecore.effects import Count, Effect, Send
from statecore.envelope import Envelope, encode_data
from statecore.errors import RemoteProtocolError
from statecore.events import Closed
from statecore.lifecycle import Action
from statecore.moves import check_live_update, check_room, check_size, drop
from statecore.router import RouterCore
from statecore.router_state import CLOSE_UNKNOWN
from statecore.seats import Seat
from statecore.status import FINAL_STATES, State


def live(size: int = 1) -> Envelope:
    return Envelope("mephisto_bound_live_update", "1", encode_data({"u": "x" * size}))


def error(size: int) -> Envelope:
    return Envelope("log_error", "1", encode_data({"text": "x" * size}))


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (State.CONNECTING, Action.HOLD),
        (State.ONBOARDING, Action.FORWARD),
        (State.WAITING, Action.HOLD),
        (State.IN_TASK, Action.FORWARD),
    ],
)
def test_live_update_is_forwarded_or_held_by_the_state(state: State, action: Action) -> None:
    core = router()
    assert check_live_update(core.state, Seat("1", state=state.value), live()) == action


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_live_update_is_refused_with_what_is_legal_when_the_agent_has_ended(state: State) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_live_update(router().state, Seat("1", state=state.value), live())
    assert caught.value.error_type == "illegal-in-state"
    assert "submit_unit" in caught.value.expected


def test_live_update_of_an_unknown_agent_is_held() -> None:
    assert check_live_update(router().state, None, live()) == Action.HOLD


def test_packet_is_refused_exactly_above_the_limits() -> None:
    state = router(core_limit=1_000, error_limit=500, outbox_bytes=999).state
    room = 1_000 - weight(live(0))
    check_size(state, live(room))
    with pytest.raises(RemoteProtocolError) as caught:
        check_size(state, live(room + 1))
    assert caught.value.error_type == "too-large"
    room = 500 - weight(error(0))
    check_size(state, error(room))
    with pytest.raises(RemoteProtocolError) as caught:
        check_size(state, error(room + 1))
    assert caught.value.error_type == "too-large"
    with pytest.raises(RemoteProtocolError) as caught:
        check_room(state, live(1_000 - weight(live(0))))
    assert caught.value.error_type == "outbox-full"


def test_dropped_seat_takes_its_held_work_with_it_when_the_2xx_was_given() -> None:
    """The worker's page, if it is there, hears that its work went nowhere."""
    core = router(core=False)
    page(core, "5")
    core.receive(submission("s1", "5"))
    out: list[Effect] = []
    drop(core.state, seat(core, "5"), CLOSE_UNKNOWN, "gone", out)
    assert out[0] == Count("refused", "unknown-agent")
    assert isinstance(out[1], Send)
    assert out[1].connection == "page"
    assert (core.state.held_bytes, core.agent("5")) == (0, None)


STEPS = st.lists(
    st.sampled_from(["update", "submit", "in task", "waiting", "timeout", "poll", "away", "back"]),
    max_size=12,
)


def held_bytes(core: RouterCore) -> int:
    return sum(weight(item.packet) for one in core.state.seats for item in one.held)


@given(steps=STEPS)
def test_held_bytes_are_those_of_what_is_held_whatever_happens(steps: list[str]) -> None:
    core = router()
    page(core, "5")
    for number, step in enumerate(steps):
        if step == "update":
            value = {"update_id": str(number)}
            if "page" in core.state.connections:
                core.receive(frame("page", "mephisto_bound_live_update", "5", value))
        elif step == "submit":
            core.receive(submission(f"s{number}", "5"))
        elif step == "away":
            if core.state.core is not None:
                core.receive(Closed("core"))
        elif core.state.core is None:
            alive_core(core)
        elif step == "poll":
            core.receive(frame("core", "request_statuses", "mephisto"))
        elif step != "back":
            core.receive(status("5", step))
        assert core.state.held_bytes == held_bytes(core)
        waiting = [item.post for one in core.state.seats for item in one.held if item.post]
        assert sorted(core.state.held_posts) == sorted(waiting)
