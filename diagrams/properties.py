"""Named claims about a system, and the verdicts that an exploration gives on them.

A property is a sentence with a predicate. ``always`` must hold in every state that can be reached,
``sometimes`` in at least one (it proves that the interesting situation happens at all), ``eventually``
says that the system can never get away for good: once faults stop, every path leads into a set of states
that it cannot leave, and each such set contains a good one.

A verdict has three values. *Undetermined* means that the budget was spent before the answer was known;
it is never a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

__all__ = ["Kind", "Property", "Verdict", "always", "eventually", "sometimes"]

S = TypeVar("S")


class Kind(StrEnum):
    """What a property claims."""

    ALWAYS = "always"
    SOMETIMES = "sometimes"
    EVENTUALLY = "eventually"


class Verdict(StrEnum):
    """What an exploration found out."""

    HOLDS = "holds"
    VIOLATED = "violated"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class Property(Generic[S]):
    """A sentence about the states of a system.

    Args:
        kind: always, sometimes or eventually.
        name: the sentence, as reports print it; it begins with the promise's number if it has one.
        holds: whether one state is good. It reads the state and changes nothing.
    """

    kind: Kind
    name: str
    holds: Callable[[S], bool]


def always(name: str, holds: Callable[[S], bool]) -> Property[S]:
    """Every state that can be reached is good."""
    return Property(Kind.ALWAYS, name, holds)


def sometimes(name: str, holds: Callable[[S], bool]) -> Property[S]:
    """Some state that can be reached is good."""
    return Property(Kind.SOMETIMES, name, holds)


def eventually(name: str, holds: Callable[[S], bool]) -> Property[S]:
    """Without further faults, the system cannot avoid the good states for ever."""
    return Property(Kind.EVENTUALLY, name, holds)
