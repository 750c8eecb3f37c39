from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_steps import (
    AT,
    LOCAL,
    POLL,
    connect,
    details,
    frame,
    metadata,
    onboarding,
    page,
    registration,
    reported,
    router,
    seat,
    seated,
    send,
    sent,
    status,
    submission,
    timer,
    update,
)

from statecore.effects import CancelTimer, Close, Count, Ping, Send, SetTimer
from statecore.errors import LocalProtocolError
from statecore.events import Closed, Frame, Opened, Ponged, Principal
from statecore.packets import PacketType
from statecore.router import SWEEPS, RouterCore
from statecore.settings import RouterOptions
from statecore.status import LinkState, State

SWEEP = timer("sweep")


# Starting and connections ----------------------------------------------------------


def test_router_arms_its_periodic_timers_when_it_starts() -> None:
    core = RouterCore(RouterOptions(heartbeat_limit=15, finished_kept=3_600))
    assert core.start() == (SetTimer(("sweep", ""), 5.0), SetTimer(("retire", ""), 3_600))


def test_router_uses_the_default_options_when_given_none() -> None:
    assert RouterCore().state.options == RouterOptions()


def test_router_keeps_an_opened_connection_when_nothing_came_yet() -> None:
    core = router(core=False)
    assert core.receive(Opened("p", LOCAL, AT, True)) == ()
    assert core.receive(Closed("p")) == ()
    assert core.key() == router(core=False).key()


@pytest.mark.parametrize("event", [Frame("x", "{}"), Closed("x"), Ponged("x", "1")])
def test_router_blames_the_adapter_when_a_connection_was_never_opened(event: Any) -> None:
    core = router()
    before = core.key()
    with pytest.raises(LocalProtocolError) as caught:
        core.receive(event)
    assert caught.value.error_type == "unknown-connection"
    assert core.key() == before


def test_router_blames_the_adapter_when_a_connection_is_opened_twice() -> None:
    core = router()
    with pytest.raises(LocalProtocolError) as caught:
        core.receive(Opened("core"))
    assert caught.value.error_type == "connection-open"


def test_router_blames_the_adapter_when_a_timer_has_no_known_name() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        router().receive(timer("tea"))
    assert caught.value.error_type == "unknown-timer"


def test_router_ignores_a_pong_when_the_connection_named_no_agent() -> None:
    core = router()
    connect(core, "p")
    before = core.key()
    assert core.receive(Ponged("p", "1")) == ()
    assert core.key() == before


def test_agent_is_none_when_nobody_named_it() -> None:
    assert router().agent("1") is None


# Bad input (docs/protocol.md sections 1 and 3) --------------------------------------------------------


def refused(text: str, error_type: str, field: str | None, expected: str) -> dict[str, Any]:
    shown = f"{text}; expected: {expected}" if expected else text
    return {"error_type": error_type, "text": shown, "field": field, "expected": expected}


BAD_FRAMES = {
    "not-json": "hello",
    "array": "[1]",
    "no packet_type": '{"subject_id":"1"}',
    "no subject": '{"packet_type":"heartbeat","data":{}}',
    "subject is a number": '{"packet_type":"heartbeat","subject_id":1}',
    "long integer": '{"packet_type":"log_error","subject_id":"1","data":' + "9" * 4_301 + "}",
    "deep": '{"packet_type":"log_error","subject_id":"1","data":' + "[" * 501 + "]" * 501 + "}",
    "unknown type": '{"packet_type":"hello","subject_id":"1"}',
    "only the core": '{"packet_type":"update_status","subject_id":"1","data":{"status":"completed"}}',
    "only the router": '{"packet_type":"register_agent","subject_id":"1","data":{}}',
    "somebody else's": '{"packet_type":"heartbeat","subject_id":"2"}',
    "no object": '{"packet_type":"mephisto_bound_live_update","subject_id":"1","data":[]}',
    "error is null": '{"packet_type":"log_error","subject_id":"1","data":null}',
    "half a character": '{"packet_type":"heartbeat","subject_id":"\\ud83d"}',
    "system": '{"packet_type":"heartbeat","subject_id":"mephisto"}',
}


