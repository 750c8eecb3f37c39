"""The demo's chat: two people, one topic, and what happens when one of them leaves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import anyio

from statecore.adapters.agents import Agent, AgentLeft, Assignment
from statecore.adapters.task import LiveTask

__all__ = ["chat"]

LONGEST = 2_000  # characters of a message; the page's own limit

TOPICS = (
    "What did you learn lately that surprised you?",
    "Plan a picnic for six people, one of whom hates grass.",
    "Which invention do we use every day and never think about?",
    "Agree on three things that every kitchen needs.",
    "Describe the view from a window, and let the other guess where it is.",
)


def topics() -> Iterator[dict[str, Any]]:
    """One topic for each pair, without end."""
    return ({"topic": topic} for topic in itertools.cycle(TOPICS))


async def run(assignment: Assignment) -> None:
    """Pass every message on to both, until both have handed in."""
    names = [agent.worker for agent in assignment.agents]
    await assignment.broadcast({"type": "joined", "names": names})
    try:
        async with anyio.create_task_group() as tasks:
            for agent in assignment.agents:
                tasks.start_soon(tell_of_submission, agent, assignment)
            async for agent, update in assignment.updates():
                await pass_on(assignment, agent, update)
    except* AgentLeft as left:
        gone = next(leaves(left)).agent
        for agent in assignment.agents:
            if agent is not gone:
                await agent.send({"type": "ended", "reason": f"{gone.worker} has left"})


async def pass_on(assignment: Assignment, sender: Agent, update: dict[str, Any]) -> None:
    """A message goes to both: its writer sees by it that it counts."""
    text = update.get("text")
    if update.get("type") != "message" or not isinstance(text, str) or not text.strip():
        return
    message = {"type": "message", "from": sender.worker, "text": text[:LONGEST]}
    update_id = update.get("update_id")
    await assignment.broadcast(message, update_id=update_id if update_id else None)


async def tell_of_submission(agent: Agent, assignment: Assignment) -> None:
    """The other one should know why no more answers come."""
    await agent.submission()
    await assignment.broadcast({"type": "finished", "from": agent.worker})


def leaves(group: BaseExceptionGroup[AgentLeft]) -> Iterator[AgentLeft]:
    """The exceptions in a group of groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


chat = LiveTask(
    name="chat",
    assignments=topics(),
    seats=2,
    run=run,
    config={"task_title": "Chat", "task_description": "Two people talk about one topic."},
)
