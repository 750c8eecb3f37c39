from __future__ import annotations

import pytest
from router_steps import (
    AT,
    POLL,
    alive_core,
    connect,
    details,
    frame,
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
    timer,
    update,
)

from statecore.effects import CancelTimer, Close, Count, Effect, Send
from statecore.events import Closed, Frame, Opened
from statecore.router import RouterCore
from statecore.status import LinkState, State


def live(name: str, agent_id: str = "1", connection: str = "page") -> Frame:
    return frame(connection, "mephisto_bound_live_update", agent_id, {"update_id": name})


def names(effects: tuple[Effect, ...]) -> list[str]:
    """The update ids of what goes to the core."""
    return [d["update_id"] for kind, _, d in sent(effects, "core") if "live_update" in kind]


def refusals(effects: tuple[Effect, ...]) -> list[str]:
    return [e.label for e in effects if isinstance(e, Count) and e.name == "refused"]


def working(*, pings: bool = True) -> RouterCore:
    core = router()
    seated(core, "1", "in task")
    page(core, "1", pings=pings)
    return core


# alive and binding (docs/protocol.md section 5) --------------------------------------------------------


def test_page_gets_the_current_status_when_it_says_alive() -> None:
    """docs/protocol.md section 5: push the current status on every alive."""
    core = router()
    seated(core, "1", "in task")
    assert page(core, "1") == (send("page", "update_status", "1", {"status": "in task"}),)
    assert (seat(core).link, seat(core).connection) == (LinkState.UP, "page")


def test_page_gets_the_status_and_nothing_again_when_it_says_alive_once_more() -> None:
    """S3: twice only after a reconnect."""
    core = working()
    core.receive(update("1", "n1"))
    effects = core.receive(frame("page", "alive", "1"))
    assert effects == (send("page", "update_status", "1", {"status": "in task"}),)


def test_socket_waits_for_a_name_when_alive_has_no_subject() -> None:
    """docs/protocol.md section 5: about one alive in 70 has no subject_id."""
    core = router()
    seated(core, "1", "in task")
    connect(core, "page")
    before = core.key()
    assert core.receive(frame("page", "alive", "")) == (Count("alive-without-subject"),)
    assert core.key() == before
    assert core.receive(frame("page", "heartbeat", "1")) == (
        send("page", "update_status", "1", {"status": "in task"}),
        send("page", "heartbeat", "1", {"last_mephisto_ping": 200_000, "status": "in task"}, AT),
    )
    assert seat(core).connection == "page"


@pytest.mark.parametrize(
    "first",
    [live("u1"), frame("page", "log_error", "1", {"error_type": "x", "text": "y"})],
    ids=["live update", "log_error"],
)
def test_socket_is_bound_when_any_packet_names_an_agent(first: Frame) -> None:
    core = router()
    seated(core, "1", "in task")
    connect(core, "page")
    effects = core.receive(first)
    assert effects[0] == send("page", "update_status", "1", {"status": "in task"})
    assert len(sent(effects, "core")) == 1
    assert seat(core).connection == "page"


def test_bound_socket_keeps_its_agent_when_a_later_alive_has_no_subject() -> None:
    core = working()
    assert core.receive(frame("page", "alive", "")) == (
        send("page", "update_status", "1", {"status": "in task"}),
    )


def test_refused_packet_binds_no_socket_when_it_is_the_first() -> None:
    core = router()
    seated(core, "1", "completed")
    connect(core, "page")
    before = core.key()
    assert refusals(core.receive(live("u1"))) == ["illegal-in-state"]
    assert core.key() == before
    assert seat(core).connection is None


# Heartbeats (docs/protocol.md section 5) ----------------------------------------------------------


def test_heartbeat_tells_when_the_first_connection_came_while_no_core_did() -> None:
    """docs/protocol.md section 5: start it at "now", in milliseconds."""
    core = router(core=False)
    core.receive(Opened("first", at=100.0))
    connect(core, "page")
    core.receive(frame("page", "alive", "1"))
    assert core.receive(frame("page", "heartbeat", "1")) == (
        send("page", "heartbeat", "1", {"last_mephisto_ping": 100_000, "status": "none"}, AT),
    )


def test_heartbeat_names_the_time_of_the_last_poll_when_the_core_asked() -> None:
    core = working()
    core.receive(Frame("core", POLL.payload, 345.678))
    ((kind, _, data),) = sent(core.receive(frame("page", "heartbeat", "1")), "page")
    assert (kind, data) == ("heartbeat", {"last_mephisto_ping": 345_678, "status": "in task"})