@pytest.mark.parametrize("payload", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_page_is_told_why_and_nothing_changes_when_its_frame_is_bad(payload: str) -> None:
    """docs/protocol.md section 3: what was not validated is never forwarded (S9)."""
    core = router()
    seated(core, "1", "in task")
    seated(core, "2", "in task", who="b-w")
    page(core, "1")
    before = core.key()
    count, told = core.receive(Frame("page", payload, AT))
    assert isinstance(count, Count)
    assert isinstance(told, Send)
    assert (count.name, told.connection) == ("refused", "page")
    assert (told.packet.packet_type, told.packet.subject_id) == ("log_error", "mephisto")
    reason = json.loads(bytes(told.packet.data))
    assert set(reason) == {"error_type", "text", "field", "expected"}
    assert count.label == reason["error_type"]
    assert reason["text"]
    assert core.key() == before


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"{}", 1003), ('{"packet_type":"alive","subject_id":"\ud83d"}', 1007), ("x" * 501, 1009)],
    ids=["binary", "not UTF-8", "too large"],
)
def test_connection_is_closed_with_its_code_when_the_frame_cannot_be_read(
    payload: str | bytes, code: int
) -> None:
    """docs/protocol.md section 5: text frames only."""
    core = router(frame_limit=500)
    seated(core, "1")
    page(core, "1")
    before = core.key()
    count, close = core.receive(Frame("page", payload, AT))
    assert isinstance(count, Count)
    assert isinstance(close, Close)
    assert (count.name, close.connection, close.code) == ("refused", "page", code)
    assert core.key() == before


def test_page_hears_the_field_and_what_is_expected_when_a_type_is_unknown() -> None:
    core = router()
    connect(core, "p")
    (count, told) = core.receive(Frame("p", '{"packet_type":"hello","subject_id":"1"}', AT))
    assert count == Count("refused", "unknown-packet-type")
    assert isinstance(told, Send)
    reason = json.loads(bytes(told.packet.data))
    assert reason["field"] == "packet_type"
    assert "mephisto_bound_live_update" in reason["expected"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
ANY_TYPE = st.sampled_from([*PacketType, "hello"])
ANY_FRAME = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=10),
    st.fixed_dictionaries(
        {"packet_type": ANY_TYPE | JSON},
        optional={
            "subject_id": st.sampled_from(["", "1", "2", "onboarding_9", "mephisto", "x" * 300])
            | JSON,
            "data": st.fixed_dictionaries(
                {},
                optional={
                    "status": st.sampled_from(["in task", "completed", "mephisto disconnect", "x"]),
                    "request_id": st.sampled_from(["r1", "r2", "seat of 1"]),
                    "agent_id": st.sampled_from([None, "1", "2", 3]),
                },
            )
            | JSON,
            "client_timestamp": JSON,
        },
    ).map(json.dumps),
)


@given(
    payload=ANY_FRAME,
    speaker=st.sampled_from(["page", "unbound", "core", "old"]),
    pushed=st.sampled_from([None, "waiting", "in task", "completed"]),
)
def test_refused_frame_changes_nothing_when_it_is_anything_at_all(
    payload: str | bytes, speaker: str, pushed: str | None
) -> None:
    """S9, for every peer: a page, a socket that named nobody, the core, a replaced tab."""
    core = router()
    seated(core, "1", pushed)
    seated(core, "2", "in task", who="b-w")
    core.receive(registration("r1", "c-w"))
    connect(core, "unbound")
    page(core, "1", "old")
    page(core, "1", "page")
    before = core.key()
    effects = core.receive(Frame(speaker, payload, AT))
    if any(isinstance(e, Count) and e.name == "refused" for e in effects):
        assert core.key() == before
        assert sent(effects, "core") == [] or speaker == "core"
        assert core.copy().key() == before


# The second tab (S7) ----------------------------------------------------------


def test_second_tab_takes_over_and_the_first_is_told_to_give_up() -> None:
    """docs/protocol.md section 5: on a last ping of 0 the npm page gives up for good."""
    core = router()
    seated(core, "1", "in task")
    page(core, "1", "old")
    assert page(core, "1", "new") == (
        send("old", "heartbeat", "1", {"last_mephisto_ping": 0, "status": "in task"}),
        Close("old", 4001, "another tab speaks for this agent now"),
        send("new", "update_status", "1", {"status": "in task"}),
    )
    assert seat(core).connection == "new"


def test_first_tab_stays_refused_and_its_closing_does_no_harm_when_it_was_replaced() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1", "old")
    page(core, "1", "new")
    before = core.key()
    effects = core.receive(frame("old", "heartbeat", "1"))
    assert effects[0] == Count("refused", "replaced")
    assert core.key() == before
    assert core.receive(Closed("old")) == ()
    assert (seat(core).link, seat(core).connection) == (LinkState.UP, "new")


# Grace time and silence (S5, S6) ----------------------------------------------------------


def test_agent_has_the_grace_time_when_its_socket_is_gone() -> None:
    core = router(grace=10)
    seated(core, "1", "in task")
    page(core, "1")
    assert core.receive(Closed("page")) == (SetTimer(("grace", "1"), 10),)
    assert (seat(core).state, seat(core).link) == (State.IN_TASK, LinkState.LOST)


