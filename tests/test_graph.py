"""Tables and machines become graphs: a node a state, an edge a row."""

from __future__ import annotations

from typing import Any

import networkx as nx
import pytest
from transitions import Machine, State

from statecore.diagrams.graph import Graph, lifecycle_graph, machine_graph
from statecore.lifecycle import LIFECYCLE, LINK, PAGE_LIFECYCLE
from statecore.table import Lifecycle, Row


def is_wet(agent: Any) -> bool:
    return bool(agent.wet)


def is_shut(event: object) -> bool:
    return True


DOOR = Lifecycle(
    name="door",
    initial="shut",
    states=("shut", "open", "gone"),
    final=frozenset({"gone"}),
    triggers={"push": "page", "burn": "timer"},
    rows=(
        Row("shut", "push", "open", "opened", is_wet, "squeak"),
        Row("shut", "push", None),
        Row("open", "push", "shut"),
        Row("shut", "burn", "gone"),
        Row("open", "burn", "gone"),
    ),
    ignored={("gone", "push"): "there is no door", ("gone", "burn"): "there is no door"},
)


def edge(trigger: str, order: int, **attributes: object) -> dict[str, object]:
    plain = {"guard": None, "outcome": None, "action": None, "who": "page", "internal": False}
    return {"trigger": trigger, "order": order, **plain, **attributes}


def edges(graph: Graph) -> dict[tuple[str, str, str], dict[str, object]]:
    return {(a, b, key): row for a, b, key, row in graph.edges(keys=True, data=True)}


def test_a_table_becomes_nodes_and_edges() -> None:
    graph = lifecycle_graph(DOOR)
    assert graph.name == "door"
    assert dict(graph.nodes) == {
        "shut": {"initial": True, "final": False, "order": 0},
        "open": {"initial": False, "final": False, "order": 1},
        "gone": {"initial": False, "final": True, "order": 2},
    }
    assert edges(graph) == {
        ("shut", "open", "push [is_wet]"): edge(
            "push", 0, guard="is_wet", outcome="opened", action="squeak"
        ),
        ("shut", "shut", "push"): edge("push", 1, internal=True),
        ("open", "shut", "push"): edge("push", 2),
        ("shut", "gone", "burn"): edge("burn", 3, who="timer"),
        ("open", "gone", "burn"): edge("burn", 4, who="timer"),
    }


@pytest.mark.parametrize("table", [LIFECYCLE, LINK, PAGE_LIFECYCLE], ids=lambda table: table.name)
def test_every_row_is_an_edge_and_every_edge_a_row(table: Lifecycle) -> None:
    graph = lifecycle_graph(table)
    assert sorted(map(str, table.rows)) == sorted(
        f"{source} --{key}--> {dest}" for source, dest, key in graph.edges(keys=True)
    )
    assert list(graph) == [str(state) for state in table.states]


def test_attributes_are_plain_so_that_any_exporter_takes_them() -> None:
    for graph in (lifecycle_graph(LIFECYCLE), lifecycle_graph(LINK)):
        for record in [*dict(graph.nodes).values(), *edges(graph).values()]:
            assert {type(value) for value in record.values()} <= {str, int, bool, type(None)}
        nx.node_link_data(graph, edges="edges")


def test_guards_of_one_name_make_two_edges() -> None:
    table = Lifecycle(
        name="lamp",
        initial="off",
        states=("off", "on"),
        final=frozenset(),
        triggers={"press": "page"},
        rows=(
            Row("off", "press", "on", guard=lambda agent: bool(agent.dark)),
            Row("off", "press", "on", guard=lambda agent: bool(agent.late)),
            Row("off", "press", "on", guard=lambda agent: bool(agent.lost)),
            Row("on", "press", "off"),
        ),
    )
    assert list(lifecycle_graph(table).edges(keys=True)) == [
        ("off", "on", "press [<lambda>]"),
        ("off", "on", "press [<lambda>] 2"),
        ("off", "on", "press [<lambda>] 3"),
        ("on", "off", "press"),
    ]


@pytest.mark.parametrize("automatic", [True, False])
def test_any_machine_becomes_a_graph(automatic: bool) -> None:
    machine = Machine(
        model=None,
        states=["shut", "open", State("gone", final=True)],
        initial="shut",
        auto_transitions=automatic,
    )
    machine.add_transition("push", "shut", "open", conditions=[is_shut], unless=["is_locked"])
    machine.add_transition("push", "open", "=")
    machine.add_transition("push", "open", None)
    machine.add_transition("burn", "*", "gone")
    graph = machine_graph(machine, "door")
    assert graph.name == "door"
    assert dict(graph.nodes) == {
        "shut": {"initial": True, "final": False, "order": 0},
        "open": {"initial": False, "final": False, "order": 1},
        "gone": {"initial": False, "final": True, "order": 2},
    }
    assert edges(graph) == {
        ("shut", "open", "push [is_shut and not is_locked]"): edge(
            "push", 0, guard="is_shut and not is_locked", who=""
        ),
        ("open", "open", "push"): edge("push", 1, who=""),
        ("open", "open", "push 2"): edge("push", 2, who="", internal=True),
        ("shut", "gone", "burn"): edge("burn", 3, who=""),
        ("open", "gone", "burn"): edge("burn", 4, who=""),
        ("gone", "gone", "burn"): edge("burn", 5, who=""),
    }