def test_heartbeat_comes_back_with_the_times_that_it_had() -> None:
    """docs/protocol.md section 4: the answer echoes the packet."""
    core = working()
    payload = '{"packet_type":"heartbeat","subject_id":"1","client_timestamp":12.5}'
    (answer,) = core.receive(Frame("page", payload, 201.0))
    assert isinstance(answer, Send)
    assert answer.packet.client_timestamp == 12.5
    assert answer.packet.router_incoming_timestamp == 201.0


# Identity (S7) ----------------------------------------------------------


def test_page_cannot_be_the_core_when_it_speaks_for_an_agent() -> None:
    """docs/protocol.md section 4: any client whose alive said "mephisto" became the core."""
    core = working()
    before = core.key()
    effects = core.receive(frame("page", "alive", "mephisto"))
    assert refusals(effects) == ["not-authenticated"]
    assert effects[-1] == Close("page", 4003, "this connection may not speak as the core")
    assert core.key() == before
    assert core.state.core == "core"


def test_browser_cannot_be_the_core_when_it_sends_an_origin() -> None:
    core = router(core=False)
    connect(core, "page")
    before = core.key()
    assert refusals(core.receive(frame("page", "alive", "mephisto"))) == ["not-authenticated"]
    assert core.key() == before


@pytest.mark.parametrize(
    "packet_type",
    [
        "register_agent",
        "agent_details",
        "submit_onboarding",
        "submit_unit",
        "submit_metadata",
        "client_bound_live_update",
        "update_status",
        "request_statuses",
        "return_statuses",
    ],
)
def test_page_is_refused_when_only_others_may_send_the_packet(packet_type: str) -> None:
    """docs/protocol.md section 4: any client could set another agent's status."""
    core = working()
    before = core.key()
    assert refusals(core.receive(frame("page", packet_type, "1", {}))) == ["not-allowed"]
    assert core.key() == before


def test_page_is_refused_when_it_speaks_for_another_agent() -> None:
    core = working()
    seated(core, "2", "in task", who="b-w")
    before = core.key()
    for packet_type in ("heartbeat", "alive", "mephisto_bound_live_update", "log_error"):
        assert refusals(core.receive(frame("page", packet_type, "2"))) == ["not-yours"]
    assert core.key() == before


def test_page_is_refused_when_it_names_no_agent_after_binding() -> None:
    core = working()
    before = core.key()
    assert refusals(core.receive(frame("page", "heartbeat", ""))) == ["missing-field"]
    assert core.key() == before


@pytest.mark.parametrize(
    ("subject", "error_type"),
    [("", "missing-field"), ("mephisto", "bad-field"), ("x" * 257, "bad-field")],
)
def test_nameless_socket_is_refused_when_its_packet_names_no_agent(
    subject: str, error_type: str
) -> None:
    core = router()
    connect(core, "page")
    before = core.key()
    assert refusals(core.receive(frame("page", "heartbeat", subject))) == [error_type]
    assert core.key() == before


# Live updates by state (section 4 of the design) -------------------------------------------------------


@pytest.mark.parametrize(("agent_id", "pushed"), [("onboarding_1", "onboarding"), ("1", "in task")])
def test_live_update_is_forwarded_as_it_came_when_the_agent_works(
    agent_id: str, pushed: str
) -> None:
    """docs/protocol.md section 5: remote procedure pages send them during onboarding too."""
    core = router()
    seated(core, agent_id, pushed)
    page(core, agent_id)
    raw = '{"packet_type":"mephisto_bound_live_update","subject_id":"%s","data":{"a" : "\\ud83d"}}'
    (forwarded,) = core.receive(Frame("page", raw % agent_id, AT))
    assert isinstance(forwarded, Send)
    assert forwarded.connection == "core"
    assert bytes(forwarded.packet.data) == b'{"a" : "\\ud83d"}'


@pytest.mark.parametrize("pushed", [None, "waiting", "accepted"])
def test_live_update_is_held_and_then_forwarded_in_order_when_the_task_starts(
    pushed: str | None,
) -> None:
    core = router()
    seated(core, "1", pushed)
    page(core, "1")
    assert core.receive(live("u1")) == ()
    assert core.receive(live("u2")) == ()
    assert seat(core).state == State.WAITING
    core.receive(POLL)
    assert names(core.receive(status("1", "in task"))) == ["u1", "u2"]
    assert seat(core).held == []
    assert core.state.held_bytes == 0
    assert names(core.receive(live("u3"))) == ["u3"]


def test_live_update_is_held_when_the_next_status_says_waiting_again() -> None:
    core = router()
    seated(core, "1", "waiting")
    page(core, "1")
    core.receive(live("u1"))
    assert names(core.receive(status("1", "waiting"))) == []
    assert names(core.receive(status("1", "in task"))) == ["u1"]


