from __future__ import annotations

import copy
import json

import msgspec
import pytest
from pages import answer, frame, live_page, page, status

from statecore.client import ClientCore
from statecore.client_events import (
    AgentNamed,
    AgentRefused,
    Answered,
    Complained,
    Ended,
    Ending,
    Leave,
    OpenSocket,
    Post,
    PostAccepted,
    PostRefused,
    Register,
    ReportError,
    SendUpdate,
    StateChanged,
    SubmitMetadata,
    SubmitOnboarding,
    SubmitUnit,
    Unanswered,
    UpdateArrived,
    UpdateLost,
)
from statecore.effects import CancelTimer, Close, Count, Send
from statecore.envelope import Envelope
from statecore.errors import LocalProtocolError
from statecore.events import Closed, Frame, Opened, Ponged, Request, Route, TimerFired
from statecore.settings import ClientOptions
from statecore.status import Status

WORKER = {"worker_name": "ann", "agent_registration_id": "a-1"}
STATIC = ClientOptions(live=False)


def refuses(core: ClientCore, event: object, error_type: str) -> None:
    """The action is refused with this error, and nothing has changed."""
    before = copy.deepcopy(core.key())
    with pytest.raises(LocalProtocolError) as caught:
        core.receive(event)  # type: ignore[arg-type]  # some tests hand in what is no event
    assert caught.value.error_type == error_type
    assert core.key() == before


# --- an agent is asked for ---------------------------------------------------------------------


def test_a_page_does_nothing_before_its_worker_does() -> None:
    assert ClientCore().start() == ()


def test_register_posts_the_provider_data_with_the_time_of_the_action() -> None:
    [post] = ClientCore().receive(Register("p", WORKER, at=12.5))
    body = b'{"provider_data":{"worker_name":"ann","agent_registration_id":"a-1"},'
    assert post == Post("p", Route.REQUEST_AGENT, body + b'"client_timestamp":12.5}')


def test_an_agent_moves_to_waiting_and_a_live_page_opens_a_socket() -> None:
    core = ClientCore()
    core.receive(Register("post", WORKER))
    assert core.receive(answer("7", init_task_data={"text": "hi"})) == (
        PostAccepted("post"),
        AgentNamed("7", "w1", {"text": "hi"}, is_onboarding=False),
        StateChanged("waiting", ""),
        OpenSocket(0),
    )
    assert (core.agent_id, core.worker_id, core.state) == ("7", "w1", "waiting")


def test_a_static_page_never_opens_a_socket() -> None:
    core = ClientCore(STATIC)
    core.receive(Register("post", WORKER))
    assert core.receive(answer("7"))[-1] == StateChanged("waiting", "")


@pytest.mark.parametrize(
    ("said", "state", "outcome"),
    [
        ("completed", "completed", "completed"),
        ("expired", "disconnected", "expired"),
        (None, "waiting", ""),
        ("unheard of", "waiting", ""),
    ],
)
def test_a_static_page_that_comes_back_learns_how_its_agent_ended(
    said: str | None, state: str, outcome: str
) -> None:
    core = ClientCore(STATIC)
    core.receive(Register("post", WORKER))
    assert core.receive(answer("7", status=said))[-1] == StateChanged(state, outcome)


def test_an_onboarding_agent_moves_to_onboarding() -> None:
    core = ClientCore()
    core.receive(Register("post", WORKER))
    effects = core.receive(answer("onboarding_3"))
    assert AgentNamed("onboarding_3", "w1", None, is_onboarding=True) in effects
    assert core.state == "onboarding"


