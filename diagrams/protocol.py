"""docs/protocol.md: the rules from docs/protocol.template.md, the tables from the tables that run.

A mark such as ``{{limits}}`` in the template stands for a generated table or a constant; a mark that
means nothing is an error, and so is a table that no mark asks for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields

from statecore.diagrams.graph import lifecycle_graph
from statecore.diagrams.mermaid import mermaid
from statecore.envelope import MAX_DIGITS, MAX_NAME, MAX_NESTING
from statecore.lifecycle import LIFECYCLE, LINK, STATUS_TRIGGERS, Trigger
from statecore.packets import PACKETS, Party
from statecore.router_state import (
    CLOSE_CORE_REPLACED,
    CLOSE_NOT_ALLOWED,
    CLOSE_REPLACED,
    CLOSE_SILENT,
    CLOSE_TAKEN_OVER,
    CLOSE_UNKNOWN,
)
from statecore.settings import RouterOptions
from statecore.status import STATE_OF, State, Status
from statecore.table import Lifecycle, Row

__all__ = ["protocol"]

# The packets whose fate hangs on the agent's state, with the trigger that decides it.
_BY_STATE = {
    "mephisto_bound_live_update": Trigger.LIVE_UPDATE,
    "submit_onboarding": Trigger.SUBMIT_ONBOARDING,
    "submit_unit": Trigger.SUBMIT_UNIT,
    "submit_metadata": Trigger.SUBMIT_METADATA,
}


_NOTE = "<!-- Written by `make docs` from protocol.template.md and the tables that run. -->"

# Constants that the rules name.
_CONSTANTS = {
    "CLOSE_CORE_REPLACED": CLOSE_CORE_REPLACED,
    "CLOSE_NOT_ALLOWED": CLOSE_NOT_ALLOWED,
    "CLOSE_REPLACED": CLOSE_REPLACED,
    "CLOSE_SILENT": CLOSE_SILENT,
    "CLOSE_TAKEN_OVER": CLOSE_TAKEN_OVER,
    "CLOSE_UNKNOWN": CLOSE_UNKNOWN,
    "MAX_DIGITS": f"{MAX_DIGITS:,}",
    "MAX_NAME": MAX_NAME,
    "MAX_NESTING": MAX_NESTING,
}


def protocol(template: str) -> str:
    """The whole document; the same bytes for the same tables.

    Args:
        template: the text of docs/protocol.template.md.

    Raises:
        ValueError: the template's marks are not exactly the tables and constants that there are.
    """
    values = {name: str(value) for name, value in _CONSTANTS.items()} | {
        "packets": _packets(),
        "legal": _legal(),
        "statuses": _statuses(),
        "lifecycle": _lifecycle(LIFECYCLE),
        "link": _lifecycle(LINK),
        "limits": _limits(),
    }
    marks = set(re.findall(r"\{\{(\w+)\}\}", template))
    if marks != set(values):
        raise ValueError(f"marks without a meaning, or unused: {sorted(marks ^ set(values))}")
    title, _, rest = template.partition("\n")
    text = re.sub(r"\{\{(\w+)\}\}", lambda mark: values[mark[1]], rest)
    return f"{title}\n\n{_NOTE}\n{text}"


def _packets() -> str:
    rows = (
        (
            f"`{rule.packet_type}`",
            ", ".join(rule.senders),
            ", ".join(rule.receivers),
            rule.subject,
            rule.data,
            "yes" if rule.needs_object else "",
        )
        for rule in PACKETS.values()
    )
    return _table(("packet_type", "from", "to", "subject_id", "data", "must be an object"), rows)


def _legal() -> str:
    rows: list[tuple[str, ...]] = []
    for kind, rule in PACKETS.items():
        trigger = _BY_STATE.get(kind)
        if trigger is not None:
            rows.append((f"`{kind}`", *(_fate(LIFECYCLE, state, trigger) for state in State)))
        elif Party.PAGE in rule.senders or Party.PAGE in rule.receivers:
            rows.append((f"`{kind}`", *("taken" for _ in State)))
    return _table(("packet", *map(_words, State)), rows)


def _fate(table: Lifecycle, state: str, trigger: str) -> str:
    """What becomes of a packet: the actions of its rows in the order that they are tried."""
    rows = table.rows_for(state, trigger)
    if not rows:
        return table.verdict(state, trigger)
    *guarded, last = rows
    fates = [
        f"{row.action} if {_words(row.guard_name)}"
        for row in guarded
        if row.guard_name and row.action != last.action
    ]
    return ", else ".join([*fates, str(last.action)])


def _statuses() -> str:
    rows = [
        (
            f"`{status}`",
            _words(STATE_OF[status] or "none"),
            "shown by a page only" if status is Status.MEPHISTO_DISCONNECT else _moves(status),
        )
        for status in Status
    ]
    return _table(("status", "means the state", "brings an agent there from"), rows)


def _moves(status: Status) -> str:
    trigger = STATUS_TRIGGERS[status]
    sources = [s for s in State if any(row.dest for row in LIFECYCLE.rows_for(s, trigger))]
    return ", ".join(map(_words, sources)) or "nowhere: it moves nothing"


def _lifecycle(table: Lifecycle) -> str:
    parts = [f"```mermaid\n{mermaid(lifecycle_graph(table))}```"]
    for state in table.states:
        kind = " (initial)" if state == table.initial else " (final)" * (state in table.final)
        parts.append(f"#### {_words(state)}{kind}")
        rows = [_row(table, row) for row in table.rows if row.source == state]
        parts.append(_table(("trigger", "pulled by", "goes to", "outcome", "action"), rows))
        for name, pairs in (("Ignored", table.ignored), ("Refused", table.refused)):
            reasons: dict[str, list[str]] = {}
            for (source, trigger), reason in sorted(pairs.items()):
                if source == state:
                    reasons.setdefault(reason, []).append(f"`{trigger}`")
            if reasons:
                items = [f"- {', '.join(t)}: {reason}." for reason, t in reasons.items()]
                parts.append("\n".join([f"{name}:\n", *items]))
    return "\n\n".join(parts)


def _row(table: Lifecycle, row: Row) -> tuple[str, ...]:
    guard = f" if {_words(row.guard_name)}" if row.guard_name else ""
    return (
        f"`{row.trigger}`{guard}",
        table.triggers[row.trigger],
        "stays" if row.dest is None else _words(row.dest),
        row.outcome or "",
        row.action or "",
    )


def _limits() -> str:
    described = _arguments(RouterOptions)
    rows = [
        (f"`{field.name}`", _amount(field.default), described[field.name])
        for field in fields(RouterOptions)
    ]
    return _table(("option", "default", "what it bounds"), rows)


def _arguments(kind: type) -> dict[str, str]:
    """The texts of a docstring's ``Args``, by name; names that share a text each get it."""
    found: dict[str, str] = {}
    doc = inspect.getdoc(kind) or ""
    for names, text in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", doc, re.MULTILINE):
        for name in names.split(", "):
            found[name] = re.sub(r"\s+", " ", text).replace("``", "`").rstrip(".")
    return found


def _amount(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f} s"
    if isinstance(value, int) and value and value % (1 << 10) == 0:
        return f"{value >> 20} MiB" if value % (1 << 20) == 0 else f"{value >> 10} KiB"
    return f"{value:,}" if isinstance(value, int) else "none"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _words(name: str) -> str:
    return name.replace("_", " ")
