"""The backend core: packets and decisions in, effects out, no fakes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from statecore.backend import BackendCore
from statecore.backend_events import (
    AddAssignment,
    AgentEnded,
    BackendEffect,
    BlockWorker,
    CloseRun,
    EndAgent,
    ErrorLogged,
    JudgeOnboarding,
    MetadataArrived,
    OnboardingSubmitted,
    Refused,
    Seated,
    SendUpdate,
    StartAssignment,
    StartUnit,
    Submitted,
    UpdateArrived,
    WorkerRefused,
)
from statecore.effects import CancelTimer, Count, Ping, Send, SetTimer
from statecore.envelope import encode_envelope
from statecore.errors import LocalProtocolError
from statecore.events import Closed, Frame, Opened, Ponged, Request, Route, TimerFired
from statecore.settings import BackendOptions, RouterOptions
from statecore.status import Status
from statecore.worker_pool import SENTENCES, FailureReason

LIVE = BackendOptions(is_live=True)
REGISTRATION = {"agent_registration_id": "r"}
QUIZ = BackendOptions(needs_onboarding=True, onboarding_data=b'{"quiz":1}')


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value, separators=(",", ":")).encode())


class Wire:
    """Talks to one core as a router would, and reads what it says."""

    def __init__(
        self, options: BackendOptions | None = None, *, units: int = 2, seats: int = 1
    ) -> None:
        self.core = BackendCore(options)
        self.requests = 0
        self.effects: list[BackendEffect] = []
        assert self.core.start() == ()
        self.core.receive(Opened("c"))
        for number in range(1, units + 1):
            assert self.core.receive(AddAssignment(f"a{number}", raw({"n": number}), seats)) == ()

    def take(self, event: Any) -> list[Any]:
        before = self.core.copy()
        assert before.key() == self.core.key()
        effects = list(self.core.receive(event))
        if any(isinstance(effect, Refused) for effect in effects) and not any(
            isinstance(effect, Send) for effect in effects
        ):
            assert self.core.key() == before.key(), "a refused input changed something"
        self.effects.extend(effects)
        return effects

    def packet(
        self, packet_type: str, subject: str, data: object = None, connection: str = "c"
    ) -> list[Any]:
        packet = {"packet_type": packet_type, "subject_id": subject, "data": data}
        text = json.dumps(packet, separators=(",", ":"))
        return self.take(Frame(connection, text, 1.0))

    def register(
        self, worker: str, registration: str | None = None, connection: str = "c"
    ) -> list[Any]:
        self.requests += 1
        provider = {
            "worker_name": worker,
            "agent_registration_id": registration or f"r-{worker}",
            "provider_type": "test",
        }
        request_id = f"q{self.requests}"
        data = {"provider_data": provider, "request_id": request_id}
        return self.packet("register_agent", request_id, data, connection)

    def onboard(self, agent_id: str, answers: object, connection: str = "c") -> list[Any]:
        self.requests += 1
        data = {"onboarding_data": answers, "request_id": f"q{self.requests}", "extra": 1}
        return self.packet("submit_onboarding", agent_id, data, connection)

    def state(self, agent_id: str) -> tuple[str, str]:
        agent = self.core.agent(agent_id)
        assert agent is not None
        return agent.state, agent.outcome


def said(effects: list[Any]) -> list[Any]:
    """What goes over the wire, short: (type, subject, data), or the other effects as they are."""
    short: list[Any] = []
    for effect in effects:
        if not isinstance(effect, Send):
            short.append(effect)
        else:
            data = json.loads(bytes(effect.packet.data))
            assert json.loads(encode_envelope(effect.packet)).keys() >= {"packet_type", "data"}
            short.append((str(effect.packet.packet_type), effect.packet.subject_id, data))
    return short


def details(
    request_id: str, agent_id: str | None, worker_id: str | None, data: Any, **more: str
) -> Any:
    return (
        "agent_details",
        "c",
        {
            "request_id": request_id,
            "worker_id": worker_id,
            "agent_id": agent_id,
            "init_task_data": data,
            "failure_reason": None,
            **more,
        },
    )


def refusal(request_id: str, reason: FailureReason) -> Any:
    data = dict.fromkeys(("worker_id", "agent_id", "init_task_data"))
    words = SENTENCES[reason]
    return ("agent_details", "c", {"request_id": request_id, **data, "failure_reason": words})


def status(agent_id: str, value: str) -> Any:
    return ("update_status", agent_id, {"status": value})


# Channels ------------------------------------------------------------------------------------


def test_a_channel_that_opens_is_told_alive_and_polled() -> None:
    core = BackendCore()
    assert said(list(core.receive(Opened("c")))) == [
        ("alive", "mephisto", {}),
        SetTimer(("poll", "c"), 0.3),
    ]
    poll = [("request_statuses", "mephisto", {}), SetTimer(("poll", "c"), 4.0)]
    assert said(list(core.receive(TimerFired(("poll", "c"))))) == poll
    assert core.receive(Closed("c")) == (CancelTimer(("poll", "c")),)
    assert core.receive(Closed("c")) == ()
    assert core.receive(TimerFired(("poll", "c"))) == ()
    assert core.receive(Closed("never opened")) == ()
    assert said(list(core.receive(Opened("c"))))[0] == ("alive", "mephisto", {})
    assert core.receive(Ponged("c", "1")) == ()


def test_what_a_closed_channel_missed_comes_when_it_opens_again() -> None:
    wire = pair()
    wire.take(Closed("c"))
    assert wire.take(SendUpdate("1", raw({"n": 1}), "u1")) == []
    assert wire.take(EndAgent("2", "returned"))[-1].owes_submission
    first, *missed, timer = said(wire.take(Opened("c")))
    assert first == ("alive", "mephisto", {})
    assert missed == [
        ("client_bound_live_update", "1", {"n": 1, "update_id": "u1"}),
        status("2", "returned"),
        status("1", "partner disconnect"),
    ]
    assert timer == SetTimer(("poll", "c"), 0.3)


def test_what_is_not_proven_read_is_sent_again() -> None:
    """A frame may die in a socket's buffer; a registration's answer must not."""
    wire = Wire()
    wire.take(Closed("c"))
    wire.take(Opened("c", pings=True))
    answer, pushed, _ = said(wire.register("ann"))
    assert said(wire.take(TimerFired(("poll", "c")))) == [
        ("request_statuses", "mephisto", {}),
        Ping("c", "2"),
        SetTimer(("poll", "c"), 4.0),
    ]
    wire.take(Closed("c"))
    assert said(wire.take(Opened("c", pings=True)))[1:3] == [answer, pushed]
    wire.take(TimerFired(("poll", "c")))
    assert wire.take(Ponged("c", "2")) == []
    wire.take(Closed("c"))
    assert len(wire.take(Opened("c", pings=True))) == 2  # alive and the poll's timer


def test_updates_for_a_router_that_is_away_are_bounded() -> None:
    wire = Wire(BackendOptions(outbox_bytes=2_000))
    wire.register("ann")
    wire.take(Closed("c"))
    update = raw({"text": "x" * 500})
    taken = 0
    while not isinstance((wire.take(SendUpdate("1", update, f"u{taken}")) or [None])[-1], Refused):
        assert wire.core.has_room("1") is (taken == 0)
        taken += 1
    assert taken == 2
    wire.take(Opened("c"))
    assert wire.core.has_room("1")
    assert wire.core.has_room("nobody")
    assert len(wire.take(SendUpdate("1", update, "u9"))) == 1


def test_each_agent_is_reached_by_the_channel_it_registered_on() -> None:
    wire = Wire()
    wire.take(Opened("d"))
    wire.register("ann")
    wire.register("bob", connection="d")
    hello = raw({"hello": 1})
    (to_ann,) = wire.take(SendUpdate("1", hello, "u1"))
    (to_bob,) = wire.take(SendUpdate("2", hello, "u1"))
    assert (to_ann.connection, to_bob.connection) == ("c", "d")
    again = wire.register("ann", connection="d")
    assert {effect.connection for effect in again} == {"d"}
    (to_ann,) = wire.take(SendUpdate("1", hello, "u2"))
    assert to_ann.connection == "d"


# Registration --------------------------------------------------------------------------------


def test_a_static_unit_starts_right_after_the_answer() -> None:
    wire = Wire()
    assert said(wire.register("ann")) == [
        details("q1", "1", "1", {"n": 1}),
        status("1", "in task"),
        StartUnit("a1", Seated("1", "a1.0", "ann", raw({"n": 1}))),
    ]
    assert wire.state("1") == ("in_task", "in task")
    assert said(wire.register("bob"))[0] == details("q2", "2", "2", {"n": 2})


def test_the_same_registration_gets_the_same_agent_and_its_status() -> None:
    wire = Wire()
    wire.register("ann")
    assert said(wire.register("ann")) == [
        details("q2", "1", "1", {"n": 1}),
        status("1", "in task"),
    ]
    wire.packet("submit_unit", "1", {"x": 1})
    assert said(wire.register("ann")) == [
        details("q3", "1", "1", {"n": 1}, status="completed"),
        status("1", "completed"),
    ]
    # The id alone is no proof: another worker's name is another worker.
    assert said(wire.register("eve", "r-ann"))[0][2]["agent_id"] == "2"


def test_a_worker_never_gets_the_same_assignment_twice() -> None:
    wire = Wire(units=1, seats=2)
    wire.register("ann", "r1")
    assert said(wire.register("ann", "r2")) == [
        refusal("q2", FailureReason.NOTHING_AVAILABLE),
        Count("worker-refused", "nothing-available"),
        WorkerRefused("ann", "nothing-available"),
    ]
    assert said(wire.register("bob"))[0] == details("q3", "2", "2", {"n": 1})


def test_each_copy_may_have_data_of_its_own() -> None:
    wire = Wire(units=0)
    wire.take(AddAssignment("x", raw({}), 2, (raw({"side": "l"}), raw({"side": "r"}))))
    assert said(wire.register("ann"))[0] == details("q1", "1", "1", {"side": "l"})
    assert said(wire.register("bob"))[0] == details("q2", "2", "2", {"side": "r"})


def test_each_failure_has_its_own_sentence() -> None:
    assert len(set(SENTENCES.values())) == len(FailureReason) == len(SENTENCES)

    wire = Wire(BackendOptions(allowed_concurrent=1, max_units_per_worker=2), units=9)
    wire.register("ann", "r1")
    assert refusal("q2", FailureReason.TOO_MANY_AT_ONCE) in said(wire.register("ann", "r2"))
    wire.packet("submit_unit", "1", None)
    wire.register("ann", "r3")
    wire.packet("submit_unit", "2", None)
    assert refusal("q4", FailureReason.MAXIMUM_REACHED) in said(wire.register("ann", "r4"))
    wire.take(BlockWorker("bob"))
    assert refusal("q5", FailureReason.NOT_QUALIFIED) in said(wire.register("bob"))
    wire.take(CloseRun())
    assert refusal("q6", FailureReason.RUN_CLOSED) in said(wire.register("cat"))
    # Who is in stays in.
    assert said(wire.register("ann", "r3"))[0][2]["agent_id"] == "2"


def test_refused_workers_leave_no_trace() -> None:
    wire = Wire(units=0)
    before = wire.core.key()
    for number in range(50):
        wire.register(f"w{number}")
    assert wire.core.key() == before


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"request_id": "q"},
        {"request_id": "q", "provider_data": {"worker_name": "ann"}},
        {"request_id": "q", "provider_data": {"worker_name": "", "agent_registration_id": "r"}},
        {"request_id": "q", "provider_data": {"worker_name": "a" * 1_025, **REGISTRATION}},
        {"request_id": 5, "provider_data": {"worker_name": "a", "agent_registration_id": "r"}},
    ],
)
def test_a_registration_that_cannot_be_read_is_answered_all_the_same(data: object) -> None:
    wire = Wire()
    effects = said(wire.packet("register_agent", "q1", data))
    assert effects[0] == refusal("q1", FailureReason.UNREADABLE)
    assert [type(effect) for effect in effects[1:]] == [Count, WorkerRefused, Count, Refused]


def test_a_request_id_that_fills_an_answer_is_refused() -> None:
    wire = Wire()
    long = "q" * 1_025
    provider = {"worker_name": "ann", **REGISTRATION}
    data = {"request_id": long, "provider_data": provider}
    answered = said(wire.packet("register_agent", "q1", data))
    assert answered[0] == refusal("q1", FailureReason.UNREADABLE)
    count, refused = wire.packet("register_agent", long, data)
    assert (count.name, refused.error_type) == ("refused", "wrong-type")


def test_a_lone_surrogate_in_a_registration_is_taken() -> None:
    wire = Wire()
    text = (
        '{"packet_type":"register_agent","subject_id":"q1","data":{"request_id":"q1","x":"\\ud83d",'
        '"provider_data":{"worker_name":"ann","agent_registration_id":"r"}}}'
    )
    assert said(wire.take(Frame("c", text)))[0] == details("q1", "1", "1", {"n": 1})


# Onboarding ----------------------------------------------------------------------------------


def test_onboarding_passed_goes_on_under_a_new_id() -> None:
    wire = Wire(QUIZ)
    assert said(wire.register("ann")) == [
        details("q1", "onboarding_1", "1", {"quiz": 1}),
        status("onboarding_1", "onboarding"),
    ]
    assert wire.state("onboarding_1") == ("onboarding", "onboarding")
    assert wire.onboard("onboarding_1", {"a": 1}) == [
        OnboardingSubmitted("onboarding_1", "ann", raw({"a": 1}))
    ]
    started = StartUnit("a1", Seated("1", "a1.0", "ann", raw({"n": 1})))
    assert said(wire.take(JudgeOnboarding("onboarding_1", True))) == [
        details("q2", "1", "1", {"n": 1}),
        status("1", "in task"),
        started,
    ]
    assert wire.state("onboarding_1") == wire.state("1") == ("in_task", "in task")
    # A repeat gets the same answer; the next unit needs no onboarding; a judgement counts once.
    assert said(wire.onboard("onboarding_1", {"a": 2})) == [
        details("q3", "1", "1", {"n": 1}),
        status("1", "in task"),
    ]
    assert said(wire.register("ann", "r2"))[0] == details("q4", "2", "1", {"n": 2})
    (_, refused) = wire.take(JudgeOnboarding("onboarding_1", False))
    assert refused.error_type == "nothing-to-judge"


def test_onboarding_failed_is_final_for_this_worker() -> None:
    wire = Wire(QUIZ)
    wire.register("ann")
    wire.onboard("onboarding_1", {"a": 0})
    effects = said(wire.take(JudgeOnboarding("onboarding_1", False)))
    assert effects[0] == refusal("q2", FailureReason.FAILED_ONBOARDING)
    assert effects[-1] == AgentEnded("onboarding_1", "failed-onboarding", has_left=False)
    assert wire.state("onboarding_1") == ("failed", "failed-onboarding")
    again = refusal("q3", FailureReason.FAILED_ONBOARDING)
    assert said(wire.onboard("onboarding_1", {"a": 1}))[0] == again
    assert refusal("q4", FailureReason.FAILED_ONBOARDING) in said(wire.register("ann"))
    assert refusal("q5", FailureReason.FAILED_ONBOARDING) in said(wire.register("ann", "r2"))
    # Reports of one that failed heal nothing: it never got in.
    assert wire.packet("return_statuses", "mephisto", {"onboarding_1": "onboarding"}) == []


def test_all_who_asked_while_it_was_judged_are_answered_once() -> None:
    wire = Wire(QUIZ)
    wire.register("ann")
    wire.onboard("onboarding_1", {"a": 1})
    assert wire.onboard("onboarding_1", {"a": 2}) == []  # judged once
    wire.requests -= 1
    assert wire.onboard("onboarding_1", {"a": 2}) == []  # the router asks again after a reconnect
    answers = said(wire.take(JudgeOnboarding("onboarding_1", True)))
    assert answers[:2] == [details(q, "1", "1", {"n": 1}) for q in ("q2", "q3")]
    assert answers[2] == status("1", "in task")


def test_a_reload_in_the_onboarding_keeps_the_agent() -> None:
    wire = Wire(QUIZ)
    wire.register("ann")
    assert said(wire.register("ann")) == [
        details("q2", "onboarding_1", "1", {"quiz": 1}),
        status("onboarding_1", "onboarding"),
    ]


def test_who_leaves_during_the_onboarding_may_begin_anew() -> None:
    wire = Wire(QUIZ)
    wire.register("ann")
    wire.onboard("onboarding_1", {"a": 1})
    left = said(wire.packet("return_statuses", "mephisto", {"onboarding_1": "disconnect"}))
    assert left == [
        status("onboarding_1", "disconnect"),
        AgentEnded("onboarding_1", "disconnect", has_left=True),
    ]
    answer = said(wire.take(JudgeOnboarding("onboarding_1", True)))
    assert answer[0] == refusal("q2", FailureReason.LEFT)
    assert refusal("q3", FailureReason.LEFT) in said(wire.onboard("onboarding_1", {"a": 1}))
    # It was passed, so the next registration gets a unit at once.
    assert said(wire.register("ann"))[0] == details("q4", "1", "1", {"n": 1})


def test_a_worker_who_left_unjudged_gets_a_new_onboarding() -> None:
    wire = Wire(QUIZ)
    wire.register("ann")
    wire.packet("return_statuses", "mephisto", {"onboarding_1": "disconnect"})
    assert said(wire.register("ann"))[0] == details("q2", "onboarding_2", "1", {"quiz": 1})


def test_a_registration_that_a_router_sends_twice_begins_nothing_anew() -> None:
    """Upstream's router sends each packet again half a second later; anything may lie in between."""
    wire = Wire(QUIZ)

    def again() -> list[Any]:
        wire.requests -= 1
        return said(wire.register("ann"))

    wire.register("ann")
    wire.packet("return_statuses", "mephisto", {"onboarding_1": "disconnect"})
    assert again() == [
        details("q1", "onboarding_1", "1", {"quiz": 1}, status="disconnect"),
        status("onboarding_1", "disconnect"),
    ]
    # A reload is another request, and does begin anew; so does it after a verdict that failed.
    assert said(wire.register("ann"))[0] == details("q2", "onboarding_2", "1", {"quiz": 1})
    wire.onboard("onboarding_2", {})
    wire.take(JudgeOnboarding("onboarding_2", None))
    wire.requests -= 1
    assert again()[0] == refusal("q2", FailureReason.NOT_JUDGED)
    wire.requests += 1
    assert said(wire.register("ann"))[0] == details("q4", "onboarding_3", "1", {"quiz": 1})
    assert wire.core.agent("onboarding_4") is None