@pytest.mark.parametrize(
    ("reason", "shown"), [("maximum reached", "maximum reached"), (None, "the task gave no reason")]
)
def test_no_agent_is_failed_with_the_reason(reason: str | None, shown: str) -> None:
    core = ClientCore()
    core.receive(Register("post", WORKER))
    assert core.receive(answer(None, failure_reason=reason)) == (
        PostAccepted("post"),
        AgentRefused(shown),
        StateChanged("failed", shown),
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"packet_type": "agent_details", "subject_id": "s", "data": {"agent_id": 7}}',
        b"[" * 100_000,
    ],
)
def test_an_answer_that_is_no_agent_details_is_failed_not_a_crash(body: bytes) -> None:
    core = ClientCore()
    core.receive(Register("post", WORKER))
    reason = "/request_agent was answered with something other than agent_details"
    assert core.receive(Answered("post", 200, body)) == (
        PostRefused("post", 200, reason),
        StateChanged("failed", reason),
    )


def test_a_registration_without_an_answer_is_failed_and_says_why() -> None:
    core = ClientCore()
    core.receive(Register("post", WORKER))
    assert core.receive(Unanswered("post", sent=True, reason="the line is dead")) == (
        PostRefused("post", None, "/request_agent: the line is dead"),
        StateChanged("failed", "/request_agent: the line is dead"),
    )
    refuses(core, Register("again", WORKER), "over")


def test_a_registration_is_refused_while_one_is_on_its_way() -> None:
    core = ClientCore()
    core.receive(Register("post", WORKER))
    refuses(core, Register("other", WORKER), "in-flight")


def test_an_answer_that_nobody_waits_for_is_counted() -> None:
    assert ClientCore().receive(Answered("what", 200)) == (Count("stray-answer"),)


@pytest.mark.parametrize(
    "action",
    [
        SendUpdate({}, "u"),
        SubmitOnboarding("p", {}),
        SubmitUnit("p", {}),
        SubmitMetadata("p", {}),
        ReportError("p", {}),
    ],
    ids=lambda action: type(action).__name__,
)
def test_there_is_nothing_to_do_without_an_agent(action: object) -> None:
    refuses(ClientCore(), action, "no-agent")


def test_a_page_serves_no_requests() -> None:
    refuses(ClientCore(), Request("r", Route.LOG_ERROR, b"{}"), "wrong-event")


# --- a reload ----------------------------------------------------------------------------------


def test_past_live_updates_are_shown_once_and_known_from_then_on() -> None:
    past = {"past_live_updates": [{"update_id": "a", "n": 1}, "odd", {"update_id": "b", "n": 2}]}
    core = page(init_task_data=past)
    core.receive(Opened("socket"))
    assert frame(core, "client_bound_live_update", {"update_id": "b", "n": 2}) == (
        Count("repeated-update"),
    )
    core.receive(Register("reload", WORKER))
    past["past_live_updates"].append({"update_id": "c", "n": 3})
    effects = core.receive(answer("7", "reload", init_task_data=past))
    assert [e for e in effects if isinstance(e, UpdateArrived)] == [
        UpdateArrived({"update_id": "c", "n": 3})
    ]
    assert not any(isinstance(effect, OpenSocket) for effect in effects)


def test_past_live_updates_that_are_no_list_are_passed_by() -> None:
    effects = page(init_task_data={"past_live_updates": None}).receive(Register("r", WORKER))
    assert len(effects) == 1


def test_a_reload_of_a_page_that_works_is_refused_without_losing_its_state() -> None:
    core = live_page()
    core.receive(Register("reload", WORKER))
    effects = core.receive(answer(None, "reload", failure_reason="the core is away"))
    assert effects == (PostAccepted("reload"), AgentRefused("the core is away"))
    assert core.state == "in_task"


def test_a_replaced_page_may_be_reloaded_and_takes_over_again() -> None:
    core = live_page()
    core.receive(Closed("socket", 4001))
    assert core.ended is Ending.REPLACED
    core.receive(Register("reload", WORKER))
    assert core.receive(answer("7", "reload"))[-1] == OpenSocket(0)


def test_a_page_that_was_left_cannot_be_reloaded_and_opens_nothing() -> None:
    core = page()
    core.receive(Register("reload", WORKER))
    core.receive(Leave())
    assert not any(isinstance(e, OpenSocket) for e in core.receive(answer("7", "reload")))
    refuses(core, Register("again", WORKER), "over")


