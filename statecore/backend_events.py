"""What a task's program tells its backend core, and what it is told: closed unions of frozen records.

The inputs are the program's own decisions, beside the common events of ``events.py``. The outputs
are effects beside those of ``effects.py``; the task server turns them into calls of the author's
code. Data is JSON bytes throughout: what a page sent reaches the author as it came. Ids that are not
the core's own (update ids, assignment ids) come in as arguments.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from statecore.effects import Effect
from statecore.envelope import EMPTY
from statecore.events import Event

__all__ = [
    "AddAssignment",
    "AgentEnded",
    "BackendEffect",
    "BackendEvent",
    "BlockWorker",
    "CloseRun",
    "EndAgent",
    "ErrorLogged",
    "JudgeOnboarding",
    "MetadataArrived",
    "OnboardingSubmitted",
    "Refused",
    "Seated",
    "SendUpdate",
    "StartAssignment",
    "StartUnit",
    "Submitted",
    "UpdateArrived",
    "WorkerRefused",
]


# --- inputs: what the task's program decides ---------------------------------------------------


class AddAssignment(msgspec.Struct, frozen=True):
    """There is work: one assignment with one unit for each seat.

    Args:
        assignment_id: a name that was not used before.
        data: JSON that the page gets as ``init_task_data``; for a live task an object.
        seats: how many agents work on it. Static ones each do the same on their own.
        unit_data: instead of ``data``, one for each seat.
    """

    assignment_id: str
    data: msgspec.Raw = EMPTY
    seats: int = 1
    unit_data: tuple[msgspec.Raw, ...] = ()


class SendUpdate(msgspec.Struct, frozen=True):
    """Send a live update to one agent's page.

    Args:
        agent_id: who gets it, in whatever state: what the task sends is never refused by state.
        data: a JSON object.
        update_id: what the page knows a repeat by; it is put into the data.
    """

    agent_id: str
    data: msgspec.Raw
    update_id: str


class JudgeOnboarding(msgspec.Struct, frozen=True):
    """An onboarding that was handed in is passed or failed.

    Args:
        passed: ``None`` when it could not be judged: the worker is told so and may try again.
    """

    agent_id: str
    passed: bool | None


class EndAgent(msgspec.Struct, frozen=True):
    """End an agent that has not ended yet, with a final status of the wire.

    Args:
        reuse: the unit is given to somebody else, if the options allow it at all.
    """

    agent_id: str
    status: str
    reuse: bool = True


class BlockWorker(msgspec.Struct, frozen=True):
    """This worker is not qualified: no more units from now on."""

    worker_name: str


class CloseRun(msgspec.Struct, frozen=True):
    """Nobody new is let in. Who is in stays in."""


BackendEvent: TypeAlias = (
    Event | AddAssignment | SendUpdate | JudgeOnboarding | EndAgent | BlockWorker | CloseRun
)


# --- effects: what the task's program is told ----------------------------------------------------


class Seated(msgspec.Struct, frozen=True):
    """One agent in its seat."""

    agent_id: str
    unit_id: str
    worker_name: str
    data: msgspec.Raw


class StartUnit(msgspec.Struct, frozen=True):
    """A static unit has its agent: run it."""

    assignment_id: str
    agent: Seated


class StartAssignment(msgspec.Struct, frozen=True):
    """Every seat of a live assignment is taken: run it."""

    assignment_id: str
    agents: tuple[Seated, ...]
    data: msgspec.Raw


class OnboardingSubmitted(msgspec.Struct, frozen=True):
    """Judge these answers; ``JudgeOnboarding`` is owed."""

    agent_id: str
    worker_name: str
    data: msgspec.Raw


class UpdateArrived(msgspec.Struct, frozen=True):
    """A page sent live data, once."""

    agent_id: str
    data: msgspec.Raw
    update_id: str | None


class Submitted(msgspec.Struct, frozen=True):
    """An agent's finished work, once, in whatever state: ``status`` is its status after it."""

    agent_id: str
    unit_id: str
    data: msgspec.Raw
    status: str


class MetadataArrived(msgspec.Struct, frozen=True):
    """Tips or feedback of an agent, once."""

    agent_id: str
    data: msgspec.Raw


class AgentEnded(msgspec.Struct, frozen=True):
    """An agent's life has ended.

    Args:
        has_left: it ended without being done, so partners are left behind; ``False`` when it
            completed, or is one of those partners.
        owes_submission: its partner left, and its page is asked to hand in what it has.
    """

    agent_id: str
    status: str
    has_left: bool
    owes_submission: bool = False


class WorkerRefused(msgspec.Struct, frozen=True):
    """A worker did not get in; ``reason`` is a code of ``worker_pool.FailureReason``."""

    worker_name: str
    reason: str


class ErrorLogged(msgspec.Struct, frozen=True):
    """A page or the router reports an error; the subject ``mephisto`` is the router itself."""

    subject_id: str
    data: msgspec.Raw


class Refused(msgspec.Struct, frozen=True):
    """An input was not taken and changed nothing; for the log.

    Args:
        source: the channel, or ``task`` for the task's own program.
        error_type: a short stable name.
        text: what was wrong and what would be right.
    """

    source: str
    error_type: str
    text: str


BackendEffect: TypeAlias = (
    Effect
    | StartUnit
    | StartAssignment
    | OnboardingSubmitted
    | UpdateArrived
    | Submitted
    | MetadataArrived
    | AgentEnded
    | WorkerRefused
    | ErrorLogged
    | Refused
)
