from __future__ import annotations

import msgspec
import pytest
from router_steps import (
    AT,
    POLL,
    alive_core,
    details,
    frame,
    json_of,
    metadata,
    onboarding,
    packet,
    page,
    post,
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
)

from statecore.effects import CancelTimer, Count, Effect, Reply, Save, SetTimer
from statecore.envelope import Envelope, encode_data, encode_envelope
from statecore.events import Closed, Ponged, Request, Route
from statecore.status import State

DONE = encode_data({"status": "submitted"})


def kinds(effects: tuple[Effect, ...]) -> list[str]:
    return [kind for kind, _, _ in sent(effects, "core")]


def refusals(effects: tuple[Effect, ...]) -> list[str]:
    return [e.label for e in effects if isinstance(e, Count) and e.name == "refused"]


def reasons(effects: tuple[Effect, ...]) -> list[tuple[str, str]]:
    """The POSTs that are answered without an agent, and what their workers are told."""
    told = []
    for who, code, body in replies(effects):
        assert (code, body["agent_id"], body["worker_id"]) == (200, None, None)
        told.append((who, body["failure_reason"]))
    return told


# Registration (docs/protocol.md sections 1 and 2; S1) ------------------------------------------------------


def test_registration_asks_the_core_when_it_comes() -> None:
    """docs/protocol.md section 1: subject is the request id, data {provider_data, request_id}."""
    core = router()
    provider_data = {"worker_name": "w", "agent_registration_id": "a-w"}
    assert core.receive(registration("r1")) == (
        send(
            "core", "register_agent", "r1", {"provider_data": provider_data, "request_id": "r1"}, AT
        ),
        SetTimer(("request", "r1"), 60.0),
    )


def test_second_registration_joins_the_first_when_that_is_in_flight() -> None:
    """docs/protocol.md section 3: two in flight take two units."""
    core = router()
    core.receive(registration("r1"))
    assert core.receive(registration("r2")) == (SetTimer(("request", "r2"), 60.0),)
    effects = core.receive(details("r1", "1"))
    assert [who for who, _, _ in replies(effects)] == ["r1", "r2"]
    assert CancelTimer(("request", "r2")) in effects


def test_joined_registrations_each_wait_to_their_own_limit() -> None:
    core = router()
    core.receive(registration("r1"))
    core.receive(registration("r2"))
    (count, reply) = core.receive(timer("request", "r1"))
    assert count == Count("request-expired")
    assert isinstance(reply, Reply)
    assert reply.request_id == "r1"
    assert [who for who, _, _ in replies(core.receive(details("r1", "1")))] == ["r2"]
    assert core.receive(timer("request", "r1")) == ()


def test_other_registration_is_asked_for_itself_when_one_is_in_flight() -> None:
    core = router()
    core.receive(registration("r1", "a-w"))
    assert kinds(core.receive(registration("r2", "b-w"))) == ["register_agent"]


def test_registration_is_withdrawn_and_told_so_when_the_core_stayed_away() -> None:
    """docs/protocol.md section 2: any error status leaves the npm page loading for ever."""
    core = router(core=False)
    core.receive(registration("r1"))
    effects = core.receive(timer("request", "r1"))
    ((who, why),) = reasons(effects)
    assert who == "r1"
    assert "not reachable" in why
    assert "not been signed up" in why
    assert sent(alive_core(core), "core") == []
    assert (len(core.state.requests), core.state.outbox.size) == (0, 0)


def test_only_its_own_registration_is_withdrawn_when_others_wait_too() -> None:
    core = router()
    seated(core, "r1", "in task")  # an agent whose id is like a request id
    core.receive(Closed("core"))
    core.receive(metadata("m1", "r1"))
    core.receive(registration("r1", "b-w"))
    core.receive(registration("r2", "c-w"))
    core.receive(timer("request", "r1"))
    assert kinds(alive_core(core)) == ["submit_metadata", "register_agent"]