def test_a_refusal_that_a_router_asks_for_twice_takes_no_unit() -> None:
    wire = Wire(BackendOptions(seen_refusals=1), units=0)
    wire.register("ann")
    wire.take(AddAssignment("more", raw({})))
    wire.requests -= 1
    assert said(wire.register("ann"))[0] == refusal("q1", FailureReason.NOTHING_AVAILABLE)
    copied = wire.core.copy()
    assert copied.state.refused == wire.core.state.refused
    assert said(wire.register("ann"))[0] == details("q2", "1", "1", {})
    wire.register("bob")
    assert [request.request_id for request in wire.core.state.refused] == ["q3"]


def test_an_onboarding_that_nobody_knows_is_answered() -> None:
    wire = Wire(QUIZ)
    assert refusal("q1", FailureReason.SESSION_GONE) in said(wire.onboard("onboarding_9", {}))


def test_passing_when_the_work_has_run_out_says_so_and_may_be_retried() -> None:
    wire = Wire(QUIZ, units=1)
    wire.register("ann")
    wire.register("bob")
    for agent, passed in (("onboarding_1", True), ("onboarding_2", True)):
        wire.onboard(agent, {})
        last = said(wire.take(JudgeOnboarding(agent, passed)))
    assert last[0] == refusal("q4", FailureReason.NOTHING_AVAILABLE)
    nothing = refusal("q5", FailureReason.NOTHING_AVAILABLE)
    assert said(wire.onboard("onboarding_2", {}))[0] == nothing
    wire.take(AddAssignment("more", raw({"n": 2})))
    assert said(wire.register("bob"))[0] == details("q6", "2", "2", {"n": 2})


