from __future__ import annotations

import pytest
from router_steps import (
    AT,
    LOCAL,
    POLL,
    alive_core,
    connect,
    details,
    frame,
    json_of,
    metadata,
    onboarding,
    page,
    registration,
    replies,
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

from statecore.effects import CancelTimer, Close, Count, Effect, Reply, SetTimer
from statecore.events import Closed, Frame, Opened, Ponged, Principal
from statecore.from_core import may_be_core
from statecore.router import RouterCore
from statecore.settings import RouterOptions
from statecore.status import LinkState, State


def refusals(effects: tuple[Effect, ...]) -> list[str]:
    return [e.label for e in effects if isinstance(e, Count) and e.name == "refused"]


def kinds(effects: tuple[Effect, ...], connection: str = "core") -> list[str]:
    return [kind for kind, _, _ in sent(effects, connection)]


def onboarded(core: RouterCore) -> RouterCore:
    """Its page goes through onboarding on a socket: the seat is onboarding_1, then 1."""
    seated(core, "onboarding_1", "onboarding")
    page(core, "onboarding_1")
    core.receive(onboarding("o1"))
    core.receive(details("o1", "1"))
    return core


# Who may be the core (S7) ----------------------------------------------------------


@pytest.mark.parametrize(
    ("principal", "token", "allowed"),
    [
        (Principal(loopback=True), None, True),
        (Principal(), None, False),
        (Principal(loopback=True, origin="http://localhost"), None, False),
        (Principal(loopback=True, forwarded=True), None, False),
        (Principal(token="t"), "t", True),
        (Principal(loopback=True), "t", False),
        (Principal(loopback=True, token="u"), "t", False),
    ],
)
def test_peer_may_be_the_core_when_token_or_origin_say_so(
    principal: Principal, token: str | None, allowed: bool
) -> None:
    """docs/protocol.md section 2: the core sends no Origin."""
    assert may_be_core(principal, RouterOptions(system_token=token)) is allowed


def test_core_is_pointed_at_its_new_connection_when_it_says_alive_there() -> None:
    """docs/protocol.md section 3: after every open it sends alive, and nothing else."""
    core = router()
    core.receive(Opened("new", LOCAL, AT, True))
    assert core.receive(frame("new", "alive", "mephisto")) == (
        Close("core", 4002, "the core has a newer connection"),
    )
    assert refusals(core.receive(POLL)) == ["replaced"]
    assert kinds(core.receive(Frame("new", POLL.payload, AT)), "new") == ["return_statuses"]
    assert core.receive(Closed("core")) == ()
    assert core.state.core == "new"


def test_repeated_alive_sends_nothing_again_when_the_connection_is_the_same() -> None:
    core = router()
    seated(core, "1", "in task")
    core.receive(submission("s1"))
    before = core.key()
    assert core.receive(frame("core", "alive", "mephisto")) == ()
    assert core.key() == before


def test_core_is_refused_when_its_alive_names_something_else() -> None:
    core = router()
    seated(core, "1", "in task")
    before = core.key()
    effects = core.receive(frame("core", "alive", "1"))
    assert refusals(effects) == ["bad-field"]
    assert core.key() == before


@pytest.mark.parametrize(
    "packet_type",
    [
        "register_agent",
        "submit_onboarding",
        "submit_unit",
        "submit_metadata",
        "mephisto_bound_live_update",
        "return_statuses",
        "log_error",
        "heartbeat",
    ],
)
def test_core_is_refused_when_it_sends_what_only_others_may(packet_type: str) -> None:
    core = router()
    before = core.key()
    assert refusals(core.receive(frame("core", packet_type, "1"))) == ["not-allowed"]
    assert core.key() == before


def test_core_is_refused_when_data_is_no_object() -> None:
    core = router()
    before = core.key()
    effects = core.receive(frame("core", "update_status", "1", [1]))
    assert refusals(effects) == ["wrong-type"]
    assert core.key() == before


@pytest.mark.parametrize("value", ["mephisto disconnect", "sleeping", 3, None])
def test_core_is_refused_when_it_pushes_a_status_that_is_none(value: object) -> None:
    core = router()
    before = core.key()
    effects = core.receive(frame("core", "update_status", "1", {"status": value}))
    assert refusals(effects) == ["unknown-status"]
    assert core.key() == before


@pytest.mark.parametrize("subject", ["", "mephisto"])
def test_core_is_refused_when_it_speaks_about_nobody(subject: str) -> None:
    core = router()
    before = core.key()
    assert refusals(core.receive(status(subject, "in task"))) == ["bad-field"]
    assert core.key() == before


# Answers (S1; docs/protocol.md section 2) ----------------------------------------------------------


def test_agent_is_waiting_and_the_post_answered_when_the_core_gives_an_agent() -> None:
    """docs/protocol.md section 2: the answer is the whole agent_details packet."""
    core = router()
    core.receive(registration("r1"))
    answer = details("r1", "1")
    (cancel, reply) = core.receive(answer)
    assert cancel == CancelTimer(("request", "r1"))
    assert isinstance(reply, Reply)
    assert not isinstance(reply.body, bytes)
    assert (reply.request_id, reply.status_code) == ("r1", 200)
    assert reply.body.packet_type == "agent_details"
    assert json_of(reply.body)["agent_id"] == "1"
    assert (seat(core).state, seat(core).registration) == (State.WAITING, "a-w")


def test_agent_is_onboarding_when_the_core_gives_an_onboarding_agent() -> None:
    core = router()
    assert seated(core, "onboarding_1").state == State.ONBOARDING


def test_nobody_has_a_seat_when_the_core_refuses_a_registration() -> None:
    core = router()
    before = core.key()
    core.receive(registration("r1"))
    effects = core.receive(details("r1", None, "No tasks are available"))
    assert replies(effects)[0][2]["failure_reason"] == "No tasks are available"
    assert len(core.state.seats) == 0
    core.state.outbox.sent.clear()  # the registration itself, which no pong has proven yet
    assert core.key() == before


@pytest.mark.parametrize("agent_id", [1, {}, "absent"])
def test_core_is_refused_when_its_answer_would_throw_in_the_page(agent_id: object) -> None:
    """docs/protocol.md section 2: agent_id must be a string or null, and must be there."""
    core = router()
    core.receive(registration("r1"))
    before = core.key()
    told = {"request_id": "r1", "agent_id": agent_id}
    if agent_id == "absent":
        del told["agent_id"]
    effects = core.receive(frame("core", "agent_details", "channel", told))
    assert refusals(effects) == ["wrong-type"]
    assert replies(effects) == []
    assert core.key() == before


def test_core_is_refused_when_nobody_waits_for_its_answer() -> None:
    core = router()
    seated(core, "1")
    before = core.key()
    for answer in (details("r7", "7"), details("seat of 1", "1")):
        effects = core.receive(answer)
        assert refusals(effects) == ["late-answer"]
        assert replies(effects) == []
    assert core.key() == before


def test_agent_fails_when_the_core_refuses_its_onboarding() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    effects = core.receive(details("o1", None, "You did not pass"))
    assert [body["failure_reason"] for _, _, body in replies(effects)] == ["You did not pass"]
    found = seat(core, "onboarding_1")
    assert (found.state, found.outcome) == (State.FAILED, "You did not pass")


@pytest.mark.parametrize("pushed", ["onboarding", "waiting"])
def test_agent_fails_when_a_reload_is_answered_without_an_agent(pushed: str) -> None:
    core = router()
    seated(core, "onboarding_1", pushed)
    core.receive(registration("r2"))
    core.receive(details("r2", None, "not qualified"))
    assert seat(core, "onboarding_1").state == State.FAILED


def test_working_agent_stays_when_a_reload_is_answered_without_an_agent() -> None:
    core = router()
    seated(core, "1", "in task")
    core.receive(registration("r2"))
    core.receive(details("r2", None))
    assert seat(core).state == State.IN_TASK


def test_queue_of_live_updates_is_dropped_when_a_reload_gets_its_answer() -> None:
    """docs/protocol.md section 5: past_live_updates carries what was sent before."""
    core = router()
    seated(core, "1", "in task")
    core.receive(update("1", "n1"))
    core.receive(registration("r2"))
    core.receive(details("r2", "1"))
    core.receive(update("1", "n2"))
    assert sent(page(core, "1"), "page") == [
        ("update_status", "1", {"status": "in task"}),
        ("client_bound_live_update", "1", {"update_id": "n2"}),
    ]


def test_agent_keeps_its_end_when_it_reloads_afterwards() -> None:
    """S4, S10."""
    core = router()
    seated(core, "1", "timeout")
    core.receive(registration("r2"))
    core.receive(details("r2", "1"))
    assert (seat(core).state, seat(core).outcome) == (State.DISCONNECTED, "timeout")
    assert sent(page(core, "1"), "page") == [("update_status", "1", {"status": "timeout"})]


def test_agent_has_one_seat_when_the_push_was_faster_than_the_answer() -> None:
    core = router()
    core.receive(registration("r1"))
    core.receive(status("1", "in task"))
    core.receive(details("r1", "1"))
    assert (seat(core).state, seat(core).registration) == (State.IN_TASK, "a-w")
    assert len(core.state.seats) == 1


def test_agent_begins_a_new_life_when_the_answer_comes_after_its_page_gave_up() -> None:
    core = router()
    core.receive(registration("r1"))
    core.receive(timer("request", "r1"))
    assert replies(core.receive(details("r1", "1"))) == []
    assert seat(core).state == State.WAITING
    core.receive(registration("r2"))
    core.receive(details("r2", "1"))
    core.receive(status("1", "in task"))
    page(core, "1")
    assert kinds(core.receive(frame("page", "mephisto_bound_live_update", "1"))) == [
        "mephisto_bound_live_update"
    ]


# The core drops while POSTs wait (the bad-input table) ---------------------------------------------------


def test_registration_waits_and_is_never_sent_twice_when_the_core_drops_meanwhile() -> None:
    core = router()
    core.receive(registration("r1"))
    assert core.receive(Closed("core")) == ()
    assert alive_core(core) == ()
    (count, reply) = core.receive(timer("request", "r1"))
    assert count == Count("request-expired")
    assert isinstance(reply, Reply)
    assert "if a place was kept" in json_of(reply.body)["failure_reason"]
    assert kinds(core.receive(registration("r2"))) == ["register_agent"]


def test_registration_is_answered_when_the_core_comes_back_with_the_answer() -> None:
    core = router()
    core.receive(registration("r1"))
    core.receive(Closed("core"))
    alive_core(core)
    assert [who for who, _, _ in replies(core.receive(details("r1", "1")))] == ["r1"]
    assert seat(core).state == State.WAITING


def test_registration_is_told_the_truth_when_it_was_sent_and_the_core_is_away_at_its_limit() -> (
    None
):
    """It may have got its place, so nobody may say that it has not."""
    core = router()
    core.receive(registration("r1"))
    core.receive(Closed("core"))
    ((_, code, body),) = replies(core.receive(timer("request", "r1")))
    assert (code, body["agent_id"]) == (200, None)
    assert "if a place was kept" in body["failure_reason"]


def test_unsent_registration_is_sent_when_the_core_comes_back() -> None:
    core = router(core=False)
    core.receive(registration("r1"))
    assert kinds(alive_core(core)) == ["register_agent"]
    core.receive(Closed("core"))
    assert kinds(alive_core(core)) == []


def test_orphan_is_given_up_when_the_core_drops() -> None:
    core = router()
    core.receive(registration("r1"))
    core.receive(timer("request", "r1"))
    assert core.receive(Closed("core")) == (CancelTimer(("orphan", "r1")),)
    alive_core(core)
    assert kinds(core.receive(registration("r2"))) == ["register_agent"]


# Onboarding renames the agent (section 4 of the design) ---------------------------------------------------


def test_agent_carries_on_under_the_new_id_when_its_onboarding_is_answered() -> None:
    core = onboarded(router())
    found = seat(core)
    assert (found.state, found.former, found.connection) == (
        State.WAITING,
        ("onboarding_1",),
        "page",
    )
    assert core.agent("onboarding_1") is found
    assert found.registration == "a-w"
    assert reported(core) == {"1": "none"}


def test_status_of_the_old_id_moves_nothing_and_goes_to_the_old_socket_only() -> None:
    core = onboarded(router())
    assert core.receive(status("onboarding_1", "disconnect")) == (
        send("page", "update_status", "onboarding_1", {"status": "disconnect"}, AT),
    )
    assert seat(core).state == State.WAITING
    assert reported(core) == {"1": "none"}


def test_news_of_the_old_id_is_dropped_when_the_page_goes_by_the_new_one() -> None:
    core = onboarded(router())
    core.receive(frame("page", "alive", "1"))
    assert core.receive(status("onboarding_1", "waiting")) == ()
    assert core.receive(update("onboarding_1", "n1")) == ()
    assert kinds(core.receive(status("1", "in task")), "page") == ["update_status"]


def test_socket_of_the_onboarding_gets_the_new_agents_news_when_it_stays_open() -> None:
    """docs/protocol.md section 5: the page takes whatever comes down its socket as its own."""
    core = onboarded(router())
    assert sent(core.receive(status("1", "in task")), "page") == [
        ("update_status", "1", {"status": "in task"})
    ]
    assert sent(core.receive(frame("page", "alive", "onboarding_1")), "page") == [
        ("update_status", "onboarding_1", {"status": "in task"})
    ]


def test_grace_time_goes_on_under_the_new_id_when_the_socket_was_lost() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    page(core, "onboarding_1")
    core.receive(onboarding("o1"))
    core.receive(Closed("page"))
    effects = core.receive(details("o1", "1"))
    assert effects[2:] == (
        CancelTimer(("grace", "onboarding_1")),
        SetTimer(("grace", "1"), 10.0),
    )
    core.receive(timer("grace", "1"))
    assert seat(core).state == State.DISCONNECTED


def test_submission_of_the_new_agent_is_taken_when_one_was_made_in_onboarding() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(submission("s1", "onboarding_1"))
    core.receive(onboarding("o1"))
    core.receive(details("o1", "1"))
    assert sent(core.receive(submission("s2", "1")), "core") == [("submit_unit", "1", {"by": "s2"})]


def test_seat_of_a_faster_push_goes_on_when_the_onboarding_is_answered() -> None:
    core = router()
    seated(core, "onboarding_1", "waiting")
    page(core, "onboarding_1")
    core.receive(frame("page", "mephisto_bound_live_update", "onboarding_1", {"update_id": "u"}))
    core.receive(onboarding("o1"))
    core.receive(status("1", "waiting"))
    effects = core.receive(details("o1", "1"))
    found = seat(core)
    assert (found.state, found.former, found.connection) == (
        State.WAITING,
        ("onboarding_1",),
        "page",
    )
    assert sent(effects, "page") == [("update_status", "onboarding_1", {"status": "waiting"})]
    assert len(core.state.seats) == 1
    assert sent(core.receive(status("1", "in task")), "core") == [
        ("mephisto_bound_live_update", "1", {"update_id": "u"})
    ]


def test_grace_time_goes_on_when_a_faster_push_made_the_seat() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    page(core, "onboarding_1")
    core.receive(onboarding("o1"))
    core.receive(Closed("page"))
    core.receive(status("1", "in task"))
    effects = core.receive(details("o1", "1"))
    assert effects[2:] == (
        CancelTimer(("grace", "onboarding_1")),
        SetTimer(("grace", "1"), 10.0),
    )
    assert seat(core).link == LinkState.LOST
    core.receive(timer("grace", "1"))
    assert seat(core).state == State.DISCONNECTED


def test_reload_finishes_the_onboarding_when_its_answer_was_lost() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(Closed("core"))
    assert kinds(alive_core(core)) == ["submit_onboarding"]
    core.receive(registration("r2"))
    core.receive(details("r2", "1"))
    assert (seat(core).state, seat(core).former) == (State.WAITING, ("onboarding_1",))
    core.receive(Closed("core"))
    assert kinds(alive_core(core)) == []
    ((_, code, body),) = replies(core.receive(timer("request", "o1")))
    assert (code, body["agent_id"]) == (200, None)


def test_answer_of_the_onboarding_changes_nothing_more_when_the_reload_was_faster() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(registration("r2"))
    core.receive(details("r2", "1"))
    core.receive(status("1", "in task"))
    assert [who for who, _, _ in replies(core.receive(details("o1", "1")))] == ["o1"]
    assert (seat(core).state, len(core.state.seats)) == (State.IN_TASK, 1)


def test_unknown_onboarding_gets_its_agent_when_the_router_restarted() -> None:
    core = router()
    core.receive(onboarding("o1", "onboarding_3"))
    for _ in range(3):
        core.receive(POLL)
    assert core.agent("onboarding_3") is None  # upstream's core said nothing about it
    core.receive(details("o1", "3"))
    assert (seat(core, "3").state, seat(core, "3").former) == (State.WAITING, ("onboarding_3",))


# A new core database starts again at "1" (docs/protocol.md section 1) --------------------------------------


def test_old_agent_is_dropped_whole_when_its_id_is_given_to_another_registration() -> None:
    """docs/protocol.md section 1: an old "1" must not speak for a new "1"."""
    core = onboarded(router())
    core.receive(status("1", "in task"))
    core.receive(update("1", "n1"))
    core.receive(metadata("m1"))
    core.receive(submission("s1"))
    core.receive(registration("r2", "b-w"))
    effects = core.receive(details("r2", "1"))
    assert Close("page", 4009, "a new task run has begun") in effects
    found = seat(core)
    assert (found.state, found.registration, found.former, found.submitted, found.outcome) == (
        State.WAITING,
        "b-w",
        (),
        False,
        "",
    )
    assert core.agent("onboarding_1") is None
    assert core.state.seats.of_registration("a-w") is None
    assert len(found.mailbox) == 0
    core.receive(Closed("core"))
    assert sent(alive_core(core), "core") == []
    assert core.receive(Closed("page")) == ()
    assert sent(page(core, "1", "new page"), "new page") == [
        ("update_status", "1", {"status": "none"})
    ]


def test_grace_timer_of_the_old_agent_is_cancelled_when_its_id_is_given_away() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("page"))
    core.receive(registration("r2", "b-w"))
    assert CancelTimer(("grace", "1")) in core.receive(details("r2", "1"))


