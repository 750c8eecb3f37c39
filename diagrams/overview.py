"""A graph becomes the few arrows of a picture: grouped, the happy path marked, words said once.

A table of a hundred rows is right to run and wrong to look at. Four steps make it a picture, and
none of them leaves a move out:

1. One arrow for each pair of states, with what pulls it grouped by who pulls it.
2. What leads to the same end from *every* live state is one arrow from all of them together.
3. The *spine* is the happy path: the live states in the order of the table, then the first final
   one. An arrow is the spine's, a shortcut along it, or any other.
4. Words are said once. A later arrow into a state says only what an earlier one has not, and
   nothing if that is nothing: an arrow without words is pulled like its neighbours.
5. Two arrows that join the same two states become one with two heads, if one has no words.

Internal rows stay in their state, so they are no arrows: ``stays`` lists them for each state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import TypeAlias

from statecore.diagrams.graph import Graph

__all__ = ["ALL_LIVE", "Arrow", "Kind", "Pulled", "arrows", "live_states", "spine", "stays"]

# The source of an arrow that leaves every live state; no state has this name.
ALL_LIVE = ""

# Who pulls, and the edge keys (trigger, or trigger and guard) that they pull, in table order.
Pulled: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]


class Kind(StrEnum):
    """What an arrow is to the reader, in the order that pictures list them."""

    SPINE = "spine"
    FROM_ALL = "from all"
    OTHER = "other"
    SHORTCUT = "shortcut"


@dataclass(frozen=True, slots=True)
class Arrow:
    """One arrow of the picture.

    Args:
        source: a state, or ``ALL_LIVE``.
        dest: a state.
        kind: how it is to be drawn.
        pulled: all that pulls it.
        said: what of ``pulled`` no earlier arrow into ``dest`` says.
        back: what pulls the way from ``dest`` to ``source``, if this arrow has two heads; it says
            nothing that other arrows into ``source`` have not said.
    """

    source: str
    dest: str
    kind: Kind
    pulled: Pulled
    said: Pulled
    back: Pulled = ()


def live_states(graph: Graph) -> tuple[str, ...]:
    """The states that are not final, in the table's order."""
    return tuple(state for state, final in graph.nodes(data="final") if not final)


def spine(graph: Graph) -> tuple[str, ...]:
    """The happy path: the live states in the table's order, then the first final one."""
    ends = [state for state, final in graph.nodes(data="final") if final]
    return (*live_states(graph), *ends[:1])


def stays(graph: Graph, state: str) -> Pulled:
    """What a state takes without leaving it."""
    internal = [
        key for _, _, key, row in graph.out_edges(state, keys=True, data=True) if row["internal"]
    ]
    return _by_who(graph, state, state, internal)


def arrows(graph: Graph) -> tuple[Arrow, ...]:
    """The arrows of the picture, kind by kind, each in the table's order of states."""
    moves: dict[tuple[str, str], list[str]] = {}
    for source, dest, key, row in graph.edges(keys=True, data=True):
        if not row["internal"]:
            moves.setdefault((source, dest), []).append(key)
    live = live_states(graph)
    found: list[tuple[Kind, str, str, list[str]]] = []
    for dest, shared in _shared(graph, moves).items():
        found.append((Kind.FROM_ALL, ALL_LIVE, dest, shared))
        for source in live:
            moves[source, dest] = [key for key in moves[source, dest] if key not in shared]
    found += [(_kind(graph, *pair), *pair, keys) for pair, keys in moves.items() if keys]
    kinds, states = list(Kind), [ALL_LIVE, *graph]
    found.sort(key=lambda a: (kinds.index(a[0]), states.index(a[1]), states.index(a[2])))
    drawn: list[Arrow] = []
    said: dict[str, set[str]] = {}
    for kind, source, dest, keys in found:
        before = said.setdefault(dest, set())
        sample = live[0] if source == ALL_LIVE else source
        drawn.append(
            Arrow(
                source,
                dest,
                kind,
                _by_who(graph, sample, dest, keys),
                _by_who(graph, sample, dest, [key for key in keys if key not in before]),
            )
        )
        before.update(keys)
    return _two_headed(drawn)


def _two_headed(drawn: list[Arrow]) -> tuple[Arrow, ...]:
    ways = {(arrow.source, arrow.dest): arrow for arrow in drawn}
    for arrow in drawn:
        way, other = (arrow.source, arrow.dest), (arrow.dest, arrow.source)
        if way in ways and other in ways and way != other and not ways[other].said:
            ways[way] = replace(arrow, back=ways.pop(other).pulled)
    return tuple(ways.values())


def _shared(graph: Graph, moves: dict[tuple[str, str], list[str]]) -> dict[str, list[str]]:
    """For each final state, the edge keys that lead to it from all live states, if there are any."""
    live = live_states(graph)
    shared: dict[str, list[str]] = {}
    for dest, final in graph.nodes(data="final"):
        if final and len(live) > 1:
            first, *others = (moves.get((source, dest), []) for source in live)
            common = [key for key in first if all(key in keys for keys in others)]
            if common:
                shared[dest] = common
    return shared


def _kind(graph: Graph, source: str, dest: str) -> Kind:
    path = spine(graph)
    if (source, dest) in pairwise(path):
        return Kind.SPINE
    if source in path and dest in path and path.index(source) < path.index(dest):
        return Kind.SHORTCUT
    return Kind.OTHER


def _by_who(graph: Graph, source: str, dest: str, keys: list[str]) -> Pulled:
    by_who: dict[str, list[str]] = {}
    for key in keys:
        by_who.setdefault(graph.edges[source, dest, key]["who"], []).append(key)
    return tuple((who, tuple(names)) for who, names in by_who.items())