def test_an_onboarding_that_could_not_be_judged_may_be_done_again() -> None:
    wire = Wire(QUIZ)
    wire.register("ann")
    wire.onboard("onboarding_1", {})
    judged = said(wire.take(JudgeOnboarding("onboarding_1", None)))
    assert judged[0] == refusal("q2", FailureReason.NOT_JUDGED)
    assert said(wire.register("ann"))[0] == details("q3", "onboarding_2", "1", {"quiz": 1})


def test_nobody_is_sent_through_an_onboarding_for_nothing() -> None:
    wire = Wire(QUIZ, units=0)
    assert refusal("q1", FailureReason.NOTHING_AVAILABLE) in said(wire.register("ann"))


# Live tasks ----------------------------------------------------------------------------------


def pair() -> Wire:
    wire = Wire(LIVE, units=2, seats=2)
    wire.register("ann")
    wire.register("bob")
    return wire


def test_a_live_assignment_starts_when_its_seats_are_taken() -> None:
    wire = Wire(LIVE, units=2, seats=2)
    data = {"n": 1, "past_live_updates": []}
    assert said(wire.register("ann")) == [details("q1", "1", "1", data), status("1", "waiting")]
    assert wire.state("1") == ("waiting", "waiting")
    assert said(wire.register("bob")) == [
        details("q2", "2", "2", data),
        status("2", "waiting"),
        status("1", "in task"),
        status("2", "in task"),
        StartAssignment(
            "a1",
            (Seated("1", "a1.0", "ann", raw({"n": 1})), Seated("2", "a1.1", "bob", raw({"n": 1}))),
            raw({"n": 1}),
        ),
    ]
    # The next two meet in the next one.
    assert said(wire.register("cat"))[0][2]["init_task_data"]["n"] == 2


