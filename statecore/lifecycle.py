"""THE TABLE: everything that moves an agent, in one file.

Theory of operation
-------------------
An *agent* is one worker's seat in a task. Its life has seven states and its socket has four, in two
tables, because a link is not a life: a static page never opens a socket and still completes.

1. The core is the authority. It pushes statuses, and they may skip steps, because they are read late
   and dropped while its connection is down; so every live state has a row for every status.
2. The link can only end an agent that opened a socket: after the grace time without one, or when the
   socket is up and silent. The router then reports ``disconnect``, which the core believes for good.
3. Final is final, except for the rows below the line "out of a final state". They are there because
   the core has the last word (it may time out somebody who was asked to submit, and it may take a
   submission that raced a disconnect), and for nothing else.
4. Work is never refused for the state: the router's view is up to one poll old, so a submission is
   always forwarded and the core decides. Only a repeat of one that already got its 2xx stops here.
5. A live update is forwarded where the agent works, held where it may be about to, refused at the end.
6. ``none`` and ``accepted`` move nothing.

If it moves a state, it is a row here. The pictures, the machine and the checks read this file.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from statecore.status import FINAL_STATES, LinkState, State, Status
from statecore.table import Lifecycle, Pair, Row

__all__ = [
    "LIFECYCLE",
    "LINK",
    "PAGE_LIFECYCLE",
    "STATUS_TRIGGERS",
    "Action",
    "LinkTrigger",
    "PageTrigger",
    "Trigger",
]


class Trigger(StrEnum):
    """What can move an agent; the names of the ``status_`` ones end in the wire's status."""

    DETAILS_ONBOARDING = "details_onboarding"
    DETAILS_AGENT = "details_agent"
    DETAILS_REFUSED = "details_refused"
    REQUEST_EXPIRED = "request_expired"
    STATUS_NONE = "status_none"
    STATUS_ACCEPTED = "status_accepted"
    STATUS_ONBOARDING = "status_onboarding"
    STATUS_WAITING = "status_waiting"
    STATUS_IN_TASK = "status_in_task"
    STATUS_COMPLETED = "status_completed"
    STATUS_PARTNER_DISCONNECT = "status_partner_disconnect"
    STATUS_APPROVED = "status_approved"
    STATUS_SOFT_REJECTED = "status_soft_rejected"
    STATUS_REJECTED = "status_rejected"
    STATUS_DISCONNECT = "status_disconnect"
    STATUS_TIMEOUT = "status_timeout"
    STATUS_EXPIRED = "status_expired"
    STATUS_RETURNED = "status_returned"
    LINK_DEAD = "link_dead"
    LIVE_UPDATE = "live_update"
    SUBMIT_ONBOARDING = "submit_onboarding"
    SUBMIT_UNIT = "submit_unit"
    SUBMIT_METADATA = "submit_metadata"


class Action(StrEnum):
    """What the core does with the packet that a row is about."""

    FORWARD = "forward"
    HOLD = "hold"
    ANSWER_ONLY = "answer only"


# The trigger of each status that a core may push.
STATUS_TRIGGERS: dict[Status, Trigger] = {
    status: Trigger("status_" + status.value.replace(" ", "_"))
    for status in Status
    if status is not Status.MEPHISTO_DISCONNECT
}


def has_submitted(agent: Any) -> bool:
    """A submission of this agent already got its 2xx."""
    return bool(agent.submitted)


def disconnect_untold(agent: Any) -> bool:
    """The link ended this agent and no poll has carried it to the core yet."""
    return agent.link_ended and not agent.told


S, T, A = State, Trigger, Action