def test_old_onboarding_is_answered_and_not_joined_when_its_id_is_given_away() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(onboarding("o2"))
    core.receive(registration("r2", "b-w"))
    effects = core.receive(details("r2", "onboarding_1"))
    assert [(who, body["agent_id"]) for who, _, body in replies(effects)] == [
        ("r2", "onboarding_1"),
        ("o1", None),
        ("o2", None),
    ]
    assert CancelTimer(("request", "o1")) in effects
    assert kinds(core.receive(onboarding("o3"))) == ["submit_onboarding"]
    core.receive(Closed("core"))
    assert [data["request_id"] for _, _, data in sent(alive_core(core), "core")] == ["o3"]


def test_orphaned_onboarding_is_given_up_when_its_id_is_given_away() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(timer("request", "o1"))
    core.receive(registration("r2", "b-w"))
    assert CancelTimer(("orphan", "o1")) in core.receive(details("r2", "onboarding_1"))
    assert len(core.state.requests) == 0


def test_registration_begins_a_new_life_when_the_new_run_gives_it_another_id() -> None:
    core = router()
    seated(core, "5", "in task")
    page(core, "5")
    core.receive(registration("r2"))
    core.receive(details("r2", "1"))
    assert seat(core).state == State.WAITING
    for _ in range(2):
        assert reported(core) == {"5": "none", "1": "none"}
    effects = core.receive(frame("core", "request_statuses", "mephisto"))
    assert Close("page", 4004, "the core knows no such agent") in effects
    assert core.agent("5") is None