def test_registration_is_answered_with_the_truth_when_the_core_is_silent() -> None:
    core = router()
    core.receive(registration("r1"))
    effects = core.receive(timer("request", "r1"))
    assert effects[:2] == (SetTimer(("orphan", "r1"), 60.0), Count("request-expired"))
    ((_, why),) = reasons(effects)
    assert "did not answer in time" in why


def test_reload_joins_the_orphan_when_the_core_was_silent() -> None:
    core = router()
    core.receive(registration("r1"))
    core.receive(timer("request", "r1"))
    assert core.receive(registration("r2")) == (
        CancelTimer(("orphan", "r1")),
        SetTimer(("request", "r2"), 60.0),
    )
    assert core.receive(timer("orphan", "r1")) == ()  # it was on its way already
    assert [who for who, _, _ in replies(core.receive(details("r1", "1")))] == ["r2"]
    assert seat(core).state == State.WAITING


def test_orphan_is_answered_to_nobody_when_the_core_answers_late() -> None:
    core = router()
    core.receive(registration("r1"))
    core.receive(timer("request", "r1"))
    assert core.receive(details("r1", "1")) == (CancelTimer(("orphan", "r1")),)
    assert seat(core).state == State.WAITING


def test_core_is_asked_anew_when_the_orphan_was_given_up() -> None:
    core = router()
    core.receive(registration("r1"))
    core.receive(timer("request", "r1"))
    core.receive(timer("orphan", "r1"))
    assert len(core.state.requests) == 0
    assert kinds(core.receive(registration("r2"))) == ["register_agent"]


def test_joined_expired_registration_fails_only_when_nobody_waits_any_more() -> None:
    core = router()
    core.receive(registration("r1"))
    core.receive(registration("r2"))
    core.receive(timer("request", "r1"))
    pending = core.state.requests.find("r1")
    assert pending is not None
    assert pending.newborn.state == State.CONNECTING
    core.receive(timer("request", "r2"))
    assert (pending.newborn.state, pending.newborn.outcome) == (State.FAILED, "no answer in time")


def test_registration_is_told_to_come_back_when_too_many_wait() -> None:
    """S8."""
    core = router(pending_requests=2)
    core.receive(registration("r1", "a-w"))
    core.receive(registration("r2", "a-w"))
    before = core.key()
    for who in ("a-w", "b-w"):
        effects = core.receive(registration("r3", who))
        assert effects[0] == Count("refused", "too-many-requests")
        ((_, why),) = reasons(effects)
        assert "Too many people" in why
    assert core.key() == before


def test_registration_is_told_to_come_back_when_the_outbox_is_full() -> None:
    core = router(core=False, outbox_bytes=100)
    before = core.key()
    assert reasons(core.receive(registration("r1")))
    assert core.key() == before


# Onboarding ----------------------------------------------------------


def test_onboarding_asks_the_core_without_the_agent_in_its_data() -> None:
    """docs/protocol.md section 1: submit_onboarding without USED_AGENT_ID."""
    core = router()
    seated(core, "onboarding_1", "onboarding")
    data = {"onboarding_data": {"answer": 42}, "request_id": "o1"}
    asked = packet("submit_onboarding", "onboarding_1", data, AT)
    assert core.receive(onboarding("o1")) == (
        Save(encode_envelope(asked)),
        send("core", "submit_onboarding", "onboarding_1", data, AT),
        SetTimer(("request", "o1"), 60.0),
    )


def test_second_onboarding_joins_the_first_when_that_is_in_flight() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    assert core.receive(onboarding("o2")) == (SetTimer(("request", "o2"), 60.0),)
    assert [who for who, _, _ in replies(core.receive(details("o1", "1")))] == ["o1", "o2"]


@pytest.mark.parametrize("agent_id", ["1", None])
def test_retried_onboarding_gets_the_same_answer_when_it_was_answered(agent_id: str | None) -> None:
    """docs/protocol.md section 3: a second submit_onboarding gets no agent_details."""
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    ((_, _, first),) = replies(core.receive(details("o1", agent_id, "why")))
    effects = core.receive(onboarding("o2"))
    assert replies(effects) == [("o2", 200, first)]
    assert len(effects) == 1