_ROWS = (
    # The answer to a registration or an onboarding (docs/protocol.md, "agent_details").
    Row(S.CONNECTING, T.DETAILS_ONBOARDING, S.ONBOARDING),
    Row(S.CONNECTING, T.DETAILS_AGENT, S.WAITING),
    Row(S.CONNECTING, T.DETAILS_REFUSED, S.FAILED),
    Row(S.CONNECTING, T.REQUEST_EXPIRED, S.FAILED),
    Row(S.ONBOARDING, T.DETAILS_ONBOARDING, None),
    Row(S.ONBOARDING, T.DETAILS_AGENT, S.WAITING),
    Row(S.ONBOARDING, T.DETAILS_REFUSED, S.FAILED),
    Row(S.WAITING, T.DETAILS_AGENT, None),
    Row(S.WAITING, T.DETAILS_REFUSED, S.FAILED),
    Row(S.IN_TASK, T.DETAILS_AGENT, None),
    # The core pushes a status to an agent whose seat was only just named.
    Row(S.CONNECTING, T.STATUS_ONBOARDING, S.ONBOARDING, Status.ONBOARDING),
    Row(S.CONNECTING, T.STATUS_WAITING, S.WAITING, Status.WAITING),
    Row(S.CONNECTING, T.STATUS_IN_TASK, S.IN_TASK, Status.IN_TASK),
    Row(S.CONNECTING, T.STATUS_COMPLETED, S.COMPLETED, Status.COMPLETED),
    Row(S.CONNECTING, T.STATUS_PARTNER_DISCONNECT, S.COMPLETED, Status.PARTNER_DISCONNECT),
    Row(S.CONNECTING, T.STATUS_APPROVED, S.COMPLETED, Status.APPROVED),
    Row(S.CONNECTING, T.STATUS_SOFT_REJECTED, S.COMPLETED, Status.SOFT_REJECTED),
    Row(S.CONNECTING, T.STATUS_REJECTED, S.COMPLETED, Status.REJECTED),
    Row(S.CONNECTING, T.STATUS_DISCONNECT, S.DISCONNECTED, Status.DISCONNECT),
    Row(S.CONNECTING, T.STATUS_TIMEOUT, S.DISCONNECTED, Status.TIMEOUT),
    Row(S.CONNECTING, T.STATUS_EXPIRED, S.DISCONNECTED, Status.EXPIRED),
    Row(S.CONNECTING, T.STATUS_RETURNED, S.DISCONNECTED, Status.RETURNED),
    # ... to one in onboarding.
    Row(S.ONBOARDING, T.STATUS_ONBOARDING, None, Status.ONBOARDING),
    Row(S.ONBOARDING, T.STATUS_WAITING, S.WAITING, Status.WAITING),
    Row(S.ONBOARDING, T.STATUS_IN_TASK, S.IN_TASK, Status.IN_TASK),
    Row(S.ONBOARDING, T.STATUS_COMPLETED, S.COMPLETED, Status.COMPLETED),
    Row(S.ONBOARDING, T.STATUS_PARTNER_DISCONNECT, S.COMPLETED, Status.PARTNER_DISCONNECT),
    Row(S.ONBOARDING, T.STATUS_APPROVED, S.COMPLETED, Status.APPROVED),
    Row(S.ONBOARDING, T.STATUS_SOFT_REJECTED, S.COMPLETED, Status.SOFT_REJECTED),
    Row(S.ONBOARDING, T.STATUS_REJECTED, S.COMPLETED, Status.REJECTED),
    Row(S.ONBOARDING, T.STATUS_DISCONNECT, S.DISCONNECTED, Status.DISCONNECT),
    Row(S.ONBOARDING, T.STATUS_TIMEOUT, S.DISCONNECTED, Status.TIMEOUT),
    Row(S.ONBOARDING, T.STATUS_EXPIRED, S.DISCONNECTED, Status.EXPIRED),
    Row(S.ONBOARDING, T.STATUS_RETURNED, S.DISCONNECTED, Status.RETURNED),
    # ... to one that waits.
    Row(S.WAITING, T.STATUS_WAITING, None, Status.WAITING),
    Row(S.WAITING, T.STATUS_IN_TASK, S.IN_TASK, Status.IN_TASK),
    Row(S.WAITING, T.STATUS_COMPLETED, S.COMPLETED, Status.COMPLETED),
    Row(S.WAITING, T.STATUS_PARTNER_DISCONNECT, S.COMPLETED, Status.PARTNER_DISCONNECT),
    Row(S.WAITING, T.STATUS_APPROVED, S.COMPLETED, Status.APPROVED),
    Row(S.WAITING, T.STATUS_SOFT_REJECTED, S.COMPLETED, Status.SOFT_REJECTED),
    Row(S.WAITING, T.STATUS_REJECTED, S.COMPLETED, Status.REJECTED),
    Row(S.WAITING, T.STATUS_DISCONNECT, S.DISCONNECTED, Status.DISCONNECT),
    Row(S.WAITING, T.STATUS_TIMEOUT, S.DISCONNECTED, Status.TIMEOUT),
    Row(S.WAITING, T.STATUS_EXPIRED, S.DISCONNECTED, Status.EXPIRED),
    Row(S.WAITING, T.STATUS_RETURNED, S.DISCONNECTED, Status.RETURNED),
    # ... to one that works. A task may send an agent back to the waiting room.
    Row(S.IN_TASK, T.STATUS_IN_TASK, None, Status.IN_TASK),
    Row(S.IN_TASK, T.STATUS_WAITING, S.WAITING, Status.WAITING),
    Row(S.IN_TASK, T.STATUS_COMPLETED, S.COMPLETED, Status.COMPLETED),
    Row(S.IN_TASK, T.STATUS_PARTNER_DISCONNECT, S.COMPLETED, Status.PARTNER_DISCONNECT),
    Row(S.IN_TASK, T.STATUS_APPROVED, S.COMPLETED, Status.APPROVED),
    Row(S.IN_TASK, T.STATUS_SOFT_REJECTED, S.COMPLETED, Status.SOFT_REJECTED),
    Row(S.IN_TASK, T.STATUS_REJECTED, S.COMPLETED, Status.REJECTED),
    Row(S.IN_TASK, T.STATUS_DISCONNECT, S.DISCONNECTED, Status.DISCONNECT),
    Row(S.IN_TASK, T.STATUS_TIMEOUT, S.DISCONNECTED, Status.TIMEOUT),
    Row(S.IN_TASK, T.STATUS_EXPIRED, S.DISCONNECTED, Status.EXPIRED),
    Row(S.IN_TASK, T.STATUS_RETURNED, S.DISCONNECTED, Status.RETURNED),
    # The link gave up (S6). One that is connecting here may be working in the core's eyes, when
    # the router restarted: it is told like the others.
    Row(S.CONNECTING, T.LINK_DEAD, S.DISCONNECTED, Status.DISCONNECT),
    Row(S.ONBOARDING, T.LINK_DEAD, S.DISCONNECTED, Status.DISCONNECT),
    Row(S.WAITING, T.LINK_DEAD, S.DISCONNECTED, Status.DISCONNECT),
    Row(S.IN_TASK, T.LINK_DEAD, S.DISCONNECTED, Status.DISCONNECT),
    # Live updates from the page.
    Row(S.CONNECTING, T.LIVE_UPDATE, None, action=A.HOLD),
    Row(S.ONBOARDING, T.LIVE_UPDATE, None, action=A.FORWARD),
    Row(S.WAITING, T.LIVE_UPDATE, None, action=A.HOLD),
    Row(S.IN_TASK, T.LIVE_UPDATE, None, action=A.FORWARD),
    # Work: always taken (rule 4).
    Row(S.CONNECTING, T.SUBMIT_UNIT, S.COMPLETED, Status.COMPLETED, action=A.FORWARD),
    Row(S.ONBOARDING, T.SUBMIT_UNIT, None, guard=has_submitted, action=A.ANSWER_ONLY),
    Row(S.ONBOARDING, T.SUBMIT_UNIT, None, action=A.FORWARD),
    Row(S.WAITING, T.SUBMIT_UNIT, None, guard=has_submitted, action=A.ANSWER_ONLY),
    Row(S.WAITING, T.SUBMIT_UNIT, S.COMPLETED, Status.COMPLETED, action=A.FORWARD),
    Row(S.IN_TASK, T.SUBMIT_UNIT, None, guard=has_submitted, action=A.ANSWER_ONLY),
    Row(S.IN_TASK, T.SUBMIT_UNIT, S.COMPLETED, Status.COMPLETED, action=A.FORWARD),
    Row(S.COMPLETED, T.SUBMIT_UNIT, None, guard=has_submitted, action=A.ANSWER_ONLY),
    Row(S.COMPLETED, T.SUBMIT_UNIT, None, action=A.FORWARD),
    Row(S.DISCONNECTED, T.SUBMIT_UNIT, None, guard=has_submitted, action=A.ANSWER_ONLY),
    Row(S.FAILED, T.SUBMIT_UNIT, None, guard=has_submitted, action=A.ANSWER_ONLY),
    Row(S.FAILED, T.SUBMIT_UNIT, None, action=A.FORWARD),
    Row(S.CONNECTING, T.SUBMIT_ONBOARDING, None, action=A.FORWARD),
    Row(S.ONBOARDING, T.SUBMIT_ONBOARDING, None, action=A.FORWARD),
    Row(S.WAITING, T.SUBMIT_ONBOARDING, None, action=A.FORWARD),
    Row(S.IN_TASK, T.SUBMIT_ONBOARDING, None, action=A.FORWARD),
    Row(S.COMPLETED, T.SUBMIT_ONBOARDING, None, action=A.FORWARD),
    Row(S.DISCONNECTED, T.SUBMIT_ONBOARDING, None, action=A.FORWARD),
    Row(S.FAILED, T.SUBMIT_ONBOARDING, None, action=A.FORWARD),
    Row(S.CONNECTING, T.SUBMIT_METADATA, None, action=A.FORWARD),
    Row(S.ONBOARDING, T.SUBMIT_METADATA, None, action=A.FORWARD),
    Row(S.WAITING, T.SUBMIT_METADATA, None, action=A.FORWARD),
    Row(S.IN_TASK, T.SUBMIT_METADATA, None, action=A.FORWARD),
    Row(S.COMPLETED, T.SUBMIT_METADATA, None, action=A.FORWARD),
    Row(S.DISCONNECTED, T.SUBMIT_METADATA, None, action=A.FORWARD),
    Row(S.FAILED, T.SUBMIT_METADATA, None, action=A.FORWARD),
    # A change of outcome inside a final state.
    Row(S.COMPLETED, T.STATUS_COMPLETED, None, Status.COMPLETED),
    Row(S.COMPLETED, T.STATUS_PARTNER_DISCONNECT, None, Status.PARTNER_DISCONNECT),
    Row(S.COMPLETED, T.STATUS_APPROVED, None, Status.APPROVED),
    Row(S.COMPLETED, T.STATUS_SOFT_REJECTED, None, Status.SOFT_REJECTED),
    Row(S.COMPLETED, T.STATUS_REJECTED, None, Status.REJECTED),
    Row(S.DISCONNECTED, T.STATUS_DISCONNECT, None, Status.DISCONNECT),
    Row(S.DISCONNECTED, T.STATUS_TIMEOUT, None, Status.TIMEOUT),
    Row(S.DISCONNECTED, T.STATUS_EXPIRED, None, Status.EXPIRED),
    Row(S.DISCONNECTED, T.STATUS_RETURNED, None, Status.RETURNED),
    # Out of a final state: the core has the last word ...
    Row(S.COMPLETED, T.STATUS_DISCONNECT, S.DISCONNECTED, Status.DISCONNECT),
    Row(S.COMPLETED, T.STATUS_TIMEOUT, S.DISCONNECTED, Status.TIMEOUT),
    Row(S.COMPLETED, T.STATUS_EXPIRED, S.DISCONNECTED, Status.EXPIRED),
    Row(S.COMPLETED, T.STATUS_RETURNED, S.DISCONNECTED, Status.RETURNED),
    Row(S.DISCONNECTED, T.STATUS_COMPLETED, S.COMPLETED, Status.COMPLETED),
    Row(S.DISCONNECTED, T.STATUS_PARTNER_DISCONNECT, S.COMPLETED, Status.PARTNER_DISCONNECT),
    Row(S.DISCONNECTED, T.STATUS_APPROVED, S.COMPLETED, Status.APPROVED),
    Row(S.DISCONNECTED, T.STATUS_SOFT_REJECTED, S.COMPLETED, Status.SOFT_REJECTED),
    Row(S.DISCONNECTED, T.STATUS_REJECTED, S.COMPLETED, Status.REJECTED),
    # ... and a submission that raced a disconnect wins, if the core was not told yet.
    Row(
        S.DISCONNECTED,
        T.SUBMIT_UNIT,
        S.COMPLETED,
        Status.COMPLETED,
        guard=disconnect_untold,
        action=A.FORWARD,
    ),
    Row(S.DISCONNECTED, T.SUBMIT_UNIT, None, action=A.FORWARD),
)