def test_agent_stays_when_somebody_else_registers_under_its_registration_id() -> None:
    """S7: a backend that tells workers apart gives the other one another agent."""
    core = router()
    seated(core, "5", "in task")
    page(core, "5")
    core.receive(registration("r2"))
    core.receive(details("r2", "6"))
    assert reported(core) == {"5": "none", "6": "none"}
    core.receive(status("5", "in task"))  # the core sees the difference and says what it has
    for _ in range(3):
        core.receive(status("6", "in task"))
        assert reported(core) == {"5": "in task", "6": "in task"}
    assert (seat(core, "5").state, seat(core, "5").connection) == (State.IN_TASK, "page")


def test_registration_begins_a_new_life_when_the_new_run_gives_it_its_old_alias() -> None:
    core = onboarded(router())
    core.receive(registration("r2"))
    core.receive(details("r2", "onboarding_1"))
    found = seat(core, "onboarding_1")
    assert (found.agent_id, found.state, found.former) == ("onboarding_1", State.ONBOARDING, ())
    assert core.agent("1") is None


def test_alias_without_registration_is_given_away_when_another_registers() -> None:
    core = router()
    core.receive(status("onboarding_1", "onboarding"))
    core.receive(onboarding("o1"))
    core.receive(details("o1", "1"))  # nobody here knows its registration
    core.receive(registration("r2", "b-w"))
    core.receive(details("r2", "onboarding_1"))
    assert seat(core, "onboarding_1").registration == "b-w"
    core.receive(onboarding("o2"))
    core.receive(details("o2", "2"))
    core.receive(registration("r3", "c-w"))
    core.receive(details("r3", "1"))  # the first "1" is found again and gets a registration
    core.receive(registration("r4", "d-w"))
    core.receive(details("r4", "1"))
    assert core.agent("onboarding_1") is seat(core, "2")


