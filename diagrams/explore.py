"""Breadth-first exploration of a system: every order of everything that can happen.

The system is any object with ``initial()``, ``actions(state)``, ``step(state, action)`` and ``key(state)``;
``world.py`` makes one of the very cores that run in production. States with equal keys are explored once.
The first counterexample is a shortest one, because the search goes breadth first.

What this does not prove: anything beyond the bounds of the system given (its agents, its fault budget), and
anything about time, for here a timer may fire whenever it is set. ``eventually`` assumes that whatever stays
possible happens at some time (fairness); a scheduler that starves one party for ever is outside of it.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import networkx as nx

from statecore.diagrams.properties import Kind, Property, Verdict
from statecore.errors import StatecoreError

__all__ = ["ExplorationError", "Finding", "Report", "System", "explore"]

S = TypeVar("S")
A = TypeVar("A")


class System(Protocol[S, A]):
    """What can be explored. States are values: ``step`` returns a new one and changes none."""

    def initial(self) -> S:
        """The state in which everything begins."""
        ...

    def actions(self, state: S) -> Iterable[A]:
        """What can happen next, in a fixed order."""
        ...

    def step(self, state: S, action: A) -> S:
        """The state after this action; the same for the same arguments."""
        ...

    def key(self, state: S) -> Hashable:
        """Equal for states that behave alike."""
        ...

    def is_fault(self, action: A) -> bool:
        """Whether the action is a fault, which ``eventually`` supposes to stop."""
        ...


class ExplorationError(StatecoreError):
    """The system or a property broke the rules of exploring; the message names the step."""


@dataclass(frozen=True)
class Finding(Generic[S, A]):
    """The verdict on one property.

    Args:
        prop: the property.
        verdict: holds, violated or undetermined.
        story: the actions that lead to the state that decides: a counterexample of a violated
            property, an example of a ``sometimes`` that holds; else empty.
    """

    prop: Property[S]
    verdict: Verdict
    story: tuple[A, ...] = ()


@dataclass(frozen=True)
class Report(Generic[S, A]):
    """What an exploration saw.

    Args:
        closed: every reachable state was visited.
        states, transitions: how many.
        depth: the length of the longest shortest path.
        seconds: how long it took.
        findings: one for each property, in the order given.
    """

    closed: bool
    states: int
    transitions: int
    depth: int
    seconds: float
    findings: tuple[Finding[S, A], ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Every property holds; undetermined is not a pass."""
        return all(finding.verdict is Verdict.HOLDS for finding in self.findings)


class _Search(Generic[S, A]):
    """The visited graph, compactly: a number a state, its parent and the action that led there."""

    def __init__(self, system: System[S, A]) -> None:
        self.system = system
        self.numbers: dict[Hashable, int] = {}
        self.parents = array("q")
        self.actions: list[A | None] = []
        self.depths = array("q")
        self.edges: list[tuple[int, int]] = []  # without faults, for `eventually`

    def number(self, state: S, parent: int, action: A | None) -> tuple[int, bool]:
        """The number of a state, and whether it is new."""
        key = self.system.key(state)
        try:
            known = self.numbers.get(key)
        except TypeError as error:
            raise ExplorationError(
                f"the key of a state is not hashable ({error}), after {self.story(parent, action)}"
            ) from None
        if known is not None:
            return known, False
        number = len(self.parents)
        self.numbers[key] = number
        self.parents.append(parent)
        self.actions.append(action)
        self.depths.append(0 if parent < 0 else self.depths[parent] + 1)
        return number, True

    def story(self, number: int, last: A | None = None) -> tuple[A, ...]:
        """The actions from the beginning to a state."""
        actions = [] if last is None else [last]
        while number >= 0:
            action = self.actions[number]
            if action is not None:
                actions.append(action)
            number = self.parents[number]
        return tuple(reversed(actions))


