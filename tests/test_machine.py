"""One machine for all agents: it moves by the table, and a refused input changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import pytest

from statecore.errors import LocalProtocolError, RemoteProtocolError
from statecore.machine import LifecycleMachine
from statecore.table import Lifecycle, Row


class Door(StrEnum):
    SHUT = "shut"
    OPEN = "open"
    GONE = "gone"


@dataclass(slots=True)
class Agent:
    door: str = "shut"
    outcome: str = ""
    wet: bool = False
    stuck: bool = False


def is_wet(agent: Agent) -> bool:
    return agent.wet


def not_stuck(agent: Agent) -> bool:
    return not agent.stuck


def is_angry(agent: Any) -> bool:
    raise ZeroDivisionError("a guard's own fault")


SWELL = Row("shut", "push", None, "swollen", is_wet)
OPEN = Row("shut", "push", "open", "opened", not_stuck)
SHUT = Row("open", "push", "shut")
BURN = Row("open", "burn", "gone")

MACHINE = LifecycleMachine(
    Lifecycle(
        name="door",
        initial=Door.SHUT,
        states=tuple(Door),
        final=frozenset({Door.GONE}),
        triggers={"push": "page", "burn": "timer", "kick": "page"},
        rows=(SWELL, OPEN, SHUT, BURN, Row("open", "kick", "gone", guard=is_angry)),
        ignored={("gone", "push"): "there is no door", ("shut", "kick"): "it holds"},
        refused={
            ("shut", "burn"): "it is too thick",
            ("gone", "burn"): "it has burnt",
            ("gone", "kick"): "there is no door",
        },
        attribute="door",
    )
)


@pytest.mark.parametrize(
    ("before", "trigger", "row", "after"),
    [
        (Agent(), "push", OPEN, Agent("open", "opened")),
        (Agent(wet=True), "push", SWELL, Agent("shut", "swollen", wet=True)),
        (Agent(wet=True, stuck=True), "push", SWELL, Agent("shut", "swollen", True, True)),
        (Agent(stuck=True), "push", None, Agent(stuck=True)),
        (Agent("open", "opened"), "push", SHUT, Agent("shut", "opened")),
        (Agent("open"), "burn", BURN, Agent("gone")),
        (Agent("gone", "old"), "push", None, Agent("gone", "old")),
        (Agent("shut"), "kick", None, Agent("shut")),
    ],
)
def test_fire_takes_the_first_row_whose_guard_says_yes(
    before: Agent, trigger: str, row: Row | None, after: Agent
) -> None:
    agent = replace(before)
    assert MACHINE.fire(agent, trigger) == row
    assert agent == after


def test_the_caller_gives_the_outcome_where_the_row_has_none() -> None:
    agent = Agent("open", "opened")
    assert MACHINE.fire(agent, "burn", "in the night") == BURN
    assert agent == Agent("gone", "in the night")
    agent = Agent()
    assert MACHINE.fire(agent, "push", "in the night") == OPEN
    assert agent == Agent("open", "opened")


def test_a_refused_trigger_names_the_state_the_reason_and_what_is_legal() -> None:
    agent = Agent(outcome="as it was")
    with pytest.raises(RemoteProtocolError) as caught:
        MACHINE.fire(agent, "burn", "never")
    assert str(caught.value) == "burn while shut: it is too thick; expected: push"
    assert caught.value.error_type == "illegal-in-state"
    assert agent == Agent(outcome="as it was")


def test_an_unknown_trigger_is_our_own_fault() -> None:
    agent = Agent()
    with pytest.raises(LocalProtocolError) as caught:
        MACHINE.fire(agent, "pull")
    assert str(caught.value) == "'pull' is no trigger of door; expected: burn, kick, push"
    assert caught.value.error_type == "unknown-trigger"
    assert agent == Agent()


def test_an_unknown_state_is_our_own_fault() -> None:
    agent = Agent("ajar")
    with pytest.raises(LocalProtocolError) as caught:
        MACHINE.fire(agent, "push")
    assert str(caught.value) == "'ajar' is no state of door; expected: shut, open, gone"
    assert caught.value.error_type == "unknown-state"
    assert agent == Agent("ajar")


def test_a_member_of_an_enum_is_as_good_as_its_text() -> None:
    agent = Agent(Door.SHUT)
    assert MACHINE.fire(agent, "push") == OPEN
    assert agent == Agent("open", "opened")
    assert type(agent.door) is str


def test_a_guard_that_raises_changes_nothing() -> None:
    agent = Agent("open", "opened")
    with pytest.raises(ZeroDivisionError):
        MACHINE.fire(agent, "kick")
    assert agent == Agent("open", "opened")


def test_the_machine_keeps_no_agent_and_adds_nothing_to_it() -> None:
    agent = Agent()
    names = dir(agent)
    MACHINE.fire(agent, "push")
    assert MACHINE.machine.models == []
    assert dir(agent) == names
