"""A graph becomes Mermaid text: the same bytes every time, readable without colours."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from transitions import Machine

from statecore.diagrams.graph import lifecycle_graph, machine_graph
from statecore.diagrams.mermaid import mermaid
from statecore.lifecycle import LIFECYCLE, LINK
from statecore.table import Lifecycle, Row

HEAD = '%%{init: {"flowchart": {"rankSpacing": 36, "nodeSpacing": 48}}}%%\nflowchart TB\n'
CLASSES = """\
  classDef start fill:#57606a,stroke:#57606a,color:#57606a
  classDef live fill:#ddf4ff,stroke:#0969da,stroke-width:2px,color:#0a3069
  classDef any fill:#f6f8fa,stroke:#0969da,stroke-dasharray:4 3,color:#0a3069
  classDef final fill:#eaeef2,stroke:#57606a,stroke-width:2px,color:#1f2328
"""


def test_the_link_is_drawn_to_the_byte() -> None:
    assert mermaid(lifecycle_graph(LINK)) == (
        HEAD
        + """\
  start(( )):::start
  s0("absent"):::live
  s1("up"):::live
  s2("lost"):::live
  s3("dead"):::live
  start --> s0
  s0 ==>|"page: opened"| s1
  s1 <==>|"page: closed"| s2
  s2 ==>|"timer: grace over"| s3
  s1 <-.->|"timer: silent"| s3
  s2 -->|"core: registered"| s0
  s3 --> s0
"""
        + CLASSES
    )


def test_states_may_list_what_they_take_without_leaving() -> None:
    lines = mermaid(lifecycle_graph(LINK), internal=True).splitlines()
    assert '  s1("up<br><br>stays on<br>page: opened"):::live' in lines
    assert '  s2("lost"):::live' in lines


def test_the_agents_picture_fits_a_readme() -> None:
    """Wide labels make GitHub shrink a picture until nobody reads it."""
    text = mermaid(lifecycle_graph(LIFECYCLE))
    labels = re.findall(r'"(.*?)"', text.removeprefix(HEAD))
    assert max(len(line) for label in labels for line in label.split("<br>")) <= 26
    assert len(re.findall(r"[-=.~]{2,}", text.split("classDef")[0])) <= 20


def test_shapes_say_what_colours_say() -> None:
    lines = mermaid(lifecycle_graph(LIFECYCLE)).splitlines()
    drawn = {line.strip().split(":::")[0] for line in lines if ":::" in line}
    assert drawn == {
        "start(( ))",
        's0("connecting")',
        's1("onboarding")',
        's2("waiting")',
        's3("in task")',
        'any{{"any live state"}}',
        's4[["completed"]]',
        's5[["disconnected"]]',
        's6[["failed"]]',
    }


def test_the_same_table_gives_the_same_bytes_in_every_process() -> None:
    code = "from statecore.diagrams import draw; print(draw(), end='')"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert texts == {mermaid(lifecycle_graph(LIFECYCLE))}


def test_names_are_text_and_nothing_else() -> None:
    table = Lifecycle(
        name="odd",
        initial='a "b"',
        states=('a "b"', "c#d<i>"),
        final=frozenset({"c#d<i>"}),
        triggers={"go": ""},
        rows=(
            Row('a "b"', "go", "c#d<i>", guard=lambda agent: bool(agent)),
            Row("c#d<i>", "go", None),
        ),
    )
    assert mermaid(lifecycle_graph(table)).splitlines()[2:7] == [
        "  start(( )):::start",
        '  s0("a #quot;b#quot;"):::live',
        '  s1[["c#35;d#lt;i#gt;"]]:::final',
        "  start --> s0",
        '  s0 ==>|"go [#lt;lambda#gt;]"| s1',
    ]


def test_a_machine_without_a_beginning_or_parties_is_drawn_too() -> None:
    machine = Machine(model=None, states=["on", "off"], initial=None, auto_transitions=False)
    machine.add_transition("press", "on", "off")
    machine.add_transition("press", "off", "on")
    assert mermaid(machine_graph(machine)) == (
        HEAD
        + """\
  s0("on"):::live
  s1("off"):::live
  s0 ==>|"press"| s1
  s1 -->|"press"| s0
"""
        + CLASSES
    )