def test_agent_is_never_disconnected_when_it_returns_within_the_grace_time() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("page"))
    assert page(core, "1", "again") == (
        CancelTimer(("grace", "1")),
        send("again", "update_status", "1", {"status": "in task"}),
    )
    assert core.receive(timer("grace", "1")) == ()  # it was on its way already
    assert (seat(core).state, seat(core).link) == (State.IN_TASK, LinkState.UP)
    assert reported(core) == {"1": "in task"}


def test_agent_is_disconnected_and_the_core_told_when_the_grace_time_is_over() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("page"))
    assert core.receive(timer("grace", "1")) == (Count("disconnected"),)
    assert (seat(core).state, seat(core).outcome) == (State.DISCONNECTED, "disconnect")
    assert reported(core) == {"1": "disconnect"}


def test_grace_timer_does_nothing_when_the_agent_is_not_known_any_more() -> None:
    assert router().receive(timer("grace", "77")) == ()


def test_static_agent_is_never_disconnected_when_it_is_silent_for_ever() -> None:
    """S5: it never opened a socket."""
    core = router()
    seated(core, "1", "in task")
    for _ in range(720):
        assert core.receive(SWEEP) == (SetTimer(("sweep", ""), 5.0),)
    assert (seat(core).state, seat(core).link) == (State.IN_TASK, LinkState.ABSENT)


def test_socket_dies_when_as_many_sweeps_as_make_the_limit_heard_nothing() -> None:
    """A sweep is a third of the limit: noticed between one limit and a third more (S6)."""
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Ponged("page", "1"))
    core.receive(frame("page", "heartbeat", "1"))
    for _ in range(SWEEPS):  # the first takes away the flag that the heartbeat set
        assert seat(core).state == State.IN_TASK
        core.receive(SWEEP)
    assert core.receive(SWEEP) == (
        Count("disconnected"),
        send("page", "update_status", "1", {"status": "disconnect"}),
        Close("page", 4008, "no heartbeat"),
        SetTimer(("sweep", ""), 5.0),
    )
    assert (seat(core).state, seat(core).link, seat(core).connection) == (
        State.DISCONNECTED,
        LinkState.DEAD,
        None,
    )
    assert core.receive(frame("page", "heartbeat", "1"))[0] == Count("refused", "replaced")
    assert core.receive(Closed("page")) == ()
    assert reported(core) == {"1": "disconnect"}


def test_socket_lives_when_a_heartbeat_comes_in_every_limit() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    for _ in range(10):
        for _ in range(SWEEPS):
            core.receive(SWEEP)
        core.receive(frame("page", "heartbeat", "1"))
    assert seat(core).state == State.IN_TASK


def test_refused_packet_is_no_sign_of_life_when_the_socket_is_silent_otherwise() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    for _ in range(SWEEPS + 1):
        core.receive(frame("page", "hello", "1"))
        core.receive(SWEEP)
    assert seat(core).state == State.DISCONNECTED


def test_finished_page_is_only_closed_when_it_falls_silent() -> None:
    core = router()
    seated(core, "1", "completed")
    page(core, "1")
    for _ in range(SWEEPS):
        core.receive(SWEEP)
    assert Close("page", 4008, "no heartbeat") in core.receive(SWEEP)
    assert (seat(core).state, seat(core).outcome) == (State.COMPLETED, "completed")


def test_silent_agent_is_closed_when_its_end_is_forgotten_at_once() -> None:
    core = router(finished_agents=0)
    seated(core, "1", "in task")
    page(core, "1")
    for _ in range(SWEEPS):
        core.receive(SWEEP)
    assert [e for e in core.receive(SWEEP) if isinstance(e, Close)] == [
        Close("page", 4004, "the end of this agent is forgotten"),
        Close("page", 4008, "no heartbeat"),
    ]
    assert core.agent("1") is None


def test_nameless_socket_is_closed_once_when_it_names_nobody_for_too_long() -> None:
    core = router()
    connect(core, "p")
    for _ in range(SWEEPS - 1):
        assert core.receive(SWEEP) == (SetTimer(("sweep", ""), 5.0),)
    assert core.receive(SWEEP) == (
        Close("p", 4008, "no packet named an agent"),
        SetTimer(("sweep", ""), 5.0),
    )
    before = core.key()
    assert core.receive(SWEEP) == (SetTimer(("sweep", ""), 5.0),)
    assert core.key() == before


def test_sweep_asks_for_proof_of_what_was_sent_when_the_transport_has_pings() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    (ping, again) = core.receive(SWEEP)
    assert isinstance(ping, Ping)
    assert again == SetTimer(("sweep", ""), 5.0)
    assert core.receive(Ponged("page", ping.token)) == ()
    assert len(seat(core).mailbox) == 0