def test_refused_reload_is_no_answer_to_an_onboarding() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(registration("r2"))
    core.receive(details("r2", None, "not now"))
    assert kinds(core.receive(onboarding("o1"))) == ["submit_onboarding"]


def test_onboarding_is_sent_again_after_a_reconnect_until_the_core_shows_that_it_has_it() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(status("onboarding_1", "onboarding"))
    core.receive(Closed("core"))
    assert kinds(alive_core(core)) == ["submit_onboarding"]
    core.receive(status("onboarding_1", "waiting"))
    core.receive(Closed("core"))
    assert kinds(alive_core(core)) == []
    assert [who for who, _, _ in replies(core.receive(details("o1", "1")))] == ["o1"]


def test_onboarding_stays_one_question_when_the_core_is_away_for_long() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(Closed("core"))
    core.receive(onboarding("o1"))
    ((_, why),) = reasons(core.receive(timer("request", "o1")))
    assert "nothing is lost" in why
    for _ in range(3):
        assert core.receive(timer("orphan", "o1")) == (SetTimer(("orphan", "o1"), 60.0),)
    core.receive(onboarding("o2"))
    assert kinds(alive_core(core)) == ["submit_onboarding"]
    assert [who for who, _, _ in replies(core.receive(details("o1", "1")))] == ["o2"]


def test_onboarding_leaves_the_outbox_when_the_core_never_answers_it() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(timer("request", "o1"))
    core.receive(timer("orphan", "o1"))
    core.receive(POLL)
    core.receive(Ponged("core", str(core.state.outbox.proving)))
    assert (len(core.state.requests), core.state.outbox.size) == (0, 0)


def test_onboarding_of_a_final_agent_is_forwarded_too() -> None:
    """Submissions are never refused by state."""
    core = router()
    seated(core, "onboarding_1", "timeout")
    assert kinds(core.receive(onboarding("o1"))) == ["submit_onboarding"]
    core.receive(timer("request", "o1"))
    core.receive(onboarding("o2"))
    assert [who for who, _, _ in replies(core.receive(details("o1", "1")))] == ["o2"]
    assert seat(core).state == State.DISCONNECTED


def test_onboarding_is_told_to_come_back_and_changes_nothing_when_too_many_wait() -> None:
    core = router(pending_requests=0)
    core.receive(status("onboarding_1", "onboarding"))
    before = core.key()
    assert reasons(core.receive(onboarding("o1")))
    assert core.key() == before


def test_onboarding_is_refused_when_too_many_agents_are_unknown() -> None:
    core = router(unknown_agents=0)
    assert refusals(core.receive(onboarding("o1"))) == ["unknown-agent"]


# Work (S2; docs/protocol.md section 2) ----------------------------------------------------------


def test_submission_completes_the_agent_and_is_forwarded_when_it_works() -> None:
    """docs/protocol.md section 4, worth keeping: status "completed" after a submission."""
    core = router()
    seated(core, "1", "in task")
    unit = packet("submit_unit", "1", {"by": "s1"}, AT)
    assert core.receive(submission("s1")) == (
        Save(encode_envelope(unit)),
        send("core", "submit_unit", "1", {"by": "s1"}, AT),
        Reply("s1", 200, bytes(DONE)),
    )
    assert (seat(core).state, seat(core).outcome) == (State.COMPLETED, "completed")
    assert reported(core) == {"1": "in task"}  # never an inference


def test_second_submission_is_answered_and_not_forwarded_when_the_first_got_its_2xx() -> None:
    core = router()
    seated(core, "1", "in task")
    core.receive(submission("s1"))
    # Its uploads are not kept: no packet names them.
    assert core.receive(submission("s2")) == (Reply("s2", 200, bytes(DONE), kept=False),)


