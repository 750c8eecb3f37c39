"""``statecore diagram``'s work: what a target may be, and the sentence when it is something else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from statecore.diagrams import DiagramError, draw, load_target
from statecore.diagrams.graph import lifecycle_graph, machine_graph
from statecore.diagrams.mermaid import mermaid
from statecore.lifecycle import LIFECYCLE, LINK

EXPECTED = "expected a Lifecycle, a LifecycleMachine or a transitions.Machine"
MODULE = """
from statecore.lifecycle import LINK
from statecore.machine import LifecycleMachine
from transitions import Machine
from transitions.extensions import HierarchicalMachine

links = LifecycleMachine(LINK)
lamp = Machine(model=None, states=["on", "off"], initial="on")
lamp.add_transition("press", "on", "off")
nested = HierarchicalMachine(model=None, states=["a", {"name": "b", "children": ["c"]}])

class House:
    lamp = lamp
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the current directory."""
    (tmp_path / "a_house.py").write_text(MODULE)
    (tmp_path / "a_ruin.py").write_text("1 / 0")
    (tmp_path / "a_borrower.py").write_text("import nothing_of_that_name")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "a_house", raising=False)
    return "a_house"


def test_without_a_target_it_is_the_built_in_lifecycle() -> None:
    assert draw() == draw(None, "mermaid") == mermaid(lifecycle_graph(LIFECYCLE))


def test_a_target_is_a_lifecycle_or_a_machine(module: str) -> None:
    assert draw("statecore.lifecycle:LINK") == mermaid(lifecycle_graph(LINK))
    assert draw(f"{module}:links") == mermaid(lifecycle_graph(LINK))
    lamp = mermaid(machine_graph(load_target(f"{module}:lamp")))
    assert draw(f"{module}:lamp") == draw(f"{module}:House.lamp") == lamp
    assert '"press"' in lamp
    assert "to on" not in lamp


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("a_house", "'a_house' is no target; expected module:attribute"),
        (":links", "':links' is no target; expected module:attribute"),
        ("a_house:", "'a_house:' is no target; expected module:attribute"),
        ("no_house:links", "no_house:links: there is no module 'no_house'"),
        ("no.house:links", "no.house:links: there is no module 'no'"),
        ("a_house.cellar:x", "a_house.cellar:x: there is no module 'a_house.cellar'"),
        ("a_house:door", "a_house:door: 'a_house' has no attribute 'door'"),
        ("a_house:House.door", "a_house:House.door: 'a_house' has no attribute 'House.door'"),
        (
            "a_ruin:x",
            "a_ruin:x: importing it failed: ZeroDivisionError: division by zero",
        ),
        (
            "a_borrower:x",
            "a_borrower:x: importing it failed: No module named 'nothing_of_that_name'",
        ),
        ("a_house:nested", "a_house:nested has nested states; expected a flat machine"),
        (
            "a_house:House",
            f"a_house:House is a type; {EXPECTED}",
        ),
    ],
)
def test_what_cannot_be_drawn_is_named_in_a_sentence(module: str, target: str, text: str) -> None:
    path = list(sys.path)
    with pytest.raises(DiagramError) as caught:
        draw(target)
    assert str(caught.value) == text
    assert isinstance(caught.value, ValueError)
    assert sys.path == path


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(DiagramError, match=r"^there is no format 'gif'; known: mermaid$"):
        draw(format="gif")


def test_without_networkx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name in ("statecore.diagrams.graph", "statecore.diagrams.mermaid"):
            monkeypatch.delitem(sys.modules, name)
        if name.startswith("statecore.diagrams.over"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(DiagramError) as caught:
        draw()
    assert str(caught.value) == "drawing needs networkx: pip install 'statecore[diagrams]'"