def test_who_has_waited_with_somebody_before_does_not_block_the_queue() -> None:
    """ann had a1, so the seat beside bob in a1 is not for her; a2 is, and cat joins bob."""
    wire = Wire(LIVE, units=1, seats=2)
    wire.register("ann")
    wire.take(EndAgent("1", "returned"))
    wire.register("bob")
    wire.take(AddAssignment("a2", raw({"n": 2}), 2))
    assert said(wire.register("ann", "r2"))[0][2]["init_task_data"]["n"] == 2
    started = wire.register("cat")[-1]
    assert [agent.worker_name for agent in started.agents] == ["bob", "cat"]
    assert wire.state("3") == ("waiting", "waiting")


def test_a_partner_who_leaves_frees_the_others_who_still_owe_their_work() -> None:
    wire = pair()
    assert said(wire.packet("return_statuses", "mephisto", {"1": "disconnect"})) == [
        status("1", "disconnect"),
        AgentEnded("1", "disconnect", has_left=True),
        status("2", "partner disconnect"),
        AgentEnded("2", "partner disconnect", has_left=False, owes_submission=True),
    ]
    assert wire.state("2") == ("completed", "partner disconnect")
    assert said(wire.take(SendUpdate("2", raw({"type": "ended"}), "u")))[0][1] == "2"
    work = Submitted("2", "a1.1", raw({"t": 1}), "completed")
    assert said(wire.packet("submit_unit", "2", {"t": 1})) == [status("2", "completed"), work]
    assert said(wire.packet("submit_unit", "2", {"t": 1})) == [
        Count("repeated", "submit_unit"),
        status("2", "completed"),
    ]
    # The one who left is believed to have left for good, and its work is stored all the same.
    late = Submitted("1", "a1.0", raw({"t": 2}), "disconnect")
    assert said(wire.packet("submit_unit", "1", {"t": 2})) == [status("1", "disconnect"), late]


