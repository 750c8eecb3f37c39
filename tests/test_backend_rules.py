"""The backend core under any order of events: what must hold holds, and nothing is raised."""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from statecore.backend import BackendCore
from statecore.backend_events import (
    AddAssignment,
    AgentEnded,
    BlockWorker,
    CloseRun,
    EndAgent,
    JudgeOnboarding,
    OnboardingSubmitted,
    SendUpdate,
    StartAssignment,
    StartUnit,
    Submitted,
)
from statecore.effects import Send
from statecore.envelope import EMPTY
from statecore.events import Closed, Frame, Opened, TimerFired
from statecore.lifecycle import STATUS_TRIGGERS
from statecore.settings import BackendOptions
from statecore.status import FINAL_STATES, STATE_OF, Status

WORKERS = st.sampled_from(["ann", "bob", "cat", "dan"])
AGENTS = st.sampled_from(["1", "2", "3", "4", "onboarding_1", "onboarding_2", "nobody"])
STATUSES = st.sampled_from([*(status.value for status in Status), "nonsense"])


class BackendRules(RuleBasedStateMachine):
    options = BackendOptions()
    seats = 1

    def __init__(self) -> None:
        super().__init__()
        self.core = BackendCore(self.options)
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.to_judge: set[str] = set()
        self.submitted: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.serial = 0
        self.take(Opened("c"))

    def take(self, event: Any) -> None:
        before = {name: agent.state for name, agent in self.core.state.agents.items()}
        for effect in self.core.receive(event):
            match effect:
                case Send(packet=packet) if packet.packet_type == "agent_details":
                    details = json.loads(bytes(packet.data))
                    assert (details["agent_id"] is None) == (details["failure_reason"] is not None)
                    self.answered[details["request_id"]] += 1
                case OnboardingSubmitted(agent_id=agent):
                    self.to_judge.add(agent)
                case Submitted(agent_id=agent):
                    self.submitted[agent] += 1
                case AgentEnded(agent_id=agent):
                    self.ended[agent] += 1
                case StartUnit(agent=agent_seated):
                    self.started[agent_seated.agent_id] += 1
                case StartAssignment(agents=agents):
                    self.started.update(agent.agent_id for agent in agents)
                case _:
                    pass
        for name, state in before.items():
            now = self.core.agent(name)
            assert now is not None
            if state in FINAL_STATES:
                assert now.state in FINAL_STATES

    def packet(self, kind: str, subject: str, data: Any) -> None:
        packet = {"packet_type": kind, "subject_id": subject, "data": data}
        self.take(Frame("c", json.dumps(packet)))

    @rule(worker=WORKERS, registration=st.sampled_from("xy"))
    def register(self, worker: str, registration: str) -> None:
        self.serial += 1
        request = f"q{self.serial}"
        self.asked[request] += 1
        provider = {"worker_name": worker, "agent_registration_id": registration + worker}
        self.packet("register_agent", request, {"provider_data": provider, "request_id": request})

    @rule(agent=AGENTS)
    def onboard(self, agent: str) -> None:
        self.serial += 1
        request = f"q{self.serial}"
        self.asked[request] += 1
        self.packet("submit_onboarding", agent, {"onboarding_data": 1, "request_id": request})

    @precondition(lambda self: self.to_judge)
    @rule(passed=st.sampled_from([True, True, False, None]))
    def judge(self, passed: bool | None) -> None:
        self.take(JudgeOnboarding(self.to_judge.pop(), passed))

    @rule(agent=AGENTS, status=STATUSES)
    def report(self, agent: str, status: str) -> None:
        self.packet("return_statuses", "mephisto", {agent: status})

    @rule(agent=AGENTS)
    def submit(self, agent: str) -> None:
        self.packet("submit_unit", agent, {"work": 1})

    @rule(agent=AGENTS, update_id=st.sampled_from("abc"))
    def update(self, agent: str, update_id: str) -> None:
        self.packet("mephisto_bound_live_update", agent, {"update_id": update_id})

    @rule(agent=AGENTS, update_id=st.sampled_from("abc"))
    def send(self, agent: str, update_id: str) -> None:
        self.take(SendUpdate(agent, EMPTY, update_id))

    @rule(agent=AGENTS, status=STATUSES, reuse=st.booleans())
    def end(self, agent: str, status: str, reuse: bool) -> None:
        self.take(EndAgent(agent, status, reuse))

    @rule(name=st.sampled_from(["a", "b", "c"]))
    def add(self, name: str) -> None:
        self.take(AddAssignment(name, EMPTY, self.seats))

    @rule(event=st.sampled_from([Closed("c"), Opened("c"), TimerFired(("poll", "c"))]))
    def channel(self, event: Any) -> None:
        self.take(event)

    @precondition(lambda self: self.serial > 12)
    @rule(event=st.sampled_from([CloseRun(), BlockWorker("ann")]))
    def shut(self, event: Any) -> None:
        self.take(event)

    @invariant()
    def every_request_is_answered_once_or_waits_for_a_judgement_or_the_channel(self) -> None:
        waiting = Counter(
            asked.request_id for agent in self.core.state.agents.values() for asked in agent.asked
        )
        unsent = Counter(
            json.loads(bytes(entry.packet.data))["request_id"]
            for outbox in self.core.state.channels.values()
            for entry in outbox.waiting
            if entry.packet.packet_type == "agent_details"
        )
        assert self.answered + waiting + unsent == self.asked

    @invariant()
    def work_counts_once_and_ends_are_told_once(self) -> None:
        assert set(self.submitted.values()) <= {1}
        assert set(self.started.values()) <= {1}
        assert set(self.ended.values()) <= {1}
        state = self.core.state
        for name, agent in state.agents.items():
            assert agent.agent_id == name
            assert (self.ended[name] == 1) == agent.is_final
            if agent.outcome in set(STATUS_TRIGGERS) - {"none"}:
                assert STATE_OF[Status(agent.outcome)] == agent.state

    @invariant()
    def a_seat_has_one_agent_and_an_agent_one_seat(self) -> None:
        pool = self.core.state.pool
        held = Counter(a for assignment in pool.assignments.values() for a in assignment.partners)
        assert set(held.values()) <= {1}
        for assignment in pool.assignments.values():
            workers = [self.core.state.agents[a].worker for a in assignment.partners]
            assert len(set(workers)) == len(workers)
            if assignment.has_started:
                assert assignment.is_full
        for worker in pool.workers.values():
            assert set(worker.agents) <= set(held)

    @invariant()
    def a_copy_is_equal_and_independent(self) -> None:
        key = self.core.key()
        hash(key)
        twin = self.core.copy()
        assert twin.key() == key == copy.deepcopy(self.core).key()
        twin.receive(AddAssignment("twin", EMPTY, self.seats))
        for agent in list(twin.state.agents):
            twin.receive(SendUpdate(agent, msgspec.Raw(b'{"twin":1}'), "twin"))
            twin.receive(EndAgent(agent, "expired"))
        assert self.core.key() == key


