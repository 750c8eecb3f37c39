"""What a table of transitions is: rows as an immutable value, refused at once when it is wrong.

A ``Lifecycle`` decides every (state, trigger) pair: by a row, or by listing it as ignored or refused
with the reason. What is not decided is an error of the table, raised when it is built, so a hole
cannot be found by a user. Users make their own with ``LIFECYCLE.extend(...)``; the diagrams, the
machine and the checks take any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from statecore.errors import TableError

__all__ = ["Guard", "Lifecycle", "Pair", "Row", "Verdict"]

Pair: TypeAlias = tuple[str, str]  # (state, trigger)
Guard: TypeAlias = Callable[[Any], bool]  # reads the agent, changes nothing
Verdict: TypeAlias = Literal["row", "ignored", "refused"]


@dataclass(frozen=True, slots=True)
class Row:
    """One legal move.

    Args:
        source: the state before.
        trigger: what happens.
        dest: the state after; ``None`` for an internal row, which stays and re-enters nothing.
        outcome: the agent's new outcome (a wire status); ``None`` keeps what it had, or takes what
            the caller of ``fire`` gives.
        guard: the row counts only when this says yes; rows of a pair are tried in order.
        action: what the core does with the input besides moving, by name.
    """

    source: str
    trigger: str
    dest: str | None
    outcome: str | None = None
    guard: Guard | None = None
    action: str | None = None

    @property
    def guard_name(self) -> str | None:
        """The guard's name, for pictures and messages; of an unnamed callable, its class's."""
        if self.guard is None:
            return None
        return str(getattr(self.guard, "__name__", type(self.guard).__name__))

    def __str__(self) -> str:
        guard = f" [{self.guard_name}]" if self.guard else ""
        return f"{self.source} --{self.trigger}{guard}--> {self.dest or self.source}"


@dataclass(frozen=True)
class Lifecycle:
    """A table of transitions, complete and without contradiction.

    Args:
        name: for pictures and messages.
        initial: the state that an agent begins in.
        states: all states, in the order that pictures show them.
        final: the states that end an agent's life.
        triggers: all triggers, each with the party that pulls it (page, router, core or timer).
        rows: the legal moves.
        ignored, refused: the other pairs, each with its reason.
        attribute: the attribute of an agent that holds the state.

    Raises:
        TableError: naming the offending rows or pairs.
    """

    name: str
    initial: str
    states: tuple[str, ...]
    final: frozenset[str]
    triggers: Mapping[str, str]
    rows: tuple[Row, ...]
    ignored: Mapping[Pair, str] = field(default_factory=dict[Pair, str])
    refused: Mapping[Pair, str] = field(default_factory=dict[Pair, str])
    attribute: str = "state"
    _by_pair: dict[Pair, tuple[Row, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("triggers", "ignored", "refused"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        by_pair: dict[Pair, tuple[Row, ...]] = {}
        for row in self.rows:
            by_pair[row.source, row.trigger] = (*by_pair.get((row.source, row.trigger), ()), row)
        object.__setattr__(self, "_by_pair", by_pair)
        self._check(by_pair)

    def rows_for(self, state: str, trigger: str) -> tuple[Row, ...]:
        """The rows of one pair, in the order that they are tried; empty when it has none."""
        return self._by_pair.get((state, trigger), ())

    def verdict(self, state: str, trigger: str) -> Verdict:
        """How the table decides a pair."""
        if self.rows_for(state, trigger):
            return "row"
        return "ignored" if (state, trigger) in self.ignored else "refused"

    def legal(self, state: str) -> tuple[str, ...]:
        """The triggers that have a row in this state, sorted; for messages."""
        return tuple(sorted({row.trigger for row in self.rows if row.source == state}))

    def extend(
        self,
        name: str,
        *,
        states: Iterable[str] = (),
        final: Iterable[str] | None = None,
        triggers: Mapping[str, str] | None = None,
        rows: Iterable[Row] = (),
        without: Iterable[Pair] = (),
        ignored: Mapping[Pair, str] | None = None,
        refused: Mapping[Pair, str] | None = None,
    ) -> Lifecycle:
        """A new lifecycle with states, triggers and rows added; this one stays as it is.

        Args:
            name: the name of the new lifecycle.
            states: states to add.
            final: the final states of the new lifecycle; the same as here when not given.
            triggers: triggers to add, with who pulls them.
            rows: rows to add.
            without: pairs whose rows, or reasons, are dropped first.
            ignored: more ignored pairs.
            refused: more refused pairs.

        Raises:
            TableError: the result does not decide every pair exactly once.
        """
        dropped = set(without)
        return Lifecycle(
            name=name,
            initial=self.initial,
            states=(*self.states, *states),
            final=self.final if final is None else frozenset(final),
            triggers={**self.triggers, **(triggers or {})},
            rows=(*(r for r in self.rows if (r.source, r.trigger) not in dropped), *rows),
            ignored={**_without(self.ignored, dropped), **(ignored or {})},
            refused={**_without(self.refused, dropped), **(refused or {})},
            attribute=self.attribute,
        )

    def _check(self, by_pair: Mapping[Pair, tuple[Row, ...]]) -> None:
        known = set(self.states)
        if len(known) != len(self.states):
            raise TableError(f"{self.name}: a state is listed twice in {list(self.states)}")
        for state in (self.initial, *self.final):
            if state not in known:
                raise TableError(f"{self.name}: {state!r} is not one of {list(self.states)}")
        for row in self.rows:
            strange = [s for s in (row.source, row.dest) if s is not None and s not in known]
            if strange:
                raise TableError(f"{self.name}: row {row} names an unknown state {strange[0]!r}")
        for pair, rows in by_pair.items():
            for row in rows[:-1]:
                if row.guard is None:
                    raise TableError(
                        f"{self.name}: row {row} has no guard and hides those after it"
                    )
            if len({row.guard for row in rows}) != len(rows):
                raise TableError(f"{self.name}: two rows for {pair} have the same guard")
        decided = [*by_pair, *self.ignored, *self.refused]
        twice = sorted({pair for pair in decided if decided.count(pair) > 1})
        if twice:
            raise TableError(f"{self.name}: decided twice: {twice}")
        pairs = {(state, trigger) for state in self.states for trigger in self.triggers}
        undecided, unknown = sorted(pairs - set(decided)), sorted(set(decided) - pairs)
        if undecided:
            raise TableError(f"{self.name}: undecided pairs: {undecided}")
        if unknown:
            raise TableError(f"{self.name}: unknown states or triggers: {unknown}")


def _without(reasons: Mapping[Pair, str], dropped: set[Pair]) -> dict[Pair, str]:
    return {pair: reason for pair, reason in reasons.items() if pair not in dropped}
