"""A table is complete and without contradiction, or it is never built."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import Any

import pytest

from statecore.errors import TableError
from statecore.table import Lifecycle, Row


def is_wet(agent: Any) -> bool:
    return bool(agent.wet)


def is_cold(agent: Any) -> bool:
    return bool(agent.cold)


OPEN = Row("shut", "push", "open", "opened", is_wet, "squeak")
STAY = Row("shut", "push", None, guard=is_cold)
SHUT = Row("open", "push", "shut")

DOOR: dict[str, Any] = {
    "name": "door",
    "initial": "shut",
    "states": ("shut", "open", "gone"),
    "final": frozenset({"gone"}),
    "triggers": {"push": "page", "burn": "timer"},
    "rows": (OPEN, STAY, SHUT, Row("shut", "burn", "gone"), Row("open", "burn", "gone")),
    "ignored": {("gone", "push"): "there is no door"},
    "refused": {("gone", "burn"): "it has burnt"},
}


def door(**changes: Any) -> Lifecycle:
    return Lifecycle(**{**DOOR, **changes})


def test_a_row_reads_like_an_arrow() -> None:
    assert [str(row) for row in (OPEN, STAY, SHUT)] == [
        "shut --push [is_wet]--> open",
        "shut --push [is_cold]--> shut",
        "open --push--> shut",
    ]


def test_a_guard_without_a_name_goes_by_its_class() -> None:
    row = Row("open", "push", "shut", guard=partial(is_wet))
    assert str(row) == "open --push [partial]--> shut"
    assert [r.guard_name for r in (OPEN, SHUT)] == ["is_wet", None]


def test_every_pair_has_a_verdict() -> None:
    table = door()
    assert {(s, t): table.verdict(s, t) for s in table.states for t in table.triggers} == {
        ("shut", "push"): "row",
        ("shut", "burn"): "row",
        ("open", "push"): "row",
        ("open", "burn"): "row",
        ("gone", "push"): "ignored",
        ("gone", "burn"): "refused",
    }


def test_rows_of_a_pair_come_in_the_order_that_they_are_tried() -> None:
    table = door()
    assert table.rows_for("shut", "push") == (OPEN, STAY)
    assert table.rows_for("gone", "push") == ()


def test_legal_names_the_triggers_that_have_a_row() -> None:
    assert {state: door().legal(state) for state in door().states} == {
        "shut": ("burn", "push"),
        "open": ("burn", "push"),
        "gone": (),
    }


def test_a_table_is_a_value_that_nobody_changes() -> None:
    reasons = {("gone", "push"): "there is no door"}
    table = door(ignored=reasons)
    reasons.clear()
    assert table.ignored == {("gone", "push"): "there is no door"}
    for mapping in (table.triggers, table.ignored, table.refused):
        assert isinstance(mapping, MappingProxyType)
    with pytest.raises(AttributeError):
        table.name = "gate"  # type: ignore[misc]
    assert door() == door()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"states": ("shut", "open", "gone", "open")},
            "door: a state is listed twice in ['shut', 'open', 'gone', 'open']",
        ),
        ({"initial": "ajar"}, "door: 'ajar' is not one of ['shut', 'open', 'gone']"),
        ({"final": frozenset({"ash"})}, "door: 'ash' is not one of ['shut', 'open', 'gone']"),
        (
            {"rows": (*DOOR["rows"], Row("shut", "push", "ajar"))},
            "door: row shut --push--> ajar names an unknown state 'ajar'",
        ),
        (
            {"rows": (Row("shut", "push", "open"), *DOOR["rows"])},
            "door: row shut --push--> open has no guard and hides those after it",
        ),
        (
            {"rows": (Row("shut", "push", "gone", guard=is_wet), *DOOR["rows"])},
            "door: two rows for ('shut', 'push') have the same guard",
        ),
        (
            {"refused": {("gone", "burn"): "it has burnt", ("shut", "push"): "no"}},
            "door: decided twice: [('shut', 'push')]",
        ),
        ({"refused": {}}, "door: undecided pairs: [('gone', 'burn')]"),
        (
            {"ignored": {("gone", "push"): "none", ("gone", "kick"): "none"}},
            "door: unknown states or triggers: [('gone', 'kick')]",
        ),
        (
            {"rows": (*DOOR["rows"], Row("open", "kick", "gone"))},
            "door: unknown states or triggers: [('open', 'kick')]",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_table_is_refused_when_it_is_built(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(TableError) as caught:
        door(**changes)
    assert str(caught.value) == text


def test_extend_makes_a_new_table_and_leaves_the_old_one() -> None:
    table = door()
    locked = table.extend(
        "locked door",
        states=("locked",),
        final=("gone", "locked"),
        triggers={"lock": "core"},
        rows=(Row("shut", "lock", "locked"), Row("open", "push", "gone")),
        without=(("open", "push"), ("gone", "push"), ("gone", "burn")),
        ignored={
            ("open", "lock"): "it is open",
            ("locked", "push"): "it is locked",
            ("gone", "lock"): "there is no door",
            ("gone", "burn"): "it has burnt",
        },
        refused={
            ("locked", "lock"): "twice",
            ("locked", "burn"): "it is iron",
            ("gone", "push"): "there is no door",
        },
    )
    assert locked == Lifecycle(
        name="locked door",
        initial="shut",
        states=("shut", "open", "gone", "locked"),
        final=frozenset({"gone", "locked"}),
        triggers={"push": "page", "burn": "timer", "lock": "core"},
        rows=(
            OPEN,
            STAY,
            Row("shut", "burn", "gone"),
            Row("open", "burn", "gone"),
            Row("shut", "lock", "locked"),
            Row("open", "push", "gone"),
        ),
        ignored={
            ("open", "lock"): "it is open",
            ("locked", "push"): "it is locked",
            ("gone", "lock"): "there is no door",
            ("gone", "burn"): "it has burnt",
        },
        refused={
            ("locked", "lock"): "twice",
            ("locked", "burn"): "it is iron",
            ("gone", "push"): "there is no door",
        },
    )
    assert table == door()


def test_extend_adds_nothing_by_itself() -> None:
    assert door().extend("door") == door()


def test_extend_must_decide_the_new_pairs() -> None:
    with pytest.raises(TableError, match=r"lockable: undecided pairs: \[\('gone', 'lock'\), "):
        door().extend("lockable", triggers={"lock": "core"})