_LATE = "a push that was overtaken: the agent has moved on"
_GATE = "the seat is taken or gone, so an answer to a request moves nothing"


def _ignored() -> dict[Pair, str]:
    ignored: dict[Pair, str] = {}
    for state in State:
        ignored[state, T.STATUS_NONE] = "'none' means that the core has no status yet"
        ignored[state, T.STATUS_ACCEPTED] = "'accepted' is before the task: it moves nothing"
        if state is not S.CONNECTING:
            ignored[state, T.REQUEST_EXPIRED] = "the agent has its seat; only its page waited"
    for final in sorted(FINAL_STATES):
        ignored[final, T.LINK_DEAD] = "it has ended: no link is needed"
        for gate in (T.DETAILS_ONBOARDING, T.DETAILS_AGENT, T.DETAILS_REFUSED):
            ignored[final, gate] = _GATE
        for late in (T.STATUS_ONBOARDING, T.STATUS_WAITING, T.STATUS_IN_TASK):
            ignored[final, late] = _LATE
    for trigger in STATUS_TRIGGERS.values():
        ignored[S.FAILED, trigger] = "it never got in; its page was told why"
    ignored[S.WAITING, T.DETAILS_ONBOARDING] = _GATE
    ignored[S.IN_TASK, T.DETAILS_ONBOARDING] = _GATE
    ignored[S.IN_TASK, T.DETAILS_REFUSED] = _GATE
    ignored[S.WAITING, T.STATUS_ONBOARDING] = _LATE
    ignored[S.IN_TASK, T.STATUS_ONBOARDING] = _LATE
    return ignored


