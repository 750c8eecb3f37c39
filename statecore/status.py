"""The wire's statuses, the machine's states, and which status means which state.

*State* is the machine's word, *status* is the wire's. Many statuses mean one state: the page of a
worker whose partner left and the page of a worker whose work was approved are both completed.
The mapping is read by the page's side and by the documentation; the router moves states only by
the rows of ``lifecycle.py``.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["FINAL_STATES", "LIVE_STATES", "STATE_OF", "LinkState", "State", "Status"]


class State(StrEnum):
    """The seven states of an agent, named as the Architect API names them."""

    CONNECTING = "connecting"
    ONBOARDING = "onboarding"
    WAITING = "waiting"
    IN_TASK = "in_task"
    COMPLETED = "completed"
    DISCONNECTED = "disconnected"
    FAILED = "failed"


FINAL_STATES = frozenset({State.COMPLETED, State.DISCONNECTED, State.FAILED})
LIVE_STATES = frozenset(State) - FINAL_STATES


class LinkState(StrEnum):
    """The states of an agent's socket, a table of its own: a link is not a lifecycle."""

    ABSENT = "absent"
    UP = "up"
    LOST = "lost"
    DEAD = "dead"


class Status(StrEnum):
    """The statuses that travel on the wire (docs/protocol.md, "Statuses")."""

    NONE = "none"
    ACCEPTED = "accepted"
    ONBOARDING = "onboarding"
    WAITING = "waiting"
    IN_TASK = "in task"
    COMPLETED = "completed"
    DISCONNECT = "disconnect"
    TIMEOUT = "timeout"
    PARTNER_DISCONNECT = "partner disconnect"
    EXPIRED = "expired"
    RETURNED = "returned"
    APPROVED = "approved"
    SOFT_REJECTED = "soft_rejected"
    REJECTED = "rejected"
    # Never sent by a core: a page shows it when the core has been silent for too long.
    MEPHISTO_DISCONNECT = "mephisto disconnect"


# "none" means no state at all: it moves nothing, and a page that hears it keeps what it has.
STATE_OF: dict[Status, State | None] = {
    Status.NONE: None,
    Status.ACCEPTED: State.WAITING,
    Status.ONBOARDING: State.ONBOARDING,
    Status.WAITING: State.WAITING,
    Status.IN_TASK: State.IN_TASK,
    Status.COMPLETED: State.COMPLETED,
    Status.PARTNER_DISCONNECT: State.COMPLETED,
    Status.APPROVED: State.COMPLETED,
    Status.SOFT_REJECTED: State.COMPLETED,
    Status.REJECTED: State.COMPLETED,
    Status.DISCONNECT: State.DISCONNECTED,
    Status.TIMEOUT: State.DISCONNECTED,
    Status.EXPIRED: State.DISCONNECTED,
    Status.RETURNED: State.DISCONNECTED,
    Status.MEPHISTO_DISCONNECT: State.DISCONNECTED,
}