@pytest.mark.parametrize(
    "pushed",
    [None, "onboarding", "waiting", "completed", "partner disconnect", "timeout", "disconnect"],
)
def test_submission_is_forwarded_in_every_state(pushed: str | None) -> None:
    """docs/protocol.md section 3: a submission is stored in any state."""
    core = router()
    core.receive(status("1", pushed or "none"))
    effects = core.receive(submission("s1"))
    assert kinds(effects) == ["submit_unit"]
    assert [(who, code) for who, code, _ in replies(effects)] == [("s1", 200)]
    assert kinds(core.receive(submission("s2"))) == []


def test_submission_of_a_failed_agent_is_forwarded_too() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(details("o1", None))
    assert kinds(core.receive(submission("s1", "onboarding_1"))) == ["submit_unit"]
    assert seat(core, "onboarding_1").state == State.FAILED


def test_agent_whose_partner_left_owes_one_submission() -> None:
    """docs/protocol.md section 3: after "partner disconnect" the core waits for it."""
    core = router()
    seated(core, "1", "partner disconnect")
    assert kinds(core.receive(submission("s1"))) == ["submit_unit"]
    assert kinds(core.receive(submission("s2"))) == []
    assert (seat(core).state, seat(core).outcome) == (State.COMPLETED, "partner disconnect")
    core.receive(status("1", "timeout"))
    assert seat(core).state == State.DISCONNECTED


def test_submission_wins_over_a_disconnect_when_that_was_not_reported_yet() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("page"))
    core.receive(timer("grace", "1"))
    assert kinds(core.receive(submission("s1"))) == ["submit_unit"]
    assert (seat(core).state, seat(core).outcome) == (State.COMPLETED, "completed")
    assert reported(core) == {"1": "in task"}
    core.receive(Closed("core"))
    assert kinds(alive_core(core)) == ["submit_unit"]  # until a status shows that it was handled


def test_submission_is_forwarded_and_the_end_stays_when_the_disconnect_was_reported() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("page"))
    core.receive(timer("grace", "1"))
    assert reported(core) == {"1": "disconnect"}
    assert kinds(core.receive(submission("s1"))) == ["submit_unit"]
    assert (seat(core).state, seat(core).outcome) == (State.DISCONNECTED, "disconnect")
    assert reported(core) == {"1": "disconnect"}
    assert kinds(core.receive(submission("s2"))) == []


def test_submission_takes_no_end_back_when_the_core_pushed_one_after_the_link_died() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("page"))
    core.receive(timer("grace", "1"))
    core.receive(status("1", "timeout"))
    assert kinds(core.receive(submission("s1"))) == ["submit_unit"]
    assert (seat(core).state, seat(core).outcome) == (State.DISCONNECTED, "timeout")


def test_metadata_is_forwarded_each_time_when_it_comes_twice() -> None:
    """docs/protocol.md section 3: submit_metadata twice means stored twice."""
    core = router()
    seated(core, "1", "completed")
    tip = packet("submit_metadata", "1", {"tips": {"header": "h", "text": "m1"}}, AT)
    assert core.receive(metadata("m1")) == (
        Save(encode_envelope(tip)),
        send("core", "submit_metadata", "1", {"tips": {"header": "h", "text": "m1"}}, AT),
        Reply("m1", 200, bytes(DONE)),
    )
    assert kinds(core.receive(metadata("m2"))) == ["submit_metadata"]


def test_work_goes_under_the_new_id_when_the_page_uses_its_onboarding_id() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(details("o1", "1"))
    assert sent(core.receive(submission("s1", "onboarding_1")), "core") == [
        ("submit_unit", "1", {"by": "s1"})
    ]


def test_error_log_is_forwarded_when_a_page_without_an_agent_posts_one() -> None:
    core = router()
    body = {"error_data": {"error_type": "x", "text": "y"}}
    error = packet("log_error", "mephisto", body["error_data"], AT)
    assert core.receive(post("e1", Route.LOG_ERROR, body)) == (
        Save(encode_envelope(error)),
        send("core", "log_error", "mephisto", body["error_data"], AT),
        Reply("e1", 200, bytes(DONE)),
    )


def test_work_waits_in_the_outbox_when_the_core_is_away() -> None:
    core = router()
    seated(core, "1", "in task")
    core.receive(Closed("core"))
    effects = core.receive(submission("s1"))
    assert [type(e) for e in effects] == [Save, Reply]
    assert [code for _, code, _ in replies(effects)] == [200]
    assert kinds(alive_core(core)) == ["submit_unit"]


