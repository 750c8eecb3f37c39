"""The workers that an author's function works with, while it runs.

An agent sends and receives live updates and hands in its work. When somebody leaves, whatever waits
for agents raises ``AgentLeft`` (``PartnerLeft`` in a live task). A function that does not catch it
ends there, which is fine: the others are told, and may still hand in what they have.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol, TypeAlias

import anyio
import msgspec

__all__ = [
    "Agent",
    "AgentDone",
    "AgentLeft",
    "Assignment",
    "Group",
    "Json",
    "PartnerLeft",
    "Post",
    "TaskError",
    "Unit",
    "encode",
]

Json: TypeAlias = Any

# So many live updates wait for an author's function that does not read them; more are dropped.
INBOX = 1_000


class TaskError(Exception):
    """The task's program did what cannot be done; the text says what would be right."""


class AgentLeft(Exception):  # noqa: N818  # part of a life, not a mistake
    """An agent is gone, and was not done.

    Attributes:
        agent: who left.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__(f"agent {agent.agent_id} ({agent.worker}) has left: {agent.status}")
        self.agent = agent


class PartnerLeft(AgentLeft):
    """In a live task one agent has left, so it cannot go on as it was."""


class AgentDone(Exception):  # noqa: N818  # part of a life, not a mistake
    """An agent has handed in, so no more updates come from it."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(f"agent {agent.agent_id} ({agent.worker}) has handed in")
        self.agent = agent


class Post(Protocol):
    """How an agent's updates get to its page; the task server's part."""

    async def send(self, agent_id: str, data: msgspec.Raw, update_id: str | None) -> str:
        """Send, and wait while too much waits already; returns the update's id."""
        ...

    def end(self, agent_id: str, status: str, *, reuse: bool) -> None:
        """End an agent that has not ended."""
        ...