_BY_PAGE = ("live_update", "submit_onboarding", "submit_unit", "submit_metadata")

LIFECYCLE = Lifecycle(
    name="agent",
    initial=S.CONNECTING,
    states=tuple(State),
    final=frozenset(FINAL_STATES),
    triggers={
        trigger: "page"
        if trigger in _BY_PAGE
        else "timer"
        if trigger in (T.LINK_DEAD, T.REQUEST_EXPIRED)
        else "core"
        for trigger in Trigger
    },
    rows=_ROWS,
    ignored=_ignored(),
    refused={
        (state, T.LIVE_UPDATE): "the agent has ended; nobody listens any more"
        for state in sorted(FINAL_STATES)
    },
)


class PageTrigger(StrEnum):
    """What can move an agent in its page's eyes only."""

    CORE_SILENT = "core_silent"


# A page sees one thing more than the router: the core has been silent for too long, so nobody will
# take its work. It shows "mephisto disconnect" and gives up (docs/protocol.md, "The page").
PAGE_LIFECYCLE = LIFECYCLE.extend(
    "page",
    triggers={PageTrigger.CORE_SILENT: "timer"},
    rows=(
        Row(S.CONNECTING, PageTrigger.CORE_SILENT, S.DISCONNECTED, Status.MEPHISTO_DISCONNECT),
        Row(S.ONBOARDING, PageTrigger.CORE_SILENT, S.DISCONNECTED, Status.MEPHISTO_DISCONNECT),
        Row(S.WAITING, PageTrigger.CORE_SILENT, S.DISCONNECTED, Status.MEPHISTO_DISCONNECT),
        Row(S.IN_TASK, PageTrigger.CORE_SILENT, S.DISCONNECTED, Status.MEPHISTO_DISCONNECT),
    ),
    ignored={
        (state, PageTrigger.CORE_SILENT): "it has ended: no core is needed"
        for state in sorted(FINAL_STATES)
    },
)


