"""The real cores, explored: small worlds closed completely, with the promises that hold in them."""

from __future__ import annotations

import pytest

from statecore.diagrams.explore import Report, explore
from statecore.diagrams.promises import PROMISES, SITUATIONS
from statecore.diagrams.properties import Verdict
from statecore.diagrams.router_world import RouterWorld
from statecore.diagrams.world import Action, Budget, World


def verdicts(report: Report[World, Action]) -> dict[str, Verdict]:
    return {finding.prop.name: finding.verdict for finding in report.findings}


# The number of states is pinned: a change in it is a change of the protocol.
@pytest.mark.parametrize(
    ("budget", "states"),
    [
        (Budget(), 538),
        (Budget(lost_posts=1), 1_203),
        (Budget(timeouts=1), 766),
        (Budget(reloads=1), 6_109),
        (Budget(drops=1), 7_965),
    ],
    ids=lambda value: str(value) if isinstance(value, Budget) else "",
)
def test_every_promise_holds_for_one_static_page(budget: Budget, states: int) -> None:
    report = explore(RouterWorld(1, live=False, budget=budget), PROMISES)
    assert report.closed
    assert verdicts(report) == {prop.name: Verdict.HOLDS for prop in PROMISES}
    assert report.states == states


def test_a_router_crash_loses_what_only_memory_held() -> None:
    """Until submissions are stored, S2 ends where the router's memory does; the rest holds."""
    report = explore(RouterWorld(1, live=False, budget=Budget(router_crashes=1)), PROMISES)
    violated = [name for name, verdict in verdicts(report).items() if verdict is Verdict.VIOLATED]
    assert violated == [
        "S2 a submission that got a 2xx reaches the task",
        "S4 page, router and backend come to agree",
    ]


def test_one_live_page_chats_with_itself_and_completes() -> None:
    report = explore(RouterWorld(1), (*PROMISES, SITUATIONS[0]))
    assert report.closed
    assert set(verdicts(report).values()) == {Verdict.HOLDS}


def test_two_live_pages_keep_every_safety_promise_as_far_as_the_budget_goes() -> None:
    """Not closed here: a violation would be found, its absence is not proved."""
    report = explore(RouterWorld(2, budget=Budget(drops=1)), PROMISES, max_states=5_000)
    assert not report.closed
    assert set(verdicts(report).values()) == {Verdict.UNDETERMINED}


def test_a_world_is_not_changed_by_its_steps() -> None:
    world = RouterWorld(1, budget=Budget(drops=1, reloads=1, router_crashes=1))
    state = world.initial()
    for _ in range(12):
        before = state.key()
        following = [world.step(state, action) for action in world.actions(state)]
        assert state.key() == before
        state = following[0]