class Group:
    """Agents that run together: one for a unit, several for an assignment."""

    def __init__(self, *, is_live: bool) -> None:
        self.is_live = is_live
        self.agents: list[Agent] = []
        self.inbox: deque[tuple[Agent, Json]] = deque()
        self.left: Agent | None = None
        self._changed = anyio.Event()

    def change(self) -> None:
        """Something came or ended: whoever waits looks again."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def changed(self) -> None:
        """Return after the next change."""
        await self._changed.wait()

    def check_left(self) -> None:
        """Raises ``AgentLeft`` or ``PartnerLeft`` when somebody has."""
        if self.left is not None:
            raise (PartnerLeft if self.is_live else AgentLeft)(self.left)

    async def next_update(self, agent: Agent | None) -> tuple[Agent, Json]:
        """The next update of this agent, or of anybody; what came before a leaving comes first."""
        while True:
            for index, (sender, update) in enumerate(self.inbox):
                if agent is None or sender is agent:
                    del self.inbox[index]
                    return sender, update
            self.check_left()
            waited_for = self.agents if agent is None else [agent]
            if all(each.has_ended for each in waited_for):
                raise AgentDone(waited_for[-1])
            await self.changed()


class Agent:
    """One worker at work.

    Attributes:
        agent_id: the agent's id on the wire.
        unit_id: the name of its unit.
        worker: the worker's name.
        data: what its page works on.
        status: how it ended, as on the wire; ``None`` while it works.
    """

    def __init__(
        self, group: Group, post: Post, *, agent_id: str, unit_id: str, worker: str, data: Json
    ) -> None:
        self.agent_id = agent_id
        self.unit_id = unit_id
        self.worker = worker
        self.data = data
        self.status: str | None = None
        self._group = group
        self._post = post
        self._handed_in: list[Json] = []
        self._has_left = False

    def __repr__(self) -> str:
        return f"Agent({self.agent_id!r}, worker={self.worker!r})"

    @property
    def has_ended(self) -> bool:
        """It works no more: it handed in, it left, or its partner did."""
        return self.status is not None

    @property
    def has_left(self) -> bool:
        """It is gone and was not done."""
        return self._has_left

    @property
    def has_submitted(self) -> bool:
        """Its work has come."""
        return bool(self._handed_in)

    async def send(self, message: Mapping[str, Json], *, update_id: str | None = None) -> str:
        """Send a live update to its page; waits while too much waits already.

        Args:
            message: a JSON object.
            update_id: what the page knows a repeat by; a new one by default.

        Returns:
            The update's id.

        Raises:
            TaskError: the message is not JSON, or larger than a router takes.
        """
        data = encode(message, f"the message for agent {self.agent_id}")
        return await self._post.send(self.agent_id, data, update_id)

    async def receive(self) -> dict[str, Json]:
        """The next live update from its page.

        Raises:
            AgentLeft: it has left; in a live task, ``PartnerLeft`` when anybody has.
            AgentDone: it has handed in.
        """
        _, update = await self._group.next_update(self)
        return update  # type: ignore[no-any-return]  # the core takes objects only

    async def updates(self) -> AsyncGenerator[dict[str, Json]]:
        """Its live updates, until it hands in.

        Raises:
            AgentLeft: it has left; in a live task, ``PartnerLeft`` when anybody has.
        """
        while True:
            try:
                update = await self.receive()
            except AgentDone:
                return
            yield update

    async def submission(self) -> Json:
        """Its finished work; when a partner has left, what it hands in after that.

        Raises:
            AgentLeft: it has left without it.
        """
        while not self._handed_in:
            if self._has_left:
                raise AgentLeft(self)
            await self._group.changed()
        return self._handed_in[0]

    def end(self, status: str, *, reuse: bool = True) -> None:
        """End it with a final status of the wire, such as "timeout"; its partners are told."""
        self._post.end(self.agent_id, status, reuse=reuse)

    # What the task server tells it.

    def take_update(self, update: Json) -> bool:
        """An update arrived; ``False`` when there is no room for it."""
        if len(self._group.inbox) >= INBOX * len(self._group.agents):
            return False
        self._group.inbox.append((self, update))
        self._group.change()
        return True

    def take_submission(self, data: Json) -> None:
        """Its work arrived."""
        self._handed_in.append(data)
        self._group.change()

    def take_end(self, status: str, *, has_left: bool) -> None:
        """Its life has ended."""
        self.status = status
        self._has_left = has_left
        if has_left and self._group.left is None:
            self._group.left = self
        self._group.change()


class Unit:
    """A static unit, with the one agent that works on it.

    Attributes:
        unit_id: its name.
        data: what the page works on.
        agent: who works on it.
    """

    def __init__(self, agent: Agent) -> None:
        self.unit_id = agent.unit_id
        self.data = agent.data
        self.agent = agent
        self.worker = agent.worker
        self.send = agent.send
        self.receive = agent.receive
        self.updates = agent.updates
        self.submission = agent.submission


class Assignment:
    """A live assignment, with all its agents.

    Attributes:
        assignment_id: its name.
        data: what the author gave.
        agents: in the order of their seats.
    """

    def __init__(self, group: Group, assignment_id: str, data: Json) -> None:
        self.assignment_id = assignment_id
        self.data = data
        self.agents = tuple(group.agents)
        self._group = group

    async def broadcast(self, message: Mapping[str, Json], *, update_id: str | None = None) -> None:
        """Send one live update to every agent's page."""
        for agent in self.agents:
            update_id = await agent.send(message, update_id=update_id)

    async def updates(self) -> AsyncGenerator[tuple[Agent, dict[str, Json]]]:
        """Everybody's live updates as they come, until all have handed in.

        Raises:
            PartnerLeft: somebody has left.
        """
        while True:
            try:
                sender, update = await self._group.next_update(None)
            except AgentDone:
                return
            yield sender, update


def encode(value: Json, what: str) -> msgspec.Raw:
    """A value as JSON.

    Raises:
        TaskError: it is not JSON; says what is meant.
    """
    try:
        return msgspec.Raw(json.dumps(value, separators=(",", ":"), allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise TaskError(
            f"{what} is not JSON: {error}; "
            "expected: dict, list, str, numbers that are finite, bool or None"
        ) from None