def test_work_is_503_with_retry_after_when_the_outbox_is_full() -> None:
    """S8, S9: before anything is acknowledged."""
    core = router(outbox_bytes=10_000)
    seated(core, "1", "in task")
    before = core.key()
    big = post("s1", Route.SUBMIT_TASK, {"USED_AGENT_ID": "1", "final_data": "x" * 10_000})
    (count, reply) = core.receive(big)
    assert count == Count("refused", "outbox-full")
    assert isinstance(reply, Reply)
    assert (reply.status_code, reply.retry_after) == (503, 5)
    assert core.key() == before


@pytest.mark.parametrize("route", [Route.SUBMIT_TASK, Route.LOG_ERROR, Route.REQUEST_AGENT])
def test_post_is_413_when_the_core_would_close_its_connection_on_it(route: Route) -> None:
    """docs/protocol.md section 3: at most 1 MiB a message."""
    core = router()
    before = core.key()
    body = {
        "USED_AGENT_ID": "1",
        "final_data": "x" * (1 << 20),
        "error_data": {"text": "x" * (64 << 10)},
        "provider_data": {
            "worker_name": "w",
            "agent_registration_id": "a",
            "more": "x" * (1 << 20),
        },
    }
    (count, reply) = core.receive(post("p1", route, body))
    assert count == Count("refused", "too-large")
    assert isinstance(reply, Reply)
    assert (reply.status_code, reply.retry_after) == (413, None)
    assert json_of(reply.body)["field"] == "data"
    assert core.key() == before


def test_largest_submission_fits_the_core_with_all_its_keys_when_it_is_just_taken() -> None:
    core = router()
    seated(core, "1", "in task")
    low, high = 900_000, 1 << 20
    while high - low > 1:
        middle = (low + high) // 2
        text = "x" * middle
        body = {
            "USED_AGENT_ID": "1",
            "final_data": text,
            "client_timestamp": -1.2345678901234567e-300,
        }
        taken = not refusals(core.copy().receive(post("s1", Route.SUBMIT_TASK, body)))
        low, high = (middle, high) if taken else (low, middle)
    data = msgspec.Raw(msgspec.json.encode("x" * low))
    stamp = -1.2345678901234567e-300
    widest = Envelope("submit_unit", "1", data, stamp, stamp, stamp, stamp)
    assert (1 << 20) - 400 < len(encode_envelope(widest)) <= 1 << 20


# Agents that only a POST has named (a restart) ----------------------------------------------------------


def test_work_of_an_unknown_agent_waits_until_the_core_speaks_of_it() -> None:
    """docs/protocol.md section 3: the core closes its connection on an agent it does not know."""
    core = router()
    assert core.receive(submission("s1", "5")) == (SetTimer(("request", "s1"), 60.0),)
    assert core.receive(metadata("m1", "5")) == (SetTimer(("request", "m1"), 60.0),)
    assert reported(core) == {"5": "none"}
    effects = core.receive(status("5", "in task"))
    assert sent(effects, "core") == [
        ("submit_unit", "5", {"by": "s1"}),
        ("submit_metadata", "5", {"tips": {"header": "h", "text": "m1"}}),
    ]
    assert [(who, code) for who, code, _ in replies(effects)] == [("s1", 200), ("m1", 200)]
    assert CancelTimer(("request", "s1")) in effects
    assert seat(core, "5").state == State.COMPLETED
    assert (core.state.held_bytes, core.state.held_posts) == (0, {})


def test_work_of_an_unknown_agent_is_refused_when_the_core_does_not_know_it_either() -> None:
    core = router(held_polls=2)
    core.receive(submission("s1", "5"))
    for _ in range(2):
        assert replies(core.receive(POLL)) == []
    effects = core.receive(POLL)
    ((who, code, told),) = replies(effects)
    assert (who, code, told["error_type"], told["field"]) == (
        "s1",
        422,
        "unknown-agent",
        "USED_AGENT_ID",
    )
    assert refusals(effects) == ["unknown-agent"]
    assert kinds(effects) == ["return_statuses"]
    assert core.agent("5") is None
    assert (core.state.held_bytes, core.state.held_posts) == (0, {})