# Memory of the finished (S8, S10) ----------------------------------------------------------


def test_finished_agent_learns_how_it_ended_when_it_comes_back_after_the_core_forgot() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(status("1", "timeout"))
    core.receive(Closed("core"))
    core.receive(Closed("page"))
    core.receive(timer("grace", "1"))
    assert sent(page(core, "1", "again"), "again") == [
        ("update_status", "1", {"status": "timeout"})
    ]


def test_finished_agent_is_forgotten_when_a_whole_period_has_passed() -> None:
    core = router()
    seated(core, "1", "completed")
    assert core.receive(timer("retire")) == (SetTimer(("retire", ""), 3_600.0),)
    assert core.agent("1") is not None
    core.receive(timer("retire"))
    assert core.agent("1") is None


def test_finished_agent_stays_when_its_socket_is_open_at_the_end_of_the_period() -> None:
    core = router()
    seated(core, "1", "completed")
    page(core, "1")
    for _ in range(5):
        core.receive(timer("retire"))
    assert core.agent("1") is not None
    core.receive(Closed("page"))
    core.receive(timer("retire"))
    core.receive(timer("retire"))
    assert core.agent("1") is None


def test_oldest_end_goes_with_its_socket_when_too_many_have_ended() -> None:
    core = router(finished_agents=1)
    seated(core, "1", "completed")
    page(core, "1")
    effects = core.receive(frame("core", "update_status", "2", {"status": "completed"}))
    assert Close("page", 4004, "the end of this agent is forgotten") in effects
    assert core.agent("1") is None
    assert core.agent("2") is not None
    assert core.receive(frame("page", "heartbeat", "1"))[0] == Count("refused", "replaced")
    assert core.receive(Closed("page")) == ()


# copy() and key() ----------------------------------------------------------


def busy_router() -> RouterCore:
    """A bit of everything."""
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(details("o1", "1"))
    page(core, "onboarding_1", "p1")
    core.receive(status("1", "waiting"))
    core.receive(frame("p1", "mephisto_bound_live_update", "1", {"update_id": "u1"}))
    core.receive(update("1", "n1"))
    seated(core, "2", "in task", who="b-w")
    core.receive(metadata("m1", "2"))
    core.receive(submission("s1", "2"))
    core.receive(submission("s2", "99"))
    core.receive(registration("r9", "c-w"))
    connect(core, "unbound")
    return core


def test_copy_behaves_like_deepcopy_when_the_router_is_busy() -> None:
    core = busy_router()
    other, deep = core.copy(), copy.deepcopy(core)
    assert core.key() == other.key() == deep.key()
    for event in (
        POLL,
        status("1", "in task"),
        status("99", "in task"),
        Ponged("core", "3"),
        details("r9", "3"),
        Closed("p1"),
        SWEEP,
        timer("grace", "1"),
        status("2", "completed"),
        Closed("core"),
        timer("retire"),
    ):
        before = core.key()
        assert other.receive(event) == deep.receive(event)
        assert other.key() == deep.key()
        assert core.key() == before
    hash(core.key())


def test_key_is_the_same_when_only_names_and_times_differ() -> None:
    def story(core: RouterCore, post_id: str, agent_id: str, name: str, at: float) -> RouterCore:
        core.receive(registration(post_id, f"{agent_id} of {name}"))
        core.receive(details(post_id, agent_id))
        page(core, agent_id, name)
        core.receive(registration(post_id + "x", "other" + name))
        core.receive(Frame(name, f'{{"packet_type":"heartbeat","subject_id":"{agent_id}"}}', at))
        return core

    one = story(router(), "r1", "1", "p1", 10.0)
    two = story(router(), "q7", "55", "socket", 99.0)
    assert one.key() == two.key()
    two.receive(status("55", "waiting"))
    assert one.key() != two.key()


def test_system_token_is_asked_of_the_core_when_it_is_set() -> None:
    """docs/protocol.md section 4: no page may become the core."""
    core = RouterCore(RouterOptions(system_token="secret"))
    core.receive(Opened("thief", Principal(loopback=True, token="guess"), AT, True))
    effects = core.receive(frame("thief", "alive", "mephisto"))
    assert effects[0] == Count("refused", "not-authenticated")
    assert effects[2] == Close("thief", 4003, "this connection may not speak as the core")
    core.receive(Opened("core", Principal(origin="https://x", token="secret"), AT, True))
    assert core.receive(frame("core", "alive", "mephisto")) == ()
    assert core.state.core == "core"