class LiveRules(BackendRules):
    options = BackendOptions(is_live=True, max_units_per_worker=2)
    seats = 2


class QuizRules(BackendRules):
    options = BackendOptions(needs_onboarding=True, allowed_concurrent=1)


class LiveQuizRules(BackendRules):
    options = BackendOptions(is_live=True, needs_onboarding=True)
    seats = 2


for machine in (BackendRules, LiveRules, QuizRules, LiveQuizRules):
    machine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

TestStatic = BackendRules.TestCase
TestLive = LiveRules.TestCase
TestQuiz = QuizRules.TestCase
TestLiveQuiz = LiveQuizRules.TestCase


def test_five_hundred_at_once_for_a_hundred_units() -> None:
    core = BackendCore()
    core.receive(Opened("c"))
    for number in range(100):
        core.receive(AddAssignment(f"a{number}"))
    got: list[str] = []
    for number in range(500):
        provider = {"worker_name": f"w{number}", "agent_registration_id": "r"}
        data = {"provider_data": provider, "request_id": f"q{number}"}
        frame = {"packet_type": "register_agent", "subject_id": f"q{number}", "data": data}
        for effect in core.receive(Frame("c", json.dumps(frame))):
            if isinstance(effect, StartUnit):
                got.append(effect.agent.unit_id)
    assert len(got) == len(set(got)) == 100