def test_other_registration_keeps_its_seat_when_two_answers_cross() -> None:
    core = router()
    seated(core, "1", "in task", who="a-w")
    core.receive(registration("ra", "a-w"))
    core.receive(registration("rb", "b-w"))
    core.receive(details("rb", "1"))
    core.receive(details("ra", "2"))
    assert (seat(core, "1").registration, seat(core, "2").registration) == ("b-w", "a-w")
    assert len(core.state.seats) == 2


def test_failed_onboarding_begins_a_new_life_when_the_core_gives_an_agent_after_all() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(details("o1", None, "failed"))
    core.receive(registration("r2"))
    core.receive(details("r2", "1"))
    assert (seat(core).state, seat(core).former) == (State.WAITING, ())
    assert core.agent("onboarding_1") is None


# Statuses (section 4 of the design) ----------------------------------------------------------


def test_status_goes_to_page_and_report_as_it_came_when_the_core_pushes_it() -> None:
    core = router()
    seated(core, "1")
    page(core, "1")
    assert core.receive(status("1", "in task")) == (
        send("page", "update_status", "1", {"status": "in task"}, AT),
    )
    assert (seat(core).state, seat(core).outcome) == (State.IN_TASK, "in task")


@pytest.mark.parametrize("value", ["none", "accepted"])
def test_status_moves_nothing_when_it_is_before_the_task(value: str) -> None:
    core = router()
    seated(core, "1")
    core.receive(status("1", value))
    assert (seat(core).state, seat(core).outcome) == (State.WAITING, "")
    assert reported(core) == {"1": value}