# --- onboarding --------------------------------------------------------------------------------


def test_passing_the_onboarding_carries_the_life_on_under_the_new_id() -> None:
    core = live_page("onboarding_3", in_state="onboarding")
    core.receive(SendUpdate({"n": 1}, "u1"))
    [post] = core.receive(SubmitOnboarding("quiz", {"score": 1}, at=2.0))
    assert isinstance(post, Post)
    assert json.loads(post.body) == {
        "provider_data": {"USED_AGENT_ID": "onboarding_3", "onboarding_data": {"score": 1}},
        "client_timestamp": 2.0,
    }
    effects = core.receive(answer("8", "quiz"))
    assert Close("socket", 1000, "a new agent") in effects
    assert UpdateLost("u1") in effects  # it was said to the onboarding, which is over
    assert effects[-3:] == (
        AgentNamed("8", "w1", None, is_onboarding=False),
        StateChanged("waiting", ""),
        OpenSocket(0),
    )
    # A late push for the id that we were is nobody's any more.
    core.receive(Opened("second"))
    assert frame(
        core,
        "update_status",
        {"status": "disconnect"},
        subject_id="onboarding_3",
        connection="second",
    ) == (Count("foreign-status"),)
    assert core.state == "waiting"


def test_failing_the_onboarding_is_failed() -> None:
    core = live_page("onboarding_3", in_state="onboarding")
    core.receive(SubmitOnboarding("quiz", {}))
    core.receive(answer(None, "quiz", failure_reason="wrong answers"))
    assert (core.state, core.outcome) == ("failed", "wrong answers")


def test_an_onboarding_that_could_not_be_handed_in_can_be_tried_again() -> None:
    core = page("onboarding_3", options=STATIC)
    core.receive(SubmitOnboarding("quiz", {}))
    assert core.receive(Answered("quiz", 500, b"oh")) == (
        PostRefused("quiz", 500, "/submit_onboarding: answered 500: oh"),
    )
    assert isinstance(core.receive(SubmitOnboarding("quiz2", {}))[0], Post)


# --- work --------------------------------------------------------------------------------------


def test_a_submission_completes_when_it_got_its_2xx_and_is_not_sent_twice() -> None:
    core = live_page()
    [post] = core.receive(SubmitUnit("unit", {"text": "done"}, at=3.0))
    assert isinstance(post, Post)
    assert json.loads(post.body) == {
        "USED_AGENT_ID": "7",
        "final_data": {"text": "done"},
        "client_timestamp": 3.0,
    }
    assert core.state == "in_task"
    assert core.receive(Answered("unit", 204)) == (
        PostAccepted("unit"),
        StateChanged("completed", "completed"),
    )
    assert core.receive(SubmitUnit("twice", {})) == (PostAccepted("twice"),)


def test_a_partner_who_left_leaves_a_submission_owed() -> None:
    core = live_page()
    assert status(core, "partner disconnect") == (StateChanged("completed", "partner disconnect"),)
    assert isinstance(core.receive(SubmitUnit("unit", {}))[0], Post)
    assert core.receive(Answered("unit", 200)) == (PostAccepted("unit"),)
    assert core.submitted


def test_metadata_and_errors_are_posted_and_move_nothing() -> None:
    core = page(options=STATIC)
    [tips] = core.receive(SubmitMetadata("tips", {"tips": {"text": "t"}}))
    [log] = core.receive(ReportError("log", "broken", at=1.0))
    assert isinstance(tips, Post)
    assert isinstance(log, Post)
    assert (tips.route, json.loads(tips.body)) == (
        "/submit_metadata",
        {"USED_AGENT_ID": "7", "metadata": {"tips": {"text": "t"}}, "client_timestamp": None},
    )
    assert (log.route, json.loads(log.body)) == (
        "/log_error",
        {"USED_AGENT_ID": "7", "error_data": "broken", "client_timestamp": 1.0},
    )
    assert core.receive(Answered("tips", 200)) == (PostAccepted("tips"),)
    assert core.receive(Answered("log", 413)) == (
        PostRefused("log", 413, "/log_error: answered 413: "),
    )
    assert core.state == "waiting"


