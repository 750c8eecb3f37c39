"""``ClientCore``: the page's side of the protocol, without a page.

It behaves as upstream's page does (docs/protocol.md, "The page"), unless that loses or reorders work.

Theory of operation
-------------------
1. A POST asks for an agent; its answer names one, or says why there is none. A live page then
   opens a socket, says ``alive`` at once and a heartbeat every six seconds.
2. The state moves by the page's lifecycle table and only by firing it. A status for an id that is
   no longer ours moves nothing.
3. Live updates leave in the order given, wait while there is no socket, and are sent again after a
   reconnect unless a pong proved that they were read. The core knows a repeat by its ``update_id``,
   and so do we: each is shown once, whether it came down the socket or in ``past_live_updates``.
4. A lost socket is opened again, for as long as the program stays. It stays closed once a newer tab
   took over (close code 4001, or an answer that says that the core was last heard of at 0), once
   the core has been silent for too long, and once the seat is somebody else's.
5. "Silent for too long" is counted in sweeps of one timer: an answer whose ``last_mephisto_ping``
   is not the one before is news. No clock is read, no two times are compared.
6. An action that makes no sense raises ``LocalProtocolError`` and changes nothing; what comes down
   the wire and makes no sense is counted and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from statecore import client_events as ce
from statecore.client_events import ClientEffect, ClientEvent, Ending
from statecore.client_posts import SEAT_ROUTES, Posts, encode_plain, read_details
from statecore.client_socket import HEARTBEAT, SWEEP, PageSocket
from statecore.effects import Close, Count
from statecore.envelope import Envelope, decode_envelope
from statecore.errors import LocalProtocolError, PacketDecodeError
from statecore.events import Closed, Frame, Opened, Ponged, Request, Route, TimerFired, TimerKey
from statecore.lifecycle import PAGE_LIFECYCLE, STATUS_TRIGGERS, PageTrigger, Trigger
from statecore.machine import LifecycleMachine
from statecore.packets import PacketType
from statecore.router_state import Renamer
from statecore.settings import ClientOptions
from statecore.status import State

if TYPE_CHECKING:
    from statecore.packet_models import AgentDetailsData

__all__ = ["ClientCore"]

_lives = LifecycleMachine(PAGE_LIFECYCLE)

_STATUS_TRIGGERS: dict[str, Trigger] = {str(s): trigger for s, trigger in STATUS_TRIGGERS.items()}
# After these a reload may ask again; after the others a new page is needed.
_REOPENABLE = frozenset({None, Ending.REPLACED, Ending.NOT_ALLOWED})


class ClientCore:
    """One worker's page.

    Attributes:
        options: limits and times.
        agent_id, worker_id: as the core last named them; ``None`` before.
        state, outcome: where the agent is, and the exact status or reason behind it. Only the
            lifecycle's machine changes the state.
        submitted: the unit got its 2xx.
    """

    __slots__ = (
        "_posts",
        "_seen",
        "_socket",
        "agent_id",
        "options",
        "outcome",
        "state",
        "submitted",
        "worker_id",
    )

    # What the table's guards ask about a router's agent: a page never ends its own link.
    link_ended = False
    told = False

    def __init__(self, options: ClientOptions | None = None) -> None:
        self.options = options or ClientOptions()
        self.agent_id: str | None = None
        self.worker_id: str | None = None
        self.state: str = State.CONNECTING.value
        self.outcome: str = ""
        self.submitted = False
        self._posts = Posts(self.options)
        self._socket = PageSocket(self.options)
        self._seen: dict[str, None] = {}  # update ids, the oldest first

    @property
    def link(self) -> str:
        """Where the socket is: absent, up, lost or dead."""
        return self._socket.link

    @property
    def ended(self) -> Ending | None:
        """Why the socket stays closed, or ``None``."""
        return self._socket.ended

    @property
    def is_over(self) -> bool:
        """Whether the table refuses live updates: nobody listens any more."""
        return PAGE_LIFECYCLE.verdict(self.state, Trigger.LIVE_UPDATE) == "refused"

    @property
    def room(self) -> int:
        """How many more live updates can be taken now."""
        return self._socket.room

    def start(self) -> tuple[ClientEffect, ...]:
        """Nothing: a page does nothing before its worker does."""
        return ()

    def receive(self, event: ClientEvent) -> tuple[ClientEffect, ...]:
        """Take one event and return what is to be done, in order.

        Raises:
            LocalProtocolError: an action that is not possible now; the core is unchanged.
        """
        out: list[ClientEffect] = []
        match event:
            case Frame():
                self._frame(event, out)
            case TimerFired(key=key):
                self._timer(key, out)
            case Opened():
                self._opened(event, out)
            case Closed(connection=name, code=code):
                if name == self._socket.connection:
                    self._closed(code, out)
            case Ponged(connection=name, token=token):
                if name == self._socket.connection:
                    self._socket.ponged(token, out)
            case ce.OpenFailed():
                if self._socket.is_opening:
                    self._socket.open_again(out)
            case ce.Answered() | ce.Unanswered():
                self._post_done(event, out)
            case Request():
                raise LocalProtocolError(
                    "a page serves no requests",
                    error_type="wrong-event",
                    expected="an event of statecore.client_events",
                )
            case _:
                self._act(event, out)
        return tuple(out)

    # --- what the worker does ----------------------------------------------------------------

    def _act(self, event: ce.Action, out: list[ClientEffect]) -> None:
        match event:
            case ce.SendUpdate():
                self._send_update(event, out)
            case ce.Register():
                self._register(event, out)
            case ce.SubmitUnit(post_id=post_id):
                agent_id = self._named()
                # A unit is submitted once: after that there is nothing left to send.
                accepted = ce.PostAccepted(post_id) if self.submitted else None
                out.append(accepted or self._posts.begin(event, agent_id))
            case ce.SubmitOnboarding() | ce.SubmitMetadata() | ce.ReportError():
                out.append(self._posts.begin(event, self._named()))
            case ce.Leave():
                if self.ended is not Ending.LEFT:
                    self._socket.end(Ending.LEFT, out)
            case _:
                assert_never(event)

    def _named(self) -> str:
        if self.agent_id is None:
            raise LocalProtocolError(
                "there is no agent yet",
                error_type="no-agent",
                expected="Register first, and wait for AgentNamed",
            )
        return self.agent_id

    def _register(self, event: ce.Register, out: list[ClientEffect]) -> None:
        if self.state == State.FAILED or self.ended not in _REOPENABLE:
            why = self.outcome if self.ended is None else self.ended
            raise LocalProtocolError(
                f"this page is over: {why}", error_type="over", expected="a new ClientCore"
            )
        out.append(self._posts.begin(event, ""))
        self._socket.ended = None

    def _send_update(self, event: ce.SendUpdate, out: list[ClientEffect]) -> None:
        agent_id = self._named()
        if self.ended is not None or self.is_over:
            reason = PAGE_LIFECYCLE.refused.get((self.state, Trigger.LIVE_UPDATE), self.ended)
            raise LocalProtocolError(
                f"a live update while {self.state}: {reason}",
                error_type="illegal-in-state",
                expected="an agent that has not ended, and an open page",
            )
        payload = encode_plain({**event.data, "update_id": event.update_id})
        if len(payload) > self.options.update_limit:
            raise LocalProtocolError(
                f"a live update of {len(payload):,} bytes",
                error_type="too-large",
                field="data",
                expected=f"at most {self.options.update_limit:,} bytes",
            )
        packet = Envelope(
            PacketType.MEPHISTO_BOUND_LIVE_UPDATE,
            agent_id,
            msgspec.Raw(payload),
            client_timestamp=event.at or None,
        )
        self._socket.send(packet, event.update_id, out)

    # --- what came of the POSTs --------------------------------------------------------------

    def _post_done(self, event: ce.Answered | ce.Unanswered, out: list[ClientEffect]) -> None:
        route = self._posts.route(event.post_id)
        if route is None:
            out.append(Count("stray-answer"))
            return
        if isinstance(event, ce.Answered) and 200 <= event.status_code < 300:
            self._posts.close(event.post_id)
            self._accepted(event, route, out)
            return
        again = self._posts.again(event)
        if again is not None:
            out.append(again)
            return
        code = event.status_code if isinstance(event, ce.Answered) else None
        reason = f"{route}: {event.reason}"
        out.append(ce.PostRefused(event.post_id, code, reason))
        if route in SEAT_ROUTES:
            self._fire(Trigger.REQUEST_EXPIRED, reason, out)

    def _accepted(self, event: ce.Answered, route: Route, out: list[ClientEffect]) -> None:
        if route in SEAT_ROUTES:
            details = read_details(event.body)
            if details is None:
                reason = f"{route} was answered with something other than agent_details"
                out.append(ce.PostRefused(event.post_id, event.status_code, reason))
                self._fire(Trigger.REQUEST_EXPIRED, reason, out)
            else:
                out.append(ce.PostAccepted(event.post_id))
                self._take_details(details, out)
            return
        out.append(ce.PostAccepted(event.post_id))
        if route is Route.SUBMIT_TASK:
            self._fire(Trigger.SUBMIT_UNIT, None, out)
            self.submitted = True

    def _take_details(self, details: AgentDetailsData, out: list[ClientEffect]) -> None:
        agent_id = details.agent_id
        if agent_id is None:
            reason = details.failure_reason or "the task gave no reason"
            out.append(ce.AgentRefused(reason))
            self._fire(Trigger.DETAILS_REFUSED, reason, out)
            return
        is_onboarding = agent_id.startswith("onboarding")
        if agent_id != self.agent_id:
            self._change_agent(agent_id, out)
        self.worker_id = details.worker_id
        data = details.init_task_data
        out.append(ce.AgentNamed(agent_id, details.worker_id, data, is_onboarding))
        trigger = Trigger.DETAILS_ONBOARDING if is_onboarding else Trigger.DETAILS_AGENT
        self._fire(trigger, None, out)
        if details.status in _STATUS_TRIGGERS:  # a static page has no socket to hear it on
            self._fire(_STATUS_TRIGGERS[details.status], None, out)
        past = data.get("past_live_updates") if isinstance(data, dict) else None
        for update in past if isinstance(past, list) else ():
            if isinstance(update, dict):
                self._show(update, out)
        if self.options.live:
            self._socket.open(out)

    def _change_agent(self, agent_id: str, out: list[ClientEffect]) -> None:
        """A socket speaks for one agent: the new one gets a new socket, the old updates end."""
        self._socket.drop(1000, "a new agent", out)
        self._socket.lose_updates(out)
        self.agent_id = agent_id
        self.outcome = ""
        self.submitted = False

    # --- the socket and time -----------------------------------------------------------------

    def _opened(self, event: Opened, out: list[ClientEffect]) -> None:
        if self._socket.is_opening:
            self._socket.opened(event, self._named(), out)
        else:
            out.append(Close(event.connection, 1000, "not wanted any more"))

    def _closed(self, code: int, out: list[ClientEffect]) -> None:
        ending = self._socket.closed(code, out)
        if ending is None:
            if self.is_over:
                self._socket.lose_updates(out)
            self._socket.open_again(out)
            return
        if ending is Ending.SEAT_GONE:
            self._fire(Trigger.LINK_DEAD, None, out)
        self._socket.end(ending, out)

    def _timer(self, key: TimerKey, out: list[ClientEffect]) -> None:
        if key == HEARTBEAT:
            self._socket.heartbeat(self.agent_id or "", out)
        elif key == SWEEP:
            if self._socket.sweep(out):
                self._fire(PageTrigger.CORE_SILENT, None, out)
                self._socket.end(Ending.CORE_SILENT, out)
        else:
            out.append(Count("stray-timer"))

    # --- what comes down the wire ------------------------------------------------------------

    def _frame(self, event: Frame, out: list[ClientEffect]) -> None:
        if event.connection != self._socket.connection:
            out.append(Count("stale-frame"))
            return
        self._socket.heard()
        try:
            packet = decode_envelope(event.payload, event.at, limit=self.options.frame_limit)
        except PacketDecodeError as error:
            out.append(Count("bad-frame", error.error_type))
            return
        data = json.loads(bytes(packet.data))
        kind = packet.packet_type
        if kind == PacketType.LOG_ERROR:
            out.append(ce.Complained(data))
        elif not isinstance(data, dict):
            out.append(Count("bad-data"))
        elif kind == PacketType.CLIENT_BOUND_LIVE_UPDATE:
            self._show(data, out)
        elif kind == PacketType.UPDATE_STATUS:
            self._take_status(packet.subject_id, data, out)
        elif kind == PacketType.HEARTBEAT:
            self._socket.answered(data, out)
        else:
            out.append(Count("unexpected-packet"))

    def _show(self, data: dict[str, Any], out: list[ClientEffect]) -> None:
        update_id = data.get("update_id")
        if update_id is not None:
            mark = update_id if isinstance(update_id, str) else json.dumps(update_id)
            if mark in self._seen:
                out.append(Count("repeated-update"))
                return
            self._seen[mark] = None
            if len(self._seen) > self.options.seen_updates:
                del self._seen[next(iter(self._seen))]
        out.append(ce.UpdateArrived(data))

    def _take_status(self, subject_id: str, data: dict[str, Any], out: list[ClientEffect]) -> None:
        status = data.get("status")
        trigger = _STATUS_TRIGGERS.get(status) if isinstance(status, str) else None
        if trigger is None:
            out.append(Count("unknown-status"))
        elif subject_id != self.agent_id:
            out.append(Count("foreign-status"))
        else:
            self._fire(trigger, None, out)

    # --- the tables --------------------------------------------------------------------------

    def _fire(self, trigger: str, outcome: str | None, out: list[ClientEffect]) -> None:
        before = (self.state, self.outcome)
        _lives.fire(self, trigger, outcome)
        if (self.state, self.outcome) != before:
            out.append(ce.StateChanged(self.state, self.outcome))
        if self.is_over and self._socket.connection is None:
            self._socket.lose_updates(out)

    # --- for the model checker ---------------------------------------------------------------

    def copy(self) -> ClientCore:
        """An independent copy."""
        other = ClientCore(self.options)
        for name in ("agent_id", "worker_id", "state", "outcome", "submitted"):
            setattr(other, name, getattr(self, name))
        other._posts = self._posts.copy()
        other._socket = self._socket.copy()
        other._seen = self._seen.copy()
        return other

    def key(self) -> Hashable:
        """Canonical and hashable: ids renamed by first appearance, no times."""
        rename = Renamer()
        return (
            rename(self.agent_id or ""),
            rename(self.worker_id or ""),
            self.state,
            self.outcome,
            self.submitted,
            self._posts.key(rename),
            self._socket.key(rename),
            frozenset(self._seen),
        )