def test_late_status_reaches_the_page_and_moves_nothing_when_the_agent_has_ended() -> None:
    """What the core sends to a page is never refused by state."""
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(submission("s1"))
    assert core.receive(status("1", "in task")) == (
        send("page", "update_status", "1", {"status": "in task"}, AT),
    )
    assert seat(core).state == State.COMPLETED
    assert reported(core) == {"1": "in task"}


def test_agent_of_whom_only_the_core_has_spoken_has_a_seat_when_its_page_comes() -> None:
    """docs/protocol.md section 3: statuses and updates without a socket are normal; keep them."""
    core = router()
    assert core.receive(status("9", "waiting")) == ()
    assert core.receive(update("9", "n1")) == ()
    assert sent(page(core, "9"), "page") == [
        ("update_status", "9", {"status": "waiting"}),
        ("client_bound_live_update", "9", {"update_id": "n1"}),
    ]


def test_last_word_is_the_cores_when_it_times_out_somebody_who_submitted() -> None:
    core = router()
    seated(core, "1", "in task")
    core.receive(submission("s1"))
    core.receive(status("1", "timeout"))
    assert (seat(core).state, seat(core).outcome) == (State.DISCONNECTED, "timeout")


def test_disconnect_is_taken_back_when_the_core_says_completed() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("page"))
    core.receive(timer("grace", "1"))
    core.receive(POLL)
    core.receive(status("1", "completed"))
    assert (seat(core).state, seat(core).link_ended, seat(core).told) == (
        State.COMPLETED,
        False,
        False,
    )