# --- statuses ----------------------------------------------------------------------------------

_SHOWN = {
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
}


@pytest.mark.parametrize(("wire", "state"), _SHOWN.items())
def test_every_status_moves_a_waiting_page_as_the_table_says(wire: str, state: str) -> None:
    core = live_page(in_state=None)
    status(core, wire)
    assert (core.state, core.outcome) == (state, wire)


@pytest.mark.parametrize("wire", ["none", "accepted"])
def test_none_and_accepted_move_nothing(wire: str) -> None:
    core = live_page()
    assert status(core, wire) == ()
    assert core.state == "in_task"


@pytest.mark.parametrize("wire", [Status.MEPHISTO_DISCONNECT.value, "dozing", 7, None, ["waiting"]])
def test_a_status_that_no_core_pushes_is_counted(wire: object) -> None:
    core = live_page()
    assert frame(core, "update_status", {"status": wire}) == (Count("unknown-status"),)
    assert core.state == "in_task"


def test_final_is_final_but_the_core_has_the_last_word() -> None:
    core = live_page()
    status(core, "completed")
    assert status(core, "in task") == ()
    assert status(core, "approved") == (StateChanged("completed", "approved"),)
    assert status(core, "timeout") == (StateChanged("disconnected", "timeout"),)


# --- live updates down the wire ----------------------------------------------------------------


def test_an_update_is_shown_once() -> None:
    core = live_page()
    data = {"text": "hi", "update_id": "u"}
    assert frame(core, "client_bound_live_update", data) == (UpdateArrived(data),)
    assert frame(core, "client_bound_live_update", data) == (Count("repeated-update"),)


def test_updates_without_an_id_are_all_shown_and_odd_ids_are_ids() -> None:
    core = live_page()
    for data in ({"text": "a"}, {"text": "a"}, {"update_id": None}, {"update_id": [1]}):
        assert frame(core, "client_bound_live_update", data) == (UpdateArrived(data),)
    assert frame(core, "client_bound_live_update", {"update_id": [1]}) == (
        Count("repeated-update"),
    )


def test_only_so_many_update_ids_are_remembered() -> None:
    core = live_page(options=ClientOptions(seen_updates=2))
    for update_id in ("a", "b", "c"):
        frame(core, "client_bound_live_update", {"update_id": update_id})
    assert frame(core, "client_bound_live_update", {"update_id": "c"}) == (
        Count("repeated-update"),
    )
    assert frame(core, "client_bound_live_update", {"update_id": "a"}) == (
        UpdateArrived({"update_id": "a"}),
    )


def test_a_lone_surrogate_and_a_long_number_come_through() -> None:
    core = live_page()
    digits = "9" * 4300
    payload = (
        '{"packet_type": "client_bound_live_update", "subject_id": "7",'
        f' "data": {{"text": "\\ud83d", "n": {digits}}}}}'
    )
    [arrived] = core.receive(Frame("socket", payload))
    assert arrived == UpdateArrived({"text": "\ud83d", "n": int(digits)})


# --- what does no harm -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        ("[1]", "wrong-type"),
        ("hello", "not-json"),
        (b"\x00", "binary-frame"),
        ('{"packet_type": "update_status", "data": ' + "[" * 600 + "]" * 600 + "}", "too-deep"),
        ("{}", "missing-field"),
        (" " * 2_000, "too-large"),
    ],
)
def test_a_frame_that_is_no_packet_is_counted(payload: str | bytes, fault: str) -> None:
    core = live_page(options=ClientOptions(frame_limit=1_900))
    before = core.key()
    assert core.receive(Frame("socket", payload)) == (Count("bad-frame", fault),)
    assert core.key() == before


def test_packets_that_a_page_does_not_know_are_counted() -> None:
    core = live_page()
    assert frame(core, "request_statuses", {}) == (Count("unexpected-packet"),)
    assert frame(core, "client_bound_live_update", []) == (Count("bad-data"),)
    assert frame(core, "update_status", {}, connection="old") == (Count("stale-frame"),)


