"""Who gets in: registrations, onboardings, and the start of what they fill.

1. A registration that is known gets its agent again; another one goes through the stages of
   ``worker_pool.py``, and every failure is an answer with its own sentence.
2. An onboarding is judged once. Everybody who asks meanwhile, or later, gets the one answer.
3. A seat is answered first and then started: a static unit at once, a live assignment when its last
   seat is taken.
"""

from __future__ import annotations

import msgspec

from statecore.backend_events import (
    AgentEnded,
    JudgeOnboarding,
    OnboardingSubmitted,
    Seated,
    StartAssignment,
    StartUnit,
    WorkerRefused,
)
from statecore.backend_moves import Backend
from statecore.backend_state import Asked, BackendAgent, short_name
from statecore.effects import Count
from statecore.errors import LocalProtocolError
from statecore.lifecycle import Trigger
from statecore.status import State, Status
from statecore.worker_pool import SENTENCES, Assignment, FailureReason, Worker

__all__ = ["judge_onboarding", "refuse_worker", "register", "submit_onboarding"]


def register(backend: Backend, worker_name: str, registration: str, asked: Asked) -> None:
    """A worker asks for an agent: the one that it has, or a new one, or the reason why not."""
    known = backend.state.registered(worker_name, registration)
    request = Asked(short_name(asked.request_id), asked.connection)
    reason = backend.state.refused.get(request)
    if reason is None and known is not None and request == known.registered_by:
        reason = known.outcome if known.state == State.FAILED else None
    if reason is not None:  # a router that sends twice gets the same answer twice
        refuse_worker(backend, asked, worker_name, FailureReason(reason))
        return
    # An onboarding that ended without a unit is begun anew, by whoever asks again: nothing of worth
    # is lost with it. The same request once more is not asking again.
    if known is not None and (
        known.assignment is not None or not known.is_final or request == known.registered_by
    ):
        known.connection = asked.connection
        known.registered_by = request
        backend.answer(known, asked)
        backend.tell_status(known)
        return
    worker = backend.pool.worker(worker_name)
    found = _seat_for(backend, worker)
    if isinstance(found, FailureReason):
        backend.state.remember_refusal(request, found, backend.options.seen_refusals)
        refuse_worker(backend, asked, worker_name, found)
        return
    backend.pool.enter(worker)
    if backend.options.needs_onboarding and not worker.has_passed:
        agent = backend.state.add_onboarding(worker_name, registration, request)
        agent.fire(Trigger.DETAILS_ONBOARDING)
        backend.answer(agent, asked)
        backend.push(agent, Status.ONBOARDING)
        return
    agent = backend.state.add_agent(worker_name, registration, request)
    _take_seat(backend, agent, worker, *found)
    backend.answer(agent, asked)
    _begin(backend, agent, found[0])


def submit_onboarding(backend: Backend, agent_id: str, asked: Asked, data: msgspec.Raw) -> None:
    """Answers to an onboarding: judged once, however often they come."""
    agent = backend.state.find(agent_id)
    if agent is None:
        refuse_worker(backend, asked, "", FailureReason.SESSION_GONE)
        return
    if agent.assignment is not None:  # judged and passed: the same answer again
        agent.connection = asked.connection
        backend.answer(agent, asked)
        backend.tell_status(agent)
        return
    if agent.is_final:
        failed = agent.state == State.FAILED
        reason = FailureReason(agent.outcome) if failed else FailureReason.LEFT
        refuse_worker(backend, asked, agent.worker, reason)
        return
    agent.connection = asked.connection
    is_first = not agent.asked
    if asked not in agent.asked:
        agent.asked.append(asked)
    if is_first:
        backend.out.append(OnboardingSubmitted(agent.agent_id, agent.worker, data))


def judge_onboarding(backend: Backend, event: JudgeOnboarding) -> None:
    """The answers were judged: everybody who asked is answered."""
    agent = backend.state.agents.get(event.agent_id)
    if agent is None or not agent.asked:
        raise LocalProtocolError(
            f"agent {event.agent_id!r} has no onboarding to be judged",
            error_type="nothing-to-judge",
            field="agent_id",
            expected="the agent of an OnboardingSubmitted, once",
        )
    worker = backend.pool.workers[agent.worker]
    if event.passed is not None:
        worker.has_passed = event.passed
    all_asked, agent.asked = agent.asked, []
    if agent.is_final:
        for asked in all_asked:
            refuse_worker(backend, asked, agent.worker, FailureReason.LEFT)
        return
    found = FailureReason.NOT_JUDGED if event.passed is None else _seat_for(backend, worker)
    if isinstance(found, FailureReason):
        agent.fire(Trigger.DETAILS_REFUSED, found)
        for asked in all_asked:
            refuse_worker(backend, asked, agent.worker, found)
        backend.out.append(AgentEnded(agent.agent_id, agent.outcome, has_left=False))
        return
    backend.state.rename(agent)
    _take_seat(backend, agent, worker, *found)
    for asked in all_asked:
        backend.answer(agent, asked)
    _begin(backend, agent, found[0])


def refuse_worker(backend: Backend, asked: Asked, worker_name: str, reason: FailureReason) -> None:
    """The answer without an agent, with the reason that the page shows."""
    backend.send_details(asked, None, None, None, SENTENCES[reason])
    backend.out.append(Count("worker-refused", reason))
    backend.out.append(WorkerRefused(worker_name, reason))


def _seat_for(backend: Backend, worker: Worker) -> tuple[Assignment, int] | FailureReason:
    """The stages of a registration, in their order."""
    if backend.pool.is_closed:
        return FailureReason.RUN_CLOSED
    if worker.is_blocked:
        return FailureReason.NOT_QUALIFIED
    if worker.has_passed is False:
        return FailureReason.FAILED_ONBOARDING
    at_once = sum(not backend.state.agents[agent].is_final for agent in worker.agents)
    if 0 < backend.options.allowed_concurrent <= at_once:
        return FailureReason.TOO_MANY_AT_ONCE
    if 0 < backend.options.max_units_per_worker <= len(worker.agents):
        return FailureReason.MAXIMUM_REACHED
    return backend.pool.choose(worker) or FailureReason.NOTHING_AVAILABLE


def _take_seat(
    backend: Backend, agent: BackendAgent, worker: Worker, assignment: Assignment, seat: int
) -> None:
    agent.fire(Trigger.DETAILS_AGENT)
    agent.assignment, agent.seat = assignment.assignment_id, seat
    backend.pool.take(worker, assignment, seat, agent.agent_id)


def _begin(backend: Backend, agent: BackendAgent, assignment: Assignment) -> None:
    """The agent has its seat and its answer: start what can start."""
    if not backend.options.is_live:
        backend.push(agent, Status.IN_TASK)
        backend.out.append(StartUnit(assignment.assignment_id, _seated(backend, agent)))
        return
    backend.push(agent, Status.WAITING)
    if not assignment.is_full:
        return
    assignment.has_started = True
    agents = [backend.state.agents[partner] for partner in assignment.partners]
    for partner in agents:
        backend.push(partner, Status.IN_TASK)
    backend.out.append(
        StartAssignment(
            assignment.assignment_id,
            tuple(_seated(backend, each) for each in agents),
            assignment.data,
        )
    )


def _seated(backend: Backend, agent: BackendAgent) -> Seated:
    assignment = backend.assignment_of(agent)
    return Seated(
        agent.agent_id,
        assignment.unit_id(agent.seat),
        agent.worker,
        assignment.data_of(agent.seat),
    )
