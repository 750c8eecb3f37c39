"""The explorer on small systems whose answers are known by hand."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import pytest

from statecore.diagrams.explore import ExplorationError, explore
from statecore.diagrams.properties import Property, Verdict, always, eventually, sometimes


class Counter:
    """Counts up to a limit; a fault may break it, and then it is stuck."""

    def __init__(self, limit: int = 5) -> None:
        self.limit = limit

    def initial(self) -> int:
        return 0

    def actions(self, state: int) -> Iterable[str]:
        if 0 <= state < self.limit:
            yield "up"
        if state == 3:
            yield "break"

    def step(self, state: int, action: str) -> int:
        return state + 1 if action == "up" else -1

    def key(self, state: int) -> Hashable:
        return state

    def is_fault(self, action: str) -> bool:
        return action == "break"


def verdicts(*properties: Property[int], limit: int = 5) -> list[Verdict]:
    return [finding.verdict for finding in explore(Counter(limit), properties).findings]


def test_explorer_visits_every_state_once_and_reports_the_figures() -> None:
    report = explore(Counter())
    assert (report.closed, report.states, report.transitions, report.depth) == (True, 7, 6, 5)
    assert report.passed


def test_explorer_finds_the_shortest_story_of_a_violated_always() -> None:
    (finding,) = explore(Counter(), [always("never negative", lambda s: s >= 0)]).findings
    assert finding.verdict is Verdict.VIOLATED
    assert finding.story == ("up", "up", "up", "break")


def test_explorer_gives_an_example_of_a_sometimes_and_refuses_one_that_never_happens() -> None:
    report = explore(
        Counter(), [sometimes("two", lambda s: s == 2), sometimes("ten", lambda s: s == 10)]
    )
    assert [f.verdict for f in report.findings] == [Verdict.HOLDS, Verdict.VIOLATED]
    assert report.findings[0].story == ("up", "up")
    assert not report.passed


def test_explorer_judges_eventually_with_the_faults_removed() -> None:
    # The fault leads into a state that cannot be left: reaching the end is not certain after it.
    assert verdicts(eventually("ends", lambda s: s == 5)) == [Verdict.VIOLATED]
    assert verdicts(eventually("ends or broke", lambda s: s in (5, -1))) == [Verdict.HOLDS]


def test_explorer_says_undetermined_when_the_budget_is_spent() -> None:
    report = explore(
        Counter(1_000),
        [always("small", lambda s: s < 900), sometimes("big", lambda s: s > 900)],
        max_states=10,
    )
    assert not report.closed
    assert [f.verdict for f in report.findings] == [Verdict.UNDETERMINED] * 2
    assert not explore(Counter(), [always("any", lambda _: True)], max_seconds=0).passed


def test_explorer_names_the_step_at_which_a_property_raises() -> None:
    def faulty(state: int) -> bool:
        return 1 / (state - 2) < 9

    with pytest.raises(ExplorationError, match=r"'faulty' raised .*after \('up', 'up'\)"):
        explore(Counter(), [always("faulty", faulty)])


def test_explorer_refuses_a_key_that_is_not_hashable() -> None:
    class Unhashable(Counter):
        def key(self, state: int) -> Hashable:
            return [state]  # type: ignore[return-value]  # what the test is about

    with pytest.raises(ExplorationError, match="not hashable"):
        explore(Unhashable())


def test_explorer_detects_a_key_that_changes_between_two_looks() -> None:
    class Unstable(Counter):
        looks = 0

        def key(self, state: int) -> Hashable:
            self.looks += 1
            return (state, self.looks)

    with pytest.raises(ExplorationError, match="not stable"):
        explore(Unstable())


def test_explorer_reports_progress() -> None:
    seen: list[tuple[int, int]] = []
    explore(Counter(), progress=lambda states, left: seen.append((states, left)))
    assert seen == [(2, 1)]