def test_live_update_is_refused_with_the_state_when_two_polls_did_not_start_the_task() -> None:
    core = router(held_polls=2)
    seated(core, "1", "waiting")
    page(core, "1")
    core.receive(live("u1"))
    assert refusals(core.receive(POLL)) == []
    core.receive(live("u2"))
    assert refusals(core.receive(POLL)) == []
    effects = core.receive(POLL)
    assert refusals(effects) == ["illegal-in-state"]
    ((_, _, told),) = sent(effects, "page")
    assert "waiting" in told["text"]
    assert "status_in_task" in told["expected"]
    assert [bytes(held.packet.data) for held in seat(core).held] == [b'{"update_id":"u2"}']
    assert refusals(core.receive(POLL)) == ["illegal-in-state"]
    assert names(core.receive(status("1", "in task"))) == []


def test_held_live_update_is_only_counted_when_its_page_has_gone() -> None:
    core = router(held_polls=0)
    seated(core, "1", "waiting")
    page(core, "1")
    core.receive(live("u1"))
    core.receive(Closed("page"))
    effects = core.receive(POLL)
    assert refusals(effects) == ["illegal-in-state"]
    assert sent(effects, "page") == []


def test_held_live_update_is_refused_when_the_agent_ends_instead() -> None:
    core = router()
    seated(core, "1", "waiting")
    page(core, "1")
    core.receive(live("u1"))
    effects = core.receive(status("1", "expired"))
    assert refusals(effects) == ["illegal-in-state"]
    assert names(effects) == []
    assert core.state.held_bytes == 0


@pytest.mark.parametrize("pushed", ["completed", "partner disconnect", "timeout", "disconnect"])
def test_live_update_is_refused_with_what_is_legal_when_the_agent_has_ended(pushed: str) -> None:
    core = router()
    seated(core, "1", pushed)
    page(core, "1")
    before = core.key()
    effects = core.receive(live("u1"))
    assert refusals(effects) == ["illegal-in-state"]
    ((_, _, told),) = sent(effects, "page")
    assert "submit_unit" in told["expected"]
    assert core.key() == before


def test_live_update_is_refused_when_too_many_are_held() -> None:
    core = router(held_updates=2)
    seated(core, "1", "waiting")
    page(core, "1")
    core.receive(live("u1"))
    core.receive(live("u2"))
    before = core.key()
    assert refusals(core.receive(live("u3"))) == ["too-early"]
    assert core.key() == before


def test_live_update_is_refused_when_it_is_larger_than_the_core_takes() -> None:
    """docs/protocol.md section 3: above 1 MiB the core closes its connection."""
    core = working()
    before = core.key()
    big = frame("page", "mephisto_bound_live_update", "1", {"a": "x" * (1 << 20)})
    assert refusals(core.receive(big)) == ["too-large"]
    assert core.key() == before


def test_live_update_is_refused_when_too_much_waits_for_the_core() -> None:
    core = router(outbox_bytes=50_000)
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("core"))
    core.receive(live("u" * 10_000))
    core.receive(live("v" * 10_000))
    before = core.key()
    assert refusals(core.receive(live("w" * 10_000))) == ["outbox-full"]
    assert core.key() == before
    assert names(alive_core(core)) == ["u" * 10_000, "v" * 10_000]


def test_held_live_updates_count_against_the_room_for_the_core() -> None:
    """S8: what is held can always be forwarded, and half of the room is for work."""
    core = router(outbox_bytes=50_000)
    seated(core, "1", "waiting")
    page(core, "1")
    core.receive(live("u" * 10_000))
    core.receive(live("v" * 10_000))
    assert refusals(core.receive(live("w" * 10_000))) == ["outbox-full"]
    assert names(core.receive(status("1", "in task"))) == ["u" * 10_000, "v" * 10_000]


def test_live_update_goes_under_the_new_id_when_the_page_still_uses_its_onboarding_id() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    page(core, "onboarding_1")
    core.receive(onboarding("o1"))
    core.receive(details("o1", "1"))
    core.receive(live("u1", "onboarding_1"))
    assert sent(core.receive(status("1", "in task")), "core") == [
        ("mephisto_bound_live_update", "1", {"update_id": "u1"})
    ]
    assert sent(core.receive(live("u2", "onboarding_1")), "core") == [
        ("mephisto_bound_live_update", "1", {"update_id": "u2"})
    ]


# log_error (docs/protocol.md section 1) ----------------------------------------------------------