def test_who_owes_work_may_be_ended_and_others_may_not() -> None:
    wire = pair()
    wire.take(EndAgent("1", "timeout"))
    assert wire.state("2") == ("completed", "partner disconnect")
    assert said(wire.take(EndAgent("2", "timeout"))) == [status("2", "timeout")]
    assert wire.state("2") == ("disconnected", "timeout")
    for agent in ("1", "2"):
        (_, refused) = wire.take(EndAgent(agent, "completed"))
        assert refused.error_type == "already-ended"


def test_a_partner_who_is_done_is_not_disturbed() -> None:
    wire = pair()
    wire.packet("submit_unit", "1", {})
    assert said(wire.packet("return_statuses", "mephisto", {"2": "disconnect"})) == [
        status("2", "disconnect"),
        AgentEnded("2", "disconnect", has_left=True),
    ]
    assert wire.state("1") == ("completed", "completed")


def test_one_who_leaves_while_waiting_gives_the_seat_back() -> None:
    wire = Wire(LIVE, units=1, seats=2)
    wire.register("ann")
    wire.packet("return_statuses", "mephisto", {"1": "disconnect"})
    wire.register("bob")
    assert [type(e) for e in wire.register("cat")][-1] is StartAssignment
    # Not even work that comes too early keeps a seat that nobody is in.
    wire.take(AddAssignment("b", raw({}), 2))
    wire.register("dan")
    wire.packet("submit_unit", "4", {})
    assert wire.state("4") == ("completed", "completed")
    wire.register("eve")
    assert [type(e) for e in wire.register("fay")][-1] is StartAssignment


def test_live_data_must_be_an_object() -> None:
    wire = Wire(LIVE, units=0)
    (_, refused) = wire.take(AddAssignment("x", raw([1]), 2))
    assert refused.error_type == "bad-assignment"


# Units that come back ------------------------------------------------------------------------


def test_a_unit_whose_agent_left_goes_to_somebody_else() -> None:
    wire = Wire(BackendOptions(max_units_per_worker=1), units=1)
    wire.register("ann")
    assert said(wire.take(EndAgent("1", "returned"))) == [
        status("1", "returned"),
        AgentEnded("1", "returned", has_left=True),
    ]
    assert refusal("q2", FailureReason.NOTHING_AVAILABLE) in said(wire.register("ann", "r2"))
    assert said(wire.register("bob"))[0] == details("q3", "2", "2", {"n": 1})
    # Late work of the first is stored; the unit stays with the second.
    wire.packet("submit_unit", "1", {"late": True})
    assert refusal("q4", FailureReason.NOTHING_AVAILABLE) in said(wire.register("cat"))
    # What was given back does not count against the worker.
    wire.take(AddAssignment("b", raw({})))
    assert said(wire.register("ann", "r3"))[0][2]["agent_id"] == "3"