def test_work_of_an_unknown_agent_is_taken_at_once_when_the_core_is_away() -> None:
    core = router(core=False)
    effects = core.receive(submission("s1", "5"))
    assert [type(e) for e in effects] == [Save, Reply]
    assert kinds(alive_core(core)) == []
    effects = core.receive(status("5", "in task"))
    assert sent(effects, "core") == [("submit_unit", "5", {"by": "s1"})]
    assert replies(effects) == []


def test_work_of_an_unknown_agent_is_kept_and_acknowledged_when_the_core_stays_silent() -> None:
    core = router()
    core.receive(submission("s1", "5"))
    core.receive(metadata("m1", "5"))
    unit = packet("submit_unit", "5", {"by": "s1"}, AT)
    assert core.receive(timer("request", "s1")) == (
        Count("request-expired"),
        Save(encode_envelope(unit)),
        Reply("s1", 200, bytes(DONE)),
    )
    assert core.receive(timer("request", "s1")) == ()
    effects = core.receive(status("5", "in task"))
    assert kinds(effects) == ["submit_unit", "submit_metadata"]
    assert [who for who, _, _ in replies(effects)] == ["m1"]


def test_unknown_agent_submits_once_when_two_tabs_do_before_the_core_speaks_of_it() -> None:
    core = router()
    core.receive(submission("s1", "5"))
    core.receive(submission("s2", "5"))
    effects = core.receive(status("5", "in task"))
    assert sent(effects, "core") == [("submit_unit", "5", {"by": "s1"})]
    assert [(who, code) for who, code, _ in replies(effects)] == [("s1", 200), ("s2", 200)]
    assert [effect.kept for effect in effects if isinstance(effect, Reply)] == [True, False]


def test_submission_of_an_unknown_agent_wins_over_a_disconnect_when_it_came_first() -> None:
    core = router(core=False)
    page(core, "5")
    core.receive(submission("s1", "5"))
    core.receive(Closed("page"))
    core.receive(timer("grace", "5"))
    alive_core(core)
    assert reported(core) == {"5": "none"}
    assert kinds(core.receive(status("5", "in task"))) == ["submit_unit"]
    assert seat(core, "5").state == State.COMPLETED


def test_second_submission_of_an_unknown_agent_is_only_answered_when_the_first_got_its_2xx() -> (
    None
):
    core = router(core=False)
    core.receive(submission("s1", "5"))
    assert core.receive(submission("s2", "5")) == (Reply("s2", 200, bytes(DONE), kept=False),)


def test_metadata_waits_behind_a_live_update_of_its_agent_when_both_are_held() -> None:
    core = router(held_polls=1)
    page(core, "5")
    core.receive(frame("page", "mephisto_bound_live_update", "5", {"update_id": "u1"}))
    core.receive(metadata("m1", "5"))
    core.receive(frame("core", "client_bound_live_update", "5", {"update_id": "n1"}))
    assert kinds(core.receive(POLL)) == ["return_statuses"]
    effects = core.receive(POLL)
    assert refusals(effects) == ["illegal-in-state"]
    assert kinds(effects)[0] == "submit_metadata"


def test_work_of_an_unknown_agent_is_refused_when_too_much_is_held() -> None:
    core = router(held_updates=1)
    core.receive(submission("s1", "5"))
    before = core.key()
    ((_, code, told),) = replies(core.receive(submission("s2", "5")))
    assert (code, told["error_type"]) == (503, "too-early")
    assert core.key() == before


def test_work_is_refused_when_too_many_agents_are_unknown() -> None:
    core = router(unknown_agents=0)
    before = core.key()
    ((_, code, told),) = replies(core.receive(submission("s1", "5")))
    assert (code, told["error_type"]) == (422, "unknown-agent")
    assert core.key() == before