def test_outcome_changes_inside_the_end_when_the_work_is_reviewed() -> None:
    core = router()
    seated(core, "1", "completed")
    core.receive(status("1", "approved"))
    assert (seat(core).state, seat(core).outcome) == (State.COMPLETED, "approved")


def test_outbox_keeps_nothing_of_an_agent_when_its_onboarding_failed() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(metadata("m1", "onboarding_1"))
    core.receive(onboarding("o1"))
    core.receive(details("o1", None, "failed"))
    core.receive(POLL)
    core.receive(Ponged("core", str(core.state.outbox.proving)))
    assert (len(core.state.outbox), core.state.outbox.size) == (0, 0)
    assert core.state.outbox.unhandled == {}


def test_work_of_the_onboarding_is_settled_by_a_pong_when_the_agent_was_renamed() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(metadata("m1", "onboarding_1"))
    core.receive(onboarding("o1"))
    core.receive(details("o1", "1"))
    core.receive(POLL)
    core.receive(Ponged("core", str(core.state.outbox.proving)))
    assert core.state.outbox.size == 0


# Live updates to pages (S3) ----------------------------------------------------------


def test_live_update_goes_down_the_socket_as_it_came_when_the_page_is_there() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    assert core.receive(update("1", "n1")) == (
        send("page", "client_bound_live_update", "1", {"update_id": "n1"}, AT),
    )


