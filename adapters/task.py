"""What a task's author writes: a task's definition, as a value.

Nothing here knows packets or sockets. A static task runs one ``async def`` for each unit, a live
one for each assignment::

    async def run(assignment: Assignment) -> None:
        async for agent, update in assignment.updates():
            await assignment.broadcast({"from": agent.worker, "text": update["text"]})

    chat = LiveTask(name="chat", assignments=[{"topic": "tea"}], seats=2, run=run)
    run_task(chat, "ws://127.0.0.1:3000/")

``agents.py`` has what the functions work with, ``task_server.py`` runs them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from statecore.adapters.agents import Assignment, Json, Unit, encode
from statecore.settings import BackendOptions

__all__ = ["LiveTask", "StaticTask", "Submission", "Task"]


class Submission(msgspec.Struct, frozen=True):
    """Finished work, whenever it came: also after its agent had left or its function had ended."""

    unit_id: str
    agent_id: str
    worker: str
    data: Json
    status: str


# Definitions ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every task has; use ``StaticTask`` or ``LiveTask``.

    Args:
        name: for logs.
        onboarding: judges the answers of a worker's onboarding. Without it there is none.
        onboarding_data: what the onboarding's page gets.
        max_units_per_worker, allowed_concurrent: limits; 0 for none.
        reuse_units: work whose agent left is given to somebody else, as far as that can be.
        on_submission: called with each submission, once.
        on_metadata: called with an agent's id and its tips or feedback.
        config: what the page finds in ``task_config.json``.
        ahead: so many units or assignments are drawn from the data in advance; it may be endless.
    """

    name: str
    onboarding: Callable[[Json], bool | Awaitable[bool]] | None = None
    onboarding_data: Json = field(default_factory=dict)
    max_units_per_worker: int = 0
    allowed_concurrent: int = 0
    reuse_units: bool = True
    on_submission: Callable[[Submission], object] | None = None
    on_metadata: Callable[[str, Json], object] | None = None
    config: Mapping[str, Json] = field(default_factory=dict)
    ahead: int = 1_000

    @property
    def is_live(self) -> bool:
        """Whether agents work together."""
        raise NotImplementedError

    @property
    def work(self) -> Iterable[Json]:
        """The data of its units or assignments."""
        raise NotImplementedError

    @property
    def seats_each(self) -> int:
        """How many agents work on each."""
        raise NotImplementedError

    @property
    def options(self) -> BackendOptions:
        """What its core needs to know.

        Raises:
            TaskError: the onboarding's data is not JSON.
        """
        data = encode(self.onboarding_data, f"onboarding_data of task {self.name!r}")
        return BackendOptions(
            is_live=self.is_live,
            needs_onboarding=self.onboarding is not None,
            onboarding_data=bytes(data),
            max_units_per_worker=self.max_units_per_worker,
            allowed_concurrent=self.allowed_concurrent,
            reuse_units=self.reuse_units,
        )


async def _await_submission(unit: Unit) -> None:
    await unit.submission()


@dataclass(frozen=True, kw_only=True)
class StaticTask(Task):
    """Units that people work on alone.

    Args:
        units: the data of each unit.
        copies: how many different workers do each.
        run: called for each agent; without it, the submission is all that counts.
    """

    units: Iterable[Json]
    copies: int = 1
    run: Callable[[Unit], Awaitable[None]] = _await_submission

    @property
    def is_live(self) -> bool:
        """It is not."""
        return False

    @property
    def work(self) -> Iterable[Json]:
        """Its units."""
        return self.units

    @property
    def seats_each(self) -> int:
        """Its copies."""
        return self.copies


@dataclass(frozen=True, kw_only=True)
class LiveTask(Task):
    """Assignments that several people work on together, at the same time.

    Args:
        assignments: the data of each, an object.
        seats: how many agents each has.
        run: called when all of an assignment's seats are taken.
    """

    assignments: Iterable[Mapping[str, Json]]
    run: Callable[[Assignment], Awaitable[None]]
    seats: int = 2

    @property
    def is_live(self) -> bool:
        """It is."""
        return True

    @property
    def work(self) -> Iterable[Json]:
        """Its assignments."""
        return self.assignments

    @property
    def seats_each(self) -> int:
        """Its seats."""
        return self.seats