def test_late_work_keeps_a_unit_that_nobody_has_taken_yet() -> None:
    wire = Wire(units=1)
    wire.register("ann")
    wire.take(EndAgent("1", "timeout"))
    late = Submitted("1", "a1.0", raw({"late": True}), "timeout")
    assert late in wire.packet("submit_unit", "1", {"late": True})
    assert refusal("q2", FailureReason.NOTHING_AVAILABLE) in said(wire.register("bob"))


@pytest.mark.parametrize(
    ("options", "end"),
    [
        (BackendOptions(reuse_units=False), EndAgent("1", "timeout")),
        (BackendOptions(), EndAgent("1", "expired", reuse=False)),
        (BackendOptions(), EndAgent("1", "completed")),
    ],
)
def test_a_unit_may_be_used_up(options: BackendOptions, end: EndAgent) -> None:
    wire = Wire(options, units=1)
    wire.register("ann")
    wire.take(end)
    assert refusal("q2", FailureReason.NOTHING_AVAILABLE) in said(wire.register("bob"))


# Work and live updates -----------------------------------------------------------------------


def test_a_submission_is_counted_once() -> None:
    wire = Wire()
    wire.register("ann")
    assert said(wire.packet("submit_unit", "1", {"x": 1})) == [
        status("1", "completed"),
        Submitted("1", "a1.0", raw({"x": 1}), "completed"),
        AgentEnded("1", "completed", has_left=False),
    ]
    assert wire.state("1") == ("completed", "completed")
    assert said(wire.packet("submit_unit", "1", {"x": 2})) == [
        Count("repeated", "submit_unit"),
        status("1", "completed"),
    ]


def test_an_onboarding_agent_has_no_unit_to_submit() -> None:
    wire = Wire(QUIZ)
    wire.register("ann")
    (_, refused) = wire.packet("submit_unit", "onboarding_1", {})
    assert refused.error_type == "no-unit"


def test_live_updates_arrive_once() -> None:
    wire = pair()
    update = {"text": "hi", "update_id": "u1"}
    arrived = UpdateArrived("1", raw(update), "u1")
    assert wire.packet("mephisto_bound_live_update", "1", update) == [arrived]
    repeated = [Count("repeated", "mephisto_bound_live_update")]
    assert wire.packet("mephisto_bound_live_update", "1", update) == repeated
    # Another agent may use the same id, and numbers are ids too; without one nothing is a repeat.
    assert len(wire.packet("mephisto_bound_live_update", "2", update)) == 1
    number = {"update_id": 7}
    assert wire.packet("mephisto_bound_live_update", "1", number) == [
        UpdateArrived("1", raw(number), "7")
    ]
    for _ in range(2):
        assert wire.packet("mephisto_bound_live_update", "1", {"update_id": None}) == [
            UpdateArrived("1", raw({"update_id": None}), None)
        ]
        assert wire.packet("mephisto_bound_live_update", "1", {}) == [
            UpdateArrived("1", raw({}), None)
        ]


def test_the_memory_of_update_ids_is_bounded() -> None:
    wire = Wire(BackendOptions(seen_updates=2))
    wire.register("ann")
    for update_id in "abc":
        wire.packet("mephisto_bound_live_update", "1", {"update_id": update_id})
    assert wire.packet("mephisto_bound_live_update", "1", {"update_id": "c"})[0].name == "repeated"
    assert len(wire.packet("mephisto_bound_live_update", "1", {"update_id": "a"})) == 1
    agent = wire.core.agent("1")
    assert agent is not None
    assert list(agent.seen) == ["c", "a"]


def test_long_update_ids_are_remembered_by_a_digest() -> None:
    wire = Wire()
    wire.register("ann")
    long = "\ud83d" + "x" * 100_000  # half an emoji: a browser can send it
    ids = ["y" * 64, "y" * 65, long]
    for update_id in ids:
        (arrived,) = wire.packet("mephisto_bound_live_update", "1", {"update_id": update_id})
        assert arrived.update_id == update_id  # the author gets it whole
    for update_id in ids:
        (count,) = wire.packet("mephisto_bound_live_update", "1", {"update_id": update_id})
        assert count == Count("repeated", "mephisto_bound_live_update")
    agent = wire.core.agent("1")
    assert agent is not None
    assert [len(name) for name in agent.seen] == [64, 65, 65]
    # Whoever sends a digest as an id has sent another id.
    digest = list(agent.seen)[1]
    (arrived,) = wire.packet("mephisto_bound_live_update", "1", {"update_id": digest})
    assert arrived.update_id == digest


def test_live_updates_after_the_end_are_refused_and_repeats_of_earlier_ones_counted() -> None:
    wire = Wire(BackendOptions(seen_after_end=2))
    wire.register("ann")
    for update_id in "abc":
        wire.packet("mephisto_bound_live_update", "1", {"update_id": update_id})
    wire.packet("submit_unit", "1", {})
    for update_id in "bc":
        (count,) = wire.packet("mephisto_bound_live_update", "1", {"update_id": update_id})
        assert count == Count("repeated", "mephisto_bound_live_update")
    for update in ({"update_id": "a"}, {"update_id": "new"}, {}):
        (_, refused) = wire.packet("mephisto_bound_live_update", "1", update)
        assert refused.error_type == "illegal-in-state"
    agent = wire.core.agent("1")
    assert agent is not None
    assert list(agent.seen) == ["b", "c"]