# task_config.json (docs/protocol.md section 2) ----------------------------------------------------------


def config(used: str | None, expected: str | None) -> Request:
    versions = {"mephisto_task_version": used, "expected": expected}
    return post("c1", Route.TASK_CONFIG, versions)


@pytest.mark.parametrize(("used", "expected"), [("2.0.3", "2.0.3"), ("1.0.0", None), (None, None)])
def test_task_config_reports_nothing_when_the_version_is_right(
    used: str | None, expected: str | None
) -> None:
    assert router().receive(config(used, expected)) == (Reply("c1", 200, b"{}"),)


def test_task_config_reports_to_the_core_when_the_version_is_another() -> None:
    """docs/protocol.md section 2: {error_type: "version-mismatch", text}."""
    text = "the page uses mephisto-task 1.0.0, the task expects 2.0.3: install mephisto-task@2.0.3"
    error = {"error_type": "version-mismatch", "text": text}
    assert router().receive(config("1.0.0", "2.0.3")) == (
        send("core", "log_error", "mephisto", error, AT),
        Reply("c1", 200, b"{}"),
    )


def test_task_config_reports_a_short_text_when_the_version_is_very_long() -> None:
    ((_, _, told),) = sent(router().receive(config("1" * 100_000, "2")), "core")
    assert len(told["text"]) < 300


def test_task_config_is_served_all_the_same_when_the_report_does_not_fit() -> None:
    core = router(core=False, outbox_bytes=10)
    assert core.receive(config("1", "2")) == (
        Count("dropped", "version-mismatch"),
        Reply("c1", 200, b"{}"),
    )


# Bodies ----------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"hello", 400, None),
        (b"[1]", 422, None),
        (b"\xff", 400, None),
        (b'{"final_data":{}}', 422, "USED_AGENT_ID"),
        (b'{"USED_AGENT_ID":7,"final_data":{}}', 422, "USED_AGENT_ID"),
        (b'{"USED_AGENT_ID":"1"}', 422, "final_data"),
        (b'{"USED_AGENT_ID":"1","final_data":' + b"9" * 4_301 + b"}", 422, "data"),
        (b'{"USED_AGENT_ID":"1","final_data":' + b"[" * 501 + b"]" * 501 + b"}", 422, "data"),
    ],
)
def test_post_says_which_field_and_why_when_its_body_is_bad(
    body: bytes, code: int, field: str | None
) -> None:
    core = router()
    seated(core, "1", "in task")
    before = core.key()
    effects = core.receive(Request("s1", Route.SUBMIT_TASK, body, AT))
    ((_, found, told),) = replies(effects)
    assert (found, told["field"]) == (code, field)
    assert set(told) == {"error_type", "text", "field", "expected"}
    assert told["expected"] in told["text"]
    assert refusals(effects) == [told["error_type"]]
    assert core.key() == before


# What the core's connection took with it, and whose room is whose -------------------------------------


def test_everybody_is_told_when_the_first_of_a_lost_question_has_waited_to_its_limit() -> None:
    """S1: a worker who reloads and reloads must not wait on one lost answer for ever."""
    core = router()
    core.receive(registration("r1"))
    core.receive(Closed("core"))
    alive_core(core)
    core.receive(registration("r2"))
    effects = core.receive(timer("request", "r1"))
    assert [who for who, _ in reasons(effects)] == ["r2", "r1"]
    assert CancelTimer(("request", "r2")) in effects
    assert kinds(core.receive(registration("r3"))) == ["register_agent"]


def test_work_is_taken_when_error_logs_have_filled_their_half_of_the_room() -> None:
    """S2, S8: what strangers may send without end does not push out paid work."""
    core = router(core=False, outbox_bytes=20_000)
    codes = [
        replies(core.receive(post(f"e{n}", Route.LOG_ERROR, {"error_data": "x" * 3_000})))[0][1]
        for n in range(5)
    ]
    assert codes == [200, 200, 503, 503, 503]
    assert replies(core.receive(submission("s1", "1")))[0][1] == 200