def test_the_router_s_complaint_is_passed_on() -> None:
    told = {"error_type": "illegal-in-state", "text": "..."}
    assert frame(live_page(), "log_error", told, subject_id="mephisto") == (Complained(told),)


def test_unknown_timers_are_counted() -> None:
    assert live_page().receive(TimerFired(("grace", "7"))) == (Count("stray-timer"),)


# --- the end -----------------------------------------------------------------------------------


def test_leaving_closes_once_and_a_submission_on_its_way_still_counts() -> None:
    core = live_page()
    core.receive(SubmitUnit("unit", {}))
    effects = core.receive(Leave())
    assert effects[0] == Close("socket", 1000, "left")
    assert effects[-2:] == (CancelTimer(("core", "")), Ended(Ending.LEFT))
    assert core.receive(Leave()) == ()
    assert core.receive(Answered("unit", 200))[-1] == StateChanged("completed", "completed")
    refuses(core, SendUpdate({}, "u"), "illegal-in-state")


def test_live_updates_of_an_agent_that_has_ended_are_refused() -> None:
    core = live_page(in_state="completed")
    refuses(core, SendUpdate({}, "u"), "illegal-in-state")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"x": object()}, "not-json"),
        ({"x": "\ud83d"}, "not-json"),
        ({"x": "y" * 2_000}, "too-large"),
    ],
)
def test_an_update_that_the_core_could_not_take_is_refused(
    data: dict[str, object], fault: str
) -> None:
    core = live_page(options=ClientOptions(update_limit=1_000))
    refuses(core, SendUpdate(data, "u"), fault)


def test_a_live_update_carries_its_id_and_the_time_of_the_action() -> None:
    core = live_page()
    assert core.receive(SendUpdate({"text": "hi"}, "u1", at=9.0)) == (
        Send(
            "socket",
            Envelope(
                "mephisto_bound_live_update",
                "7",
                msgspec.Raw(b'{"text":"hi","update_id":"u1"}'),
                client_timestamp=9.0,
            ),
        ),
    )


# --- copies and keys ---------------------------------------------------------------------------


def _busy() -> ClientCore:
    core = live_page()
    core.receive(SendUpdate({"n": 1}, "u1", at=1.0))
    core.receive(SubmitUnit("unit", {"n": 2}, at=2.0))
    frame(core, "client_bound_live_update", {"update_id": "x"})
    return core


def test_a_copy_is_equal_and_independent() -> None:
    core = _busy()
    twin, deep = core.copy(), copy.deepcopy(core)
    assert twin.key() == core.key() == deep.key()
    before = core.key()
    twin.receive(Answered("unit", 200))
    twin.receive(Closed("socket"))
    frame(twin, "client_bound_live_update", {"update_id": "y"}, connection="socket")
    assert core.key() == before
    deep.receive(Answered("unit", 200))
    deep.receive(Closed("socket"))
    assert twin.key() == deep.key()


def test_the_key_holds_no_times_and_no_names() -> None:
    other = page("31", worker_id="w9")
    other.receive(Opened("elsewhere", pings=True))
    other.receive(SubmitUnit("p9", {"n": 2}, at=99.0))
    other.receive(SendUpdate({}, "u0", at=98.0))
    other.receive(TimerFired(("heartbeat", "")))
    other.receive(Ponged("elsewhere", "1"))
    other.receive(SendUpdate({}, "u1", at=99.0))
    other.receive(TimerFired(("heartbeat", "")))
    same = page("7")
    same.receive(Opened("socket", pings=True))
    same.receive(SubmitUnit("unit", {"n": 2}, at=2.0))
    same.receive(TimerFired(("heartbeat", "")))
    same.receive(SendUpdate({}, "u1", at=1.0))
    same.receive(TimerFired(("heartbeat", "")))
    assert hash(other.key()) == hash(same.key())
