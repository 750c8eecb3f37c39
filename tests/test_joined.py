"""Router and backend together, whatever the wire between them does."""

from __future__ import annotations

from typing import Any

from fakes import Joined
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from statecore.backend_events import AddAssignment
from statecore.events import Route
from statecore.settings import BackendOptions
from statecore.status import STATE_OF, Status


def registration(worker: str) -> dict[str, Any]:
    provider = {"worker_name": worker, "agent_registration_id": f"r-{worker}"}
    return {"provider_data": provider}


def joined(units: int = 3, options: BackendOptions | None = None) -> Joined:
    both = Joined(backend=options)
    for number in range(units):
        both.tell_backend(AddAssignment(f"a{number}"))
    return both


def test_a_registration_is_answered_and_its_work_is_counted() -> None:
    both = joined()
    both.connect()
    both.post("p1", Route.REQUEST_AGENT, registration("ann"))
    both.deliver_all()
    ((code, packet),) = both.replies["p1"]
    assert (code, packet["data"]["agent_id"]) == (200, "1")
    both.post("p2", Route.SUBMIT_TASK, {"USED_AGENT_ID": "1", "final_data": {"x": 1}})
    both.settle()
    assert both.submitted == {"1": 1}
    seat = both.router.agent("1")
    assert seat is not None
    assert (seat.state, seat.outcome) == ("completed", "completed")


def test_an_answer_that_was_lost_with_the_socket_still_comes() -> None:
    both = joined()
    both.connect()
    both.deliver_all()
    both.post("p1", Route.REQUEST_AGENT, registration("ann"))
    both.deliver_to_backend()
    assert both.to_router  # the answer is on its way ...
    both.drop()  # ... and gone
    assert both.replies["p1"] == []
    both.connect()
    both.deliver_all()
    ((code, packet),) = both.replies["p1"]
    assert (code, packet["data"]["agent_id"]) == (200, "1")


def test_a_router_that_restarted_learns_every_status_within_a_poll() -> None:
    both = joined()
    both.connect()
    both.post("p1", Route.REQUEST_AGENT, registration("ann"))
    both.deliver_all()
    again = Joined(backend=None)
    again.backend = both.backend
    again.backend_timers = both.backend_timers
    again.connect()
    again.post("p2", Route.SUBMIT_TASK, {"USED_AGENT_ID": "1", "final_data": 1})
    again.settle()
    seat = again.router.agent("1")
    assert seat is not None
    assert seat.pushed == "completed"
    assert again.submitted == {"1": 1}


class JoinedRules(RuleBasedStateMachine):
    """Registrations, onboardings and work, over a wire that is lost at any moment."""

    options = BackendOptions()

    def __init__(self) -> None:
        super().__init__()
        self.both = joined(4, self.options)
        self.both.connect()
        self.serial = 0
        self.accepted: set[str] = set()
        self.register("ann")
        self.register("bob")
        self.both.deliver_all()

    def _post(self, route: Route, body: dict[str, Any]) -> str:
        self.serial += 1
        name = f"p{self.serial}"
        self.both.post(name, route, body)
        return name

    def _agents(self, prefix: str = "") -> list[str]:
        """The ids that pages have read in their answers."""
        named = [
            packet["data"]["agent_id"] or "none"
            for answers in self.both.replies.values()
            for _, packet in answers
            if packet.get("packet_type") == "agent_details"
        ]
        return [name for name in dict.fromkeys(named) if name.startswith(prefix)]

    @rule(worker=st.sampled_from(["ann", "bob", "cat"]))
    def register(self, worker: str) -> None:
        self._post(Route.REQUEST_AGENT, registration(worker))

    @rule(which=st.integers(0, 3))
    def onboard(self, which: int) -> None:
        agents = self._agents("onboarding")
        if agents:
            agent = agents[which % len(agents)]
            data = {"USED_AGENT_ID": agent, "onboarding_data": {"a": 1}}
            self._post(Route.SUBMIT_ONBOARDING, {"provider_data": data})

    @rule(which=st.integers(0, 3))
    def submit(self, which: int) -> None:
        units = [agent for agent in self._agents() if agent.isdecimal()]
        if units:
            agent = units[which % len(units)]
            name = self._post(Route.SUBMIT_TASK, {"USED_AGENT_ID": agent, "final_data": {}})
            ((code, _),) = self.both.replies[name]
            if code < 300:
                self.accepted.add(agent)

    @rule(passed=st.booleans())
    def judge(self, passed: bool) -> None:
        self.both.judge(passed)

    @rule(count=st.integers(1, 5))
    def up(self, count: int) -> None:
        for _ in range(count):
            self.both.deliver_to_backend()

    @rule(count=st.integers(1, 5))
    def down(self, count: int) -> None:
        for _ in range(count):
            self.both.deliver_to_router()

    @rule()
    def deliver(self) -> None:
        self.both.connect()
        self.both.deliver_all()

    @rule()
    def drop(self) -> None:
        self.both.drop()

    @rule()
    def lose_what_is_on_its_way(self) -> None:
        self.both.drop()
        self.both.connect()

    @rule()
    def poll(self) -> None:
        self.both.poll()

    def teardown(self) -> None:
        both = self.both
        both.settle()
        # A registration whose packet was lost is never sent again: its page is told in the end.
        for key in [key for key in both.router_timers if key[0] == "request"]:
            both.fire_router(key)
        both.settle()
        for name, answers in both.replies.items():
            assert len(answers) == 1, f"{name} got {len(answers)} answers"
        for agent_id in self.accepted:
            assert both.submitted[agent_id] == 1
        assert set(both.submitted.values()) <= {1}
        for agent_id, agent in both.backend.state.agents.items():
            seat = both.router.agent(agent_id)
            if seat is not None and agent.outcome in set(Status) and seat.agent_id == agent_id:
                assert seat.pushed == agent.outcome
                assert seat.state == STATE_OF[Status(agent.outcome)]


class JoinedQuizRules(JoinedRules):
    options = BackendOptions(needs_onboarding=True)


JoinedRules.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
JoinedQuizRules.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestJoined = JoinedRules.TestCase
TestJoinedQuiz = JoinedQuizRules.TestCase
