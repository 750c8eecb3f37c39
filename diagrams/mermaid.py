"""A graph becomes Mermaid text, which GitHub draws by itself; pure, and the same bytes every time.

What colours say, shapes and strokes say too: live states are rounded, final ones have a double
border, the initial one has a dot before it; the happy path is thick, its shortcuts are dashed, and
what can happen in every live state leaves one box that stands for all of them.
"""

from __future__ import annotations

import textwrap

from statecore.diagrams.graph import Graph
from statecore.diagrams.overview import ALL_LIVE, Arrow, Kind, Pulled, arrows, live_states, stays

__all__ = ["mermaid"]

_INIT = '%%{init: {"flowchart": {"rankSpacing": 36, "nodeSpacing": 48}}}%%\n'
_WIDTH = 26  # characters of a label before it wraps: the picture stays as wide as a README
_STROKES = {
    Kind.SPINE: "==>",
    Kind.FROM_ALL: "-->",
    Kind.OTHER: "-->",
    Kind.SHORTCUT: "-.->",
}
_PLACES = {
    Kind.SPINE: 1,
    Kind.SHORTCUT: 2,
    Kind.FROM_ALL: 3,
    Kind.OTHER: 4,
}
_CLASSES = (
    "classDef start fill:#57606a,stroke:#57606a,color:#57606a",
    "classDef live fill:#ddf4ff,stroke:#0969da,stroke-width:2px,color:#0a3069",
    "classDef any fill:#f6f8fa,stroke:#0969da,stroke-dasharray:4 3,color:#0a3069",
    "classDef final fill:#eaeef2,stroke:#57606a,stroke-width:2px,color:#1f2328",
)
_ESCAPES = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;"})
_PUSH = "status_"  # the core's pushes are named after the status that they carry


def mermaid(graph: Graph, *, internal: bool = False) -> str:
    """Draw a graph as a Mermaid flowchart.

    Args:
        graph: as ``statecore.diagrams.graph`` makes it.
        internal: also list in each state what it takes without leaving it.

    Returns:
        The text, ending in a newline.
    """
    drawn = arrows(graph)
    live = live_states(graph)
    order = {state: int(node["order"]) for state, node in graph.nodes.items()}
    ids = {ALL_LIVE: "any"} | {state: f"s{number}" for state, number in order.items()}
    # Mermaid places what it reads first to the left: exits, then the happy path, then the rest.
    met = {arrow.dest for arrow in drawn if arrow.kind in (Kind.SPINE, Kind.FROM_ALL)}
    exits = [state for state in graph if state not in live and state not in met]
    starts = [state for state, initial in graph.nodes(data="initial") if initial]
    has_any = any(arrow.source == ALL_LIVE for arrow in drawn)
    texts = {state: _state(graph, state, internal=internal) for state in graph}
    lines = [
        *(f'{ids[state]}[["{texts[state]}"]]:::final' for state in exits),
        *("start(( )):::start" for _ in starts),
        *(f'{ids[state]}("{texts[state]}"):::live' for state in live),
        *(['any{{"any live state"}}:::any'] if has_any else []),
        *(f'{ids[s]}[["{texts[s]}"]]:::final' for s in graph if s not in live and s in met),
        *([f"{ids[live[-2]]} ~~~ any"] if has_any else []),  # beside the last live state
        *(f"start --> {ids[state]}" for state in starts),
    ]
    groups: dict[int, list[Arrow]] = {}
    for arrow in drawn:
        place = 0 if arrow.dest in exits else _PLACES[arrow.kind]
        groups.setdefault(place, []).append(arrow)
    for place, group in sorted(groups.items()):
        # The longer way first, or the two labels below "any live state" cover each other.
        ordered = reversed(group) if place == _PLACES[Kind.FROM_ALL] else group
        lines += [_stroke(arrow, ids, order) for arrow in ordered]
    return _INIT + "\n  ".join(("flowchart TB", *lines, *_CLASSES)) + "\n"


def _state(graph: Graph, state: str, *, internal: bool) -> str:
    inside = _wrapped(stays(graph, state)) if internal else []
    return "<br>".join([_words(state), *(["<br>stays on", *inside] if inside else [])])


def _stroke(arrow: Arrow, ids: dict[str, str], order: dict[str, int]) -> str:
    words = _label(arrow)
    above, below, stroke = arrow.source, arrow.dest, _STROKES[arrow.kind]
    if arrow.back:
        stroke = f"<{stroke}"
        if order[above] > order[below]:
            above, below = below, above
            words = f"to {_words(arrow.dest)}<br>{words}" if words else ""
    return f"{ids[above]} {stroke}" + (f'|"{words}"|' if words else "") + f" {ids[below]}"


def _label(arrow: Arrow) -> str:
    """One line or more for each party: ``core: details agent, status waiting``."""
    return "<br>".join(_wrapped(arrow.said, "also " if arrow.said != arrow.pulled else ""))


def _wrapped(pulled: Pulled, first: str = "") -> list[str]:
    return [
        line
        for who, names in _named(pulled)
        for line in textwrap.wrap(
            first + (f"{who}: " if who else "") + ", ".join(names), _WIDTH, break_on_hyphens=False
        )
    ]


def _named(pulled: Pulled) -> list[tuple[str, list[str]]]:
    named: list[tuple[str, list[str]]] = []
    for who, keys in pulled:
        pushes = [_words(key.removeprefix(_PUSH)) for key in keys if key.startswith(_PUSH)]
        if pushes:
            pushes[0] = f"status {pushes[0]}"
        named.append((who, [_words(key) for key in keys if not key.startswith(_PUSH)] + pushes))
    return named


def _words(name: str) -> str:
    """A name as words; what Mermaid or HTML would read as more than text is escaped."""
    return name.replace("_", " ").translate(_ESCAPES)