def test_a_reload_gets_the_updates_that_were_sent() -> None:
    wire = pair()
    for number in range(3):
        sent = said(wire.take(SendUpdate("1", raw({"n": number}), f"u{number}")))
        data = {"n": number, "update_id": f"u{number}"}
        assert sent == [("client_bound_live_update", "1", data)]
    past = said(wire.register("ann"))[0][2]["init_task_data"]["past_live_updates"]
    assert [update["update_id"] for update in past] == ["u0", "u1", "u2"]
    assert said(wire.register("bob"))[0][2]["init_task_data"]["past_live_updates"] == []


def test_past_updates_are_bounded_and_gone_at_the_end() -> None:
    wire = Wire(BackendOptions(past_updates=2))
    wire.register("ann")
    for number in range(3):
        wire.take(SendUpdate("1", raw({}), f"u{number}"))
    data = said(wire.register("ann"))[0][2]["init_task_data"]  # static, and it got updates
    assert data == {"n": 1, "past_live_updates": [{"update_id": "u1"}, {"update_id": "u2"}]}
    wire.packet("submit_unit", "1", {})
    assert said(wire.register("ann"))[0][2]["init_task_data"] == {"n": 1}


def past_ids(effects: list[Any]) -> list[str]:
    """The ids of the past updates in an agent_details."""
    past = said(effects)[0][2]["init_task_data"]["past_live_updates"]
    return [update["update_id"] for update in past]


def test_past_updates_are_bounded_by_their_bytes_too() -> None:
    wire = Wire(BackendOptions(past_bytes=1_000))
    wire.register("ann")
    for number in range(9):
        wire.take(SendUpdate("1", raw({"text": "x" * 300}), f"u{number}"))
    assert past_ids(wire.register("ann")) == ["u6", "u7", "u8"]
    agent = wire.core.agent("1")
    assert agent is not None
    assert agent.past_bytes == sum(len(bytes(update)) for update in agent.past) <= 1_000
    # One that is larger on its own is sent all the same, and leaves nothing.
    wire.take(SendUpdate("1", raw({"text": "x" * 1_000}), "big"))
    assert (len(agent.past), agent.past_bytes) == (0, 0)
    wire.take(SendUpdate("1", raw({}), "small"))
    assert past_ids(wire.register("ann")) == ["small"]
    wire.packet("submit_unit", "1", {})
    assert (len(agent.past), agent.past_bytes) == (0, 0)


def test_no_packet_is_larger_than_a_router_takes() -> None:
    """A router closes the connection above its limit, and the packet would be sent again for ever."""
    options = BackendOptions(is_live=True, router_limit=20_000, past_bytes=1 << 20)
    wire = Wire(options, units=0)
    most = 20_000 - (16 << 10)
    too_much = raw({"n": "x" * (most - len('{"n":""}') + 1)})
    for event in (
        AddAssignment("big", too_much),
        AddAssignment("big", raw({}), 2, (raw({}), too_much)),
    ):
        (_, refused) = wire.take(event)
        assert refused.error_type == "bad-assignment"
        assert f"its data has {most + 1:,} bytes" in refused.text
    assert wire.take(AddAssignment("fits", raw({"n": "x" * (most - 1_000)}))) == []
    wire.register("ann")
    (_, refused) = wire.take(SendUpdate("1", raw({"text": "x" * 20_000}), "u"))
    assert refused.error_type == "too-large"
    assert "at most 20,000 bytes" in refused.text
    (sent,) = wire.take(SendUpdate("1", raw({"text": "x" * 19_000}), "long"))
    assert len(encode_envelope(sent.packet)) <= 20_000
    for number in range(20):
        wire.take(SendUpdate("1", raw({"text": "x" * 100}), f"u{number}"))
    answer = wire.register("ann")
    assert past_ids(answer) == [f"u{number}" for number in range(13, 20)]
    assert len(encode_envelope(answer[0].packet)) <= 20_000


def test_a_chat_of_any_length_fits_the_router() -> None:
    wire = Wire(LIVE)
    wire.register("ann")
    for number in range(2_200):
        # Without pings, what was sent counts as read: the outbox never fills.
        wire.core.receive(SendUpdate("1", raw({"text": "x" * 2_000}), f"u{number}"))
    answer = wire.register("ann")
    assert past_ids(answer)[-1] == "u2199"
    assert len(encode_envelope(answer[0].packet)) < RouterOptions().frame_limit
    assert BackendOptions().router_limit < RouterOptions().frame_limit


def test_onboarding_data_that_no_router_takes_is_refused_at_once() -> None:
    with pytest.raises(LocalProtocolError, match="onboarding_data has 5,000,000 bytes"):
        BackendCore(BackendOptions(onboarding_data=b'"' + b"x" * 4_999_998 + b'"'))


def test_an_update_keeps_what_the_author_wrote() -> None:
    wire = Wire()
    wire.register("ann")
    (sent,) = wire.take(SendUpdate("1", msgspec.Raw(b' {"a": "\\ud83d"} '.strip()), 'q"'))
    assert bytes(sent.packet.data) == b'{"a": "\\ud83d","update_id":"q\\""}'
    (_, refused) = wire.take(SendUpdate("1", raw([1]), "u"))
    assert refused.error_type == "wrong-type"
    (_, refused) = wire.take(SendUpdate("nobody", raw({}), "u"))
    assert refused.error_type == "unknown-agent"


def test_metadata_and_errors_reach_the_task() -> None:
    wire = Wire()
    wire.register("ann")
    assert wire.packet("submit_metadata", "1", {"tips": {"t": 1}}) == [
        MetadataArrived("1", raw({"tips": {"t": 1}}))
    ]
    assert wire.packet("log_error", "1", "boom") == [ErrorLogged("1", raw("boom"))]
    assert wire.packet("log_error", "mephisto", {}) == [ErrorLogged("mephisto", raw({}))]