def explore(
    system: System[S, A],
    properties: Sequence[Property[S]] = (),
    *,
    max_states: int | None = None,
    max_seconds: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report[S, A]:
    """Visit every state that can be reached, within the budget.

    Args:
        system: what to explore.
        properties: what to judge on the way.
        max_states: the budget of states; when it is spent, what is not decided is undetermined.
        max_seconds: the budget of time, likewise.
        progress: called now and then with the states visited and those still to expand.

    Raises:
        ExplorationError: a key is not hashable, a property raised, or a step is not
            deterministic; the message has the actions that lead there.
    """
    began = time.monotonic()
    search = _Search(system)
    decided: dict[str, tuple[Verdict, int]] = {}
    wants_edges = any(p.kind is Kind.EVENTUALLY for p in properties)
    good: dict[str, set[int]] = {p.name: set() for p in properties if p.kind is Kind.EVENTUALLY}

    def judge(state: S, number: int) -> None:
        for prop in properties:
            if prop.name in decided:
                continue
            try:
                holds = prop.holds(state)
            except Exception as error:
                raise ExplorationError(
                    f"property {prop.name!r} raised {error!r} after {search.story(number)}"
                ) from error
            if prop.kind is Kind.ALWAYS and not holds:
                decided[prop.name] = (Verdict.VIOLATED, number)
            elif prop.kind is Kind.SOMETIMES and holds:
                decided[prop.name] = (Verdict.HOLDS, number)
            elif prop.kind is Kind.EVENTUALLY and holds:
                good[prop.name].add(number)

    first = system.initial()
    judge(first, search.number(first, -1, None)[0])
    frontier: deque[tuple[int, S]] = deque([(0, first)])
    transitions, closed = 0, True
    while frontier:
        if _spent(search, began, max_states, max_seconds):
            closed = False
            break
        number, state = frontier.popleft()
        for action in system.actions(state):
            after = system.step(state, action)
            transitions += 1
            reached, is_new = search.number(after, number, action)
            if wants_edges and not system.is_fault(action):
                search.edges.append((number, reached))
            if is_new:
                if transitions % 4_096 == 1 and search.numbers.get(system.key(after)) != reached:
                    raise ExplorationError(f"key is not stable after {search.story(reached)}")
                judge(after, reached)
                frontier.append((reached, after))
        if progress is not None and number % 1_000 == 0:
            progress(len(search.parents), len(frontier))
    return Report(
        closed=closed,
        states=len(search.parents),
        transitions=transitions,
        depth=max(search.depths),
        seconds=time.monotonic() - began,
        findings=tuple(_finding(search, p, decided, good, closed=closed) for p in properties),
    )


def _spent(
    search: _Search[S, A], began: float, max_states: int | None, max_seconds: float | None
) -> bool:
    return (max_states is not None and len(search.parents) >= max_states) or (
        max_seconds is not None and time.monotonic() - began >= max_seconds
    )


def _finding(
    search: _Search[S, A],
    prop: Property[S],
    decided: dict[str, tuple[Verdict, int]],
    good: dict[str, set[int]],
    *,
    closed: bool,
) -> Finding[S, A]:
    if prop.name in decided:
        verdict, number = decided[prop.name]
        return Finding(prop, verdict, search.story(number))
    if not closed:
        return Finding(prop, Verdict.UNDETERMINED)
    if prop.kind is Kind.SOMETIMES:
        return Finding(prop, Verdict.VIOLATED)
    if prop.kind is Kind.EVENTUALLY:
        trap = _trap(search, good[prop.name])
        if trap is not None:
            return Finding(prop, Verdict.VIOLATED, search.story(trap))
    return Finding(prop, Verdict.HOLDS)


def _trap(search: _Search[S, A], good: set[int]) -> int | None:
    """A state of a set that, without faults, cannot be left and contains nothing good."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(search.parents)))
    graph.add_edges_from(search.edges)
    component = {}
    members: list[set[int]] = list(nx.strongly_connected_components(graph))
    for index, nodes in enumerate(members):
        for node in nodes:
            component[node] = index
    left = {component[a] for a, b in search.edges if component[a] != component[b]}
    traps = [
        min(nodes) for index, nodes in enumerate(members) if index not in left and not nodes & good
    ]
    return min(traps, default=None)