def test_oldest_goes_and_is_counted_when_the_mailbox_is_full() -> None:
    """S8: static pages never open a socket."""
    core = router(mailbox_packets=2)
    seated(core, "1")
    assert core.receive(update("1", "n1")) == ()
    assert core.receive(update("1", "n2")) == ()
    assert core.receive(update("1", "n3")) == (Count("dropped", "mailbox-full"),)


def test_names_are_not_confused_when_a_socket_is_called_like_an_agent() -> None:
    core = router()
    seated(core, "1", "in task")
    connect(core, "1")
    assert kinds(core.receive(frame("1", "alive", "1")), "1") == ["update_status"]


def test_doubted_agent_sends_nothing_to_the_core_until_that_confirms_it() -> None:
    """docs/protocol.md section 3: a new run's core closes its connection on an old run's agent."""
    core = router()
    seated(core, "5", "in task")
    page(core, "5")
    core.receive(registration("r2"))
    core.receive(details("r2", "1"))
    update_ = frame("page", "mephisto_bound_live_update", "5", {"update_id": "u1"})
    assert core.receive(update_) == ()
    effects = core.receive(status("5", "in task"))
    assert kinds(effects) == ["mephisto_bound_live_update"]


def test_nothing_of_a_doubted_agent_reaches_the_next_one_of_its_id() -> None:
    core = router(held_polls=0)
    seated(core, "5", "in task")
    core.receive(metadata("m1", "5"))
    core.receive(registration("r2"))
    core.receive(details("r2", "1"))
    core.receive(POLL)
    assert core.agent("5") is None
    core.receive(Closed("core"))
    assert kinds(alive_core(core)) == []
