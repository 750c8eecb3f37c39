"""A table becomes one ``transitions`` machine, which serves every agent.

The machine has no registered models: a registered model costs memory and a linear-time removal,
and grows methods that no type checker sees. ``fire`` hands the agent in, and the agent stays an
ordinary object with one attribute for its state. Nothing else in the package writes that attribute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transitions import EventData, Machine

from statecore.errors import LocalProtocolError, RemoteProtocolError
from statecore.table import Guard, Lifecycle, Row

__all__ = ["LifecycleMachine"]


class LifecycleMachine:
    """Runs one lifecycle for any number of agents.

    An agent is any object with the lifecycle's attribute (``state`` or ``link``) and, for rows
    that name an outcome, an ``outcome``.
    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.lifecycle = lifecycle
        self.machine: Machine = Machine(
            model=None,
            states=[str(state) for state in lifecycle.states],
            initial=str(lifecycle.initial),
            auto_transitions=False,
            send_event=True,
            model_attribute=lifecycle.attribute,
        )
        for row in lifecycle.rows:
            self.machine.add_transition(
                str(row.trigger),
                str(row.source),
                None if row.dest is None else str(row.dest),
                conditions=[] if row.guard is None else [_condition(row.guard)],
                before=[_take(row)],
            )

    def fire(self, agent: Any, trigger: str, outcome: str | None = None) -> Row | None:
        """Fire one trigger on one agent.

        Args:
            agent: the object whose state may change.
            trigger: one of the lifecycle's triggers.
            outcome: the agent's new outcome, where the row does not say it itself.

        Returns:
            The row that was taken, or ``None`` when the table ignores the pair (or every guard
            said no): then the agent is unchanged.

        Raises:
            RemoteProtocolError: the table refuses the pair; the agent is unchanged.
            LocalProtocolError: there is no such trigger, or the agent is in no such state.
        """
        table = self.lifecycle
        state = getattr(agent, table.attribute)
        if trigger not in table.triggers:
            raise LocalProtocolError(
                f"{trigger!r} is no trigger of {table.name}",
                error_type="unknown-trigger",
                expected=", ".join(sorted(table.triggers)),
            )
        if state not in table.states:
            raise LocalProtocolError(
                f"{state!r} is no state of {table.name}",
                error_type="unknown-state",
                expected=", ".join(table.states),
            )
        verdict = table.verdict(state, trigger)
        if verdict == "ignored":
            return None
        if verdict == "refused":
            raise RemoteProtocolError(
                f"{trigger} while {state}: {table.refused[state, trigger]}",
                error_type="illegal-in-state",
                expected=", ".join(table.legal(state)),
            )
        if type(state) is not str:  # of an enum the library would look up the member's name
            setattr(agent, table.attribute, str(state))
        taken: list[Row] = []
        self.machine.events[str(trigger)].trigger(agent, taken=taken, outcome=outcome)
        return taken[0] if taken else None


def _condition(guard: Guard) -> Callable[[EventData], bool]:
    def condition(event: EventData) -> bool:
        return guard(event.model)

    return condition


def _take(row: Row) -> Callable[[EventData], None]:
    def take(event: EventData) -> None:
        event.kwargs["taken"].append(row)
        outcome = row.outcome if row.outcome is not None else event.kwargs["outcome"]
        if outcome is not None:
            agent: Any = event.model
            agent.outcome = outcome

    return take