def test_metadata_that_a_router_repeats_reaches_the_task_once() -> None:
    wire = Wire(BackendOptions(seen_metadata=2))
    wire.register("ann")

    def tell(text: str, at: float | None) -> list[Any]:
        packet = {"packet_type": "submit_metadata", "subject_id": "1", "data": {"tips": text}}
        return wire.take(Frame("c", json.dumps({**packet, "client_timestamp": at}), 1.0))

    def counts(effects: list[Any]) -> bool:
        repeated = [Count("repeated", "submit_metadata")]
        assert effects == repeated or [type(effect) for effect in effects] == [MetadataArrived]
        return effects != repeated

    assert counts(tell("a", 1.5))
    assert not counts(tell("a", 1.5))
    assert counts(tell("a", 2.5))  # said again later, and so meant
    assert not counts(tell("a", 1.5))
    assert counts(tell("a", None))  # forms have no timestamp
    assert not counts(tell("a", None))
    assert counts(tell("a", 1.5))  # forgotten: only so many are remembered


def test_metadata_that_is_repeated_after_the_submission_still_counts_once() -> None:
    wire = Wire()
    wire.register("ann")
    wire.packet("submit_metadata", "1", {"tips": {}})
    wire.packet("submit_unit", "1", {"label": "cat"})
    assert wire.packet("submit_metadata", "1", {"tips": {}}) == [
        Count("repeated", "submit_metadata")
    ]


# Statuses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reported", ["none", "waiting", "approved", "timeout"])
def test_a_status_that_differs_makes_the_backend_push_its_own(reported: str) -> None:
    wire = Wire()
    wire.register("ann")
    assert said(wire.packet("return_statuses", "mephisto", {"1": reported})) == [
        status("1", "in task")
    ]


def test_reports_that_say_nothing_new_are_left_alone() -> None:
    wire = Wire()
    wire.register("ann")
    reports = {"1": "in task", "99": "disconnect", "onboarding_9": "none"}
    assert wire.packet("return_statuses", "mephisto", reports) == []
    assert wire.packet("return_statuses", "mephisto", {"1": "completed"}) == []
    wire.take(Opened("d"))
    assert wire.packet("return_statuses", "mephisto", {"1": "disconnect"}, "d") == []
    assert wire.packet("return_statuses", "mephisto", {"1": "sleeping"}) == [
        Count("unknown-status", "sleeping")
    ]


def test_disconnect_is_final_and_an_end_is_healed() -> None:
    wire = Wire()
    wire.register("ann")
    wire.packet("return_statuses", "mephisto", {"1": "disconnect"})
    assert wire.state("1") == ("disconnected", "disconnect")
    assert said(wire.packet("return_statuses", "mephisto", {"1": "in task"})) == [
        status("1", "disconnect")
    ]
    wire.register("bob")
    wire.packet("submit_unit", "2", {})
    # bob had handed in before his socket was given up: that stands.
    assert said(wire.packet("return_statuses", "mephisto", {"2": "disconnect"})) == [
        status("2", "completed")
    ]
    assert wire.state("2") == ("completed", "completed")


@pytest.mark.parametrize("value", [Status.IN_TASK.value, "none", "mephisto disconnect", "gone"])
def test_only_a_final_status_ends_an_agent(value: str) -> None:
    wire = Wire()
    wire.register("ann")
    (_, refused) = wire.take(EndAgent("1", value))
    assert refused.error_type == "bad-status"


# Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "error_type"),
    [
        ("no json", "not-json"),
        (b"\x00", "binary-frame"),
        ('{"packet_type":"heartbeat","subject_id":"1"}', "not-allowed"),
        ('{"packet_type":"update_status","subject_id":"1","data":{}}', "not-allowed"),
        ('{"packet_type":"nonsense","subject_id":"1","data":{}}', "not-allowed"),
        ('{"packet_type":"submit_metadata","subject_id":"1","data":[]}', "wrong-type"),
        ('{"packet_type":"submit_metadata","subject_id":"7","data":{}}', "unknown-agent"),
        ('{"packet_type":"submit_unit","subject_id":"7","data":{}}', "unknown-agent"),
        ('{"packet_type":"return_statuses","subject_id":"mephisto","data":{"1":5}}', "wrong-type"),
        ('{"packet_type":"submit_onboarding","subject_id":"1","data":{}}', "missing-field"),
        ("x" * 20_000_000, "too-large"),
    ],
)
def test_bad_frames_are_refused(payload: str | bytes, error_type: str) -> None:
    wire = Wire()
    wire.register("ann")
    count, refused = wire.take(Frame("c", payload))
    assert count == Count("refused", error_type)
    assert (refused.source, refused.error_type) == ("c", error_type)
    assert refused.text


@pytest.mark.parametrize(
    "event",
    [
        AddAssignment("a1", raw({})),
        AddAssignment("z", raw({}), 0),
        AddAssignment("z", raw({}), 2, (raw({}),)),
        EndAgent("nobody", "completed"),
        JudgeOnboarding("nobody", True),
        TimerFired(("sweep", "")),
        Request("r", Route.REQUEST_AGENT, b"{}"),
    ],
)
def test_bad_decisions_are_refused(event: Any) -> None:
    wire = Wire()
    count, refused = wire.take(event)
    assert isinstance(count, Count)
    assert refused.source == "task"
