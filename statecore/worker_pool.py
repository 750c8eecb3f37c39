"""Who may work, and on what: workers, assignments with their seats, and the choice between them.

1. The stages of a registration come in the Architect API's order, and each failure has a reason of
   its own: closed, not qualified, onboarding failed, too many at once, the maximum, nothing left.
2. A seat is taken in the same call that chooses it, so nobody else can get it meanwhile.
3. A worker never gets the same assignment twice, not even after giving it back.
4. Live assignments where somebody already waits are filled before new ones are begun; units that
   were given back come after those that nobody has had.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

import msgspec

__all__ = ["SENTENCES", "Assignment", "FailureReason", "Worker", "WorkerPool"]


class FailureReason(StrEnum):
    """Why a worker does not get in."""

    RUN_CLOSED = "run-closed"
    NOT_QUALIFIED = "not-qualified"
    FAILED_ONBOARDING = "failed-onboarding"
    TOO_MANY_AT_ONCE = "too-many-at-once"
    MAXIMUM_REACHED = "maximum-reached"
    NOTHING_AVAILABLE = "nothing-available"
    NOT_JUDGED = "not-judged"
    LEFT = "left"
    SESSION_GONE = "session-gone"
    UNREADABLE = "unreadable"


# What the worker reads: the truth, and what to do about it.
SENTENCES: dict[FailureReason, str] = {
    FailureReason.RUN_CLOSED: "This task is closed: no more work is given out.",
    FailureReason.NOT_QUALIFIED: (
        "You do not have the qualifications that this task asks for, so you cannot work on it."
    ),
    FailureReason.FAILED_ONBOARDING: (
        "You did not pass the introduction to this task, so you cannot work on it."
    ),
    FailureReason.TOO_MANY_AT_ONCE: (
        "You are working on as much of this task at once as is allowed. "
        "Finish what you have open, then load this page again."
    ),
    FailureReason.MAXIMUM_REACHED: (
        "You have done as much of this task as one person may do. Thank you!"
    ),
    FailureReason.NOTHING_AVAILABLE: (
        "There is no work for you in this task at the moment. You may try again later."
    ),
    FailureReason.NOT_JUDGED: (
        "The task's program could not judge your answers. That is not your fault. "
        "Load this page again to try once more."
    ),
    FailureReason.LEFT: (
        "You were disconnected before the introduction was judged. Load this page again to go on."
    ),
    FailureReason.SESSION_GONE: (
        "The task's program does not know this session, most likely because it was restarted. "
        "Load this page again to begin anew."
    ),
    FailureReason.UNREADABLE: (
        "The task's program could not read your registration. "
        "Write to the people who posted the task."
    ),
}


@dataclass(slots=True)
class Worker:
    """One person, known by the crowd provider's name.

    Args:
        has_passed: the onboarding's result; ``None`` while there is none.
        assignments: those that the worker ever had.
        agents: the ids of the worker's agents that have or had a unit and did not give it back.
    """

    name: str
    worker_id: str
    is_blocked: bool = False
    has_passed: bool | None = None
    assignments: set[str] = field(default_factory=set)
    agents: dict[str, None] = field(default_factory=dict)

    def copy(self) -> Worker:
        """An independent copy."""
        return replace(self, assignments=set(self.assignments), agents=dict(self.agents))


@dataclass(slots=True)
class Assignment:
    """Work with one seat for each unit; a seat holds its agent's id."""

    assignment_id: str
    data: msgspec.Raw
    unit_data: tuple[msgspec.Raw, ...]
    seats: list[str | None]
    has_started: bool = False

    def unit_id(self, seat: int) -> str:
        """The name of one seat's unit."""
        return f"{self.assignment_id}.{seat}"

    def data_of(self, seat: int) -> msgspec.Raw:
        """What the agent in this seat works on."""
        return self.unit_data[seat] if self.unit_data else self.data

    @property
    def is_full(self) -> bool:
        """Every seat is taken."""
        return None not in self.seats

    @property
    def partners(self) -> Iterator[str]:
        """The agents in its seats."""
        return (agent_id for agent_id in self.seats if agent_id is not None)


class WorkerPool:
    """All workers and assignments of one run."""

    __slots__ = ("_free", "_gathering", "assignments", "is_closed", "workers")

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.assignments: dict[str, Assignment] = {}
        self.is_closed = False
        self._free: dict[str, None] = {}  # assignments with nobody, in order
        self._gathering: dict[str, None] = {}  # with somebody and with a free seat

    def worker(self, name: str) -> Worker:
        """The worker of this name. A new one is remembered by ``enter`` only."""
        known = self.workers.get(name)
        return known or Worker(name, str(len(self.workers) + 1))

    def enter(self, worker: Worker) -> None:
        """Remember a worker, who has got something to be remembered for."""
        self.workers[worker.name] = worker

    def add(self, assignment: Assignment) -> None:
        """Offer an assignment, after those that are offered already."""
        self.assignments[assignment.assignment_id] = assignment
        self._free[assignment.assignment_id] = None

    def choose(self, worker: Worker) -> tuple[Assignment, int] | None:
        """A free seat for this worker, or ``None``; nothing is taken yet."""
        for offered in (self._gathering, self._free):
            for assignment_id in offered:
                if assignment_id not in worker.assignments:
                    assignment = self.assignments[assignment_id]
                    return assignment, assignment.seats.index(None)
        return None

    def take(self, worker: Worker, assignment: Assignment, seat: int, agent_id: str) -> None:
        """Put an agent into a free seat."""
        assignment.seats[seat] = agent_id
        worker.assignments.add(assignment.assignment_id)
        worker.agents[agent_id] = None
        self._offer(assignment)

    def give_back(self, worker: Worker, assignment: Assignment, seat: int) -> None:
        """The agent in this seat is gone; somebody else may have it."""
        agent_id = assignment.seats[seat]
        assert agent_id is not None
        assignment.seats[seat] = None
        worker.agents.pop(agent_id)
        self._offer(assignment)

    def copy(self) -> WorkerPool:
        """An independent copy."""
        other = WorkerPool()
        other.workers = {name: worker.copy() for name, worker in self.workers.items()}
        other.assignments = {
            name: replace(assignment, seats=assignment.seats.copy())
            for name, assignment in self.assignments.items()
        }
        other.is_closed = self.is_closed
        other._free, other._gathering = self._free.copy(), self._gathering.copy()
        return other

    def key(self, rename: Callable[[str], Hashable]) -> Hashable:
        """Canonical and hashable, with the agents' ids renamed; names of workers and work stay."""
        return (
            self.is_closed,
            tuple(
                (
                    w.name,
                    w.is_blocked,
                    w.has_passed,
                    frozenset(w.assignments),
                    tuple(map(rename, w.agents)),
                )
                for w in sorted(self.workers.values(), key=lambda worker: worker.name)
            ),
            tuple(
                (
                    a.assignment_id,
                    a.has_started,
                    tuple(None if agent is None else rename(agent) for agent in a.seats),
                )
                for a in sorted(self.assignments.values(), key=lambda a: a.assignment_id)
            ),
            tuple(self._free),
            tuple(self._gathering),
        )

    def _offer(self, assignment: Assignment) -> None:
        """Put it where its seats say."""
        name = assignment.assignment_id
        taken = len(assignment.seats) - assignment.seats.count(None)
        is_gathering = 0 < taken < len(assignment.seats)
        for offered, belongs in (
            (self._gathering, is_gathering),
            (self._free, taken == 0),
        ):
            if belongs:
                offered.setdefault(name, None)
            else:
                offered.pop(name, None)
