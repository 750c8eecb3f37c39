"""A table of transitions becomes a graph: one node a state, one edge a row.

The graph is made of the same value that the machine runs, so nothing can be drawn or searched that
does not run, and nothing runs that is not drawn.

1. A node is a state, with ``initial``, ``final`` and ``order`` (where the table lists it).
2. An edge is a row. Its key is ``trigger`` or ``trigger [guard]``; its attributes are ``trigger``,
   ``guard``, ``outcome``, ``action``, ``who`` (the party that pulls the trigger), ``internal`` (it
   stays and re-enters nothing) and ``order``.
3. All attributes are plain texts, numbers or ``None``, so any exporter of networkx takes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import networkx as nx

from statecore.table import Lifecycle

if TYPE_CHECKING:
    from transitions import Machine

    Graph: TypeAlias = nx.MultiDiGraph[str]
else:
    Graph: TypeAlias = nx.MultiDiGraph

__all__ = ["Graph", "lifecycle_graph", "machine_graph"]


def lifecycle_graph(lifecycle: Lifecycle) -> Graph:
    """The graph of a lifecycle table."""
    graph: Graph = nx.MultiDiGraph(name=lifecycle.name)
    _add_states(graph, lifecycle.states, lifecycle.initial, lifecycle.final)
    for row in lifecycle.rows:
        _add_edge(
            graph,
            str(row.source),
            str(row.source if row.dest is None else row.dest),
            trigger=str(row.trigger),
            guard=row.guard_name,
            outcome=_text(row.outcome),
            action=_text(row.action),
            who=str(lifecycle.triggers[row.trigger]),
            internal=row.dest is None,
        )
    return graph


def machine_graph(machine: Machine, name: str = "machine") -> Graph:
    """The graph of any flat ``transitions`` machine.

    The triggers that the library adds by itself (``to_<state>``) are left out: they lead from
    everywhere to everywhere and say nothing about the machine.
    """
    graph: Graph = nx.MultiDiGraph(name=name)
    states = list(machine.states)
    automatic = {f"to_{state}" for state in states if machine.auto_transitions}
    final = {state for state, value in machine.states.items() if value.final}
    _add_states(graph, states, machine.initial, final)
    for trigger, event in machine.events.items():
        if trigger in automatic:
            continue
        for source, transitions in event.transitions.items():
            for transition in transitions:
                guards = [_guard_text(condition) for condition in transition.conditions]
                _add_edge(
                    graph,
                    source,
                    source if transition.dest is None else transition.dest,
                    trigger=trigger,
                    guard=" and ".join(guards) or None,
                    outcome=None,
                    action=None,
                    who="",
                    internal=transition.dest is None,
                )
    return graph


def _add_states(
    graph: Graph, states: Iterable[str], initial: str | None, final: Iterable[str]
) -> None:
    ends = set(final)
    for order, state in enumerate(states):
        graph.add_node(str(state), initial=state == initial, final=state in ends, order=order)


def _add_edge(graph: Graph, source: str, dest: str, **attributes: Any) -> None:
    guard, trigger = attributes["guard"], attributes["trigger"]
    key = name = trigger if guard is None else f"{trigger} [{guard}]"
    again = 2
    while graph.has_edge(source, dest, key):  # two guards may share a name, as lambdas do
        key = f"{name} {again}"
        again += 1
    graph.add_edge(source, dest, key, order=graph.number_of_edges(), **attributes)


def _guard_text(condition: Any) -> str:
    func = condition.func
    name = func if isinstance(func, str) else getattr(func, "__name__", type(func).__name__)
    return name if condition.target else f"not {name}"


def _text(value: str | None) -> str | None:
    return None if value is None else str(value)