class LinkTrigger(StrEnum):
    """What can happen to an agent's socket."""

    OPENED = "opened"
    CLOSED = "closed"
    GRACE_OVER = "grace_over"
    SILENT = "silent"
    REGISTERED = "registered"


L, K = LinkState, LinkTrigger

LINK = Lifecycle(
    name="link",
    initial=L.ABSENT,
    states=tuple(LinkState),
    final=frozenset(),
    triggers={
        K.OPENED: "page",
        K.CLOSED: "page",
        K.GRACE_OVER: "timer",
        K.SILENT: "timer",
        K.REGISTERED: "core",
    },
    rows=(
        Row(L.ABSENT, K.OPENED, L.UP),
        Row(L.UP, K.OPENED, None),  # a second tab: the newest wins
        Row(L.UP, K.CLOSED, L.LOST),
        Row(L.UP, K.SILENT, L.DEAD),
        Row(L.LOST, K.OPENED, L.UP),
        Row(L.LOST, K.GRACE_OVER, L.DEAD),
        Row(L.DEAD, K.OPENED, L.UP),  # it comes back late and learns how it ended
        # Somebody named the id before the core gave it away: whoever got it starts without a socket.
        Row(L.LOST, K.REGISTERED, L.ABSENT),
        Row(L.DEAD, K.REGISTERED, L.ABSENT),
    ),
    ignored={
        (L.ABSENT, K.CLOSED): "no socket was open",
        (L.ABSENT, K.GRACE_OVER): "no socket was ever open: nothing to miss (S5)",
        (L.ABSENT, K.SILENT): "no socket was ever open: nothing to miss (S5)",
        (L.ABSENT, K.REGISTERED): "it has no socket yet",
        (L.UP, K.REGISTERED): "its socket is there",
        (L.UP, K.GRACE_OVER): "it came back within the grace time (S6)",
        (L.LOST, K.CLOSED): "it is lost already",
        (L.LOST, K.SILENT): "the grace time runs and decides",
        (L.DEAD, K.CLOSED): "it is over already",
        (L.DEAD, K.GRACE_OVER): "it is over already",
        (L.DEAD, K.SILENT): "it is over already",
    },
    attribute="link",
)