def test_error_log_is_forwarded_when_a_page_reports_one() -> None:
    core = working()
    error = {"error_type": "crash", "text": "oops"}
    assert core.receive(frame("page", "log_error", "1", error)) == (
        send("core", "log_error", "1", error, AT),
    )


def test_error_log_is_refused_when_it_is_so_large_that_the_core_would_stand_still() -> None:
    """docs/protocol.md section 3: a very large log_error blocks the core for seconds."""
    core = working()
    before = core.key()
    effects = core.receive(frame("page", "log_error", "1", {"text": "x" * (64 << 10)}))
    assert refusals(effects) == ["too-large"]
    assert core.key() == before


# Agents that only a page has named (a restart) ---------------------------------------------------------


def test_unknown_agent_is_reported_as_none_and_lives_on_when_the_core_pushes_its_status() -> None:
    """docs/protocol.md section 3: "none" after a router restart heals within a poll."""
    core = router()
    assert page(core, "5") == (send("page", "update_status", "5", {"status": "none"}),)
    assert core.receive(live("u1", "5")) == ()
    assert seat(core, "5").state == State.CONNECTING
    assert reported(core) == {"5": "none"}
    effects = core.receive(status("5", "in task"))
    assert names(effects) == ["u1"]
    assert sent(effects, "page") == [("update_status", "5", {"status": "in task"})]
    for _ in range(5):
        assert reported(core) == {"5": "in task"}


def test_unknown_agent_is_refused_and_closed_when_two_reports_of_it_were_left_unanswered() -> None:
    core = router(held_polls=2)
    page(core, "5")
    core.receive(live("u1", "5"))
    for _ in range(2):
        assert reported(core) == {"5": "none"}
    effects = core.receive(POLL)
    assert refusals(effects) == ["illegal-in-state", "unknown-agent"]
    assert Close("page", 4004, "the core knows no such agent") in effects
    assert sent(effects, "core") == [("return_statuses", "mephisto", {})]
    assert core.agent("5") is None
    assert core.state.held_bytes == 0
    assert core.receive(Closed("page")) == ()


def test_unknown_agent_is_only_dropped_when_its_page_has_gone() -> None:
    core = router(held_polls=0)
    page(core, "5")
    core.receive(Closed("page"))
    effects = core.receive(POLL)
    assert CancelTimer(("grace", "5")) in effects
    assert core.agent("5") is None


def test_unknown_agent_waits_as_long_as_it_takes_when_the_core_is_away() -> None:
    core = router(core=False)
    page(core, "5")
    core.receive(live("u1", "5"))
    alive_core(core)
    assert reported(core) == {"5": "none"}
    assert names(core.receive(status("5", "in task"))) == ["u1"]


def test_unknown_agent_is_disconnected_when_its_socket_is_lost_and_the_core_names_it() -> None:
    """S6 after a restart: the core knows the agent, and is told once it has said so."""
    core = router()
    page(core, "5")
    core.receive(Closed("page"))
    core.receive(timer("grace", "5"))
    assert reported(core) == {"5": "none"}
    core.receive(status("5", "in task"))
    assert reported(core) == {"5": "disconnect"}


@pytest.mark.parametrize("late", [False, True], ids=["grace running", "grace over"])
def test_worker_starts_afresh_when_somebody_named_the_agent_before_it_was_given(late: bool) -> None:
    """S5, S7: agent ids are easy to guess, and naming one must not end its life."""
    core = router()
    page(core, "2")
    core.receive(Closed("page"))
    if late:
        core.receive(timer("grace", "2"))
    core.receive(registration("r1"))
    assert (CancelTimer(("grace", "2")) in core.receive(details("r1", "2"))) is not late
    core.receive(status("2", "in task"))
    core.receive(timer("grace", "2"))
    assert (seat(core, "2").state, seat(core, "2").link) == (State.IN_TASK, LinkState.ABSENT)


def test_unknown_agents_are_refused_when_too_many_are_kept() -> None:
    """S8: a stranger who invents names fills nothing."""
    core = router(unknown_agents=1)
    page(core, "5")
    connect(core, "other")
    before = core.key()
    assert refusals(core.receive(frame("other", "alive", "6"))) == ["unknown-agent"]
    assert core.key() == before
    core.receive(status("5", "in task"))
    assert refusals(core.receive(frame("other", "alive", "6"))) == []


def test_registration_makes_an_unknown_agent_known_when_the_page_reloads_after_a_restart() -> None:
    core = router()
    page(core, "1")
    core.receive(registration("r1"))
    core.receive(details("r1", "1"))
    assert (seat(core).state, seat(core).registration) == (State.WAITING, "a-w")
    for _ in range(4):
        core.receive(POLL)
    assert core.agent("1") is not None
