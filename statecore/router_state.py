"""What a router knows, and the few moves that pages, core and POSTs have in common.

``RouterState`` is plain data. The functions of ``from_page``, ``from_core`` and ``from_http`` work on it,
each for one direction; ``router.py`` calls them. Effects are appended to a list in the order in which
they shall happen.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from statecore.delivery import Outbox
from statecore.effects import CancelTimer, Close, Count, Effect, Send, SetTimer
from statecore.envelope import MAX_NAME, Envelope, encode_data
from statecore.errors import ProtocolError, RemoteProtocolError
from statecore.events import Principal
from statecore.lifecycle import LIFECYCLE, STATUS_TRIGGERS, Action, LinkTrigger, Trigger
from statecore.packets import SYSTEM_ID, PacketType
from statecore.requests import Requests
from statecore.seats import Held, Seat, Seats
from statecore.settings import RouterOptions
from statecore.status import LinkState, State, Status

__all__ = [
    "CLOSE_CORE_REPLACED",
    "CLOSE_NOT_ALLOWED",
    "CLOSE_REPLACED",
    "CLOSE_SILENT",
    "CLOSE_TAKEN_OVER",
    "CLOSE_UNKNOWN",
    "Connection",
    "RouterState",
    "Renamer",
]

# Application close codes (docs/protocol.md, "The page").
CLOSE_REPLACED = 4001
CLOSE_CORE_REPLACED = 4002
CLOSE_NOT_ALLOWED = 4003
CLOSE_UNKNOWN = 4004
CLOSE_SILENT = 4008
CLOSE_TAKEN_OVER = 4009


@dataclass(slots=True)
class Connection:
    """One open socket.

    Args:
        name: the adapter's name for it.
        principal: who is at the other end.
        pings: the transport can prove what was read.
        agent_id: the current id of the seat that it speaks for; empty before it named one.
        is_core: it is the authenticated system socket.
        replaced: another took its place; whatever still comes from it is refused.
        idle: sweeps in which it named no agent.
    """

    name: str
    principal: Principal
    pings: bool
    agent_id: str = ""
    is_core: bool = False
    replaced: bool = False
    idle: int = 0


class Renamer:
    """Numbers names by first appearance, so that two histories with other ids have equal keys."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": 0}

    def __call__(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))


@dataclass(slots=True)
class RouterState:
    """Everything that a router remembers."""

    options: RouterOptions
    core_heard_at: float  # seconds since the epoch, for pages to read; never compared here
    core: str | None = None
    connections: dict[str, Connection] = field(default_factory=dict)
    seats: Seats = field(default_factory=Seats)
    requests: Requests = field(default_factory=Requests)
    outbox: Outbox = field(default_factory=Outbox)

    def copy(self) -> RouterState:
        """An independent copy."""
        return replace(
            self,
            connections={name: replace(c) for name, c in self.connections.items()},
            seats=self.seats.copy(),
            requests=self.requests.copy(),
            outbox=self.outbox.copy(),
        )

    def key(self) -> Hashable:
        """Canonical and hashable: ids renumbered, offsets relative, no times."""
        rename = Renamer()
        return (
            self.core,
            self.seats.key(rename),
            self.requests.key(rename),
            self.outbox.key(),
            tuple(
                (c.name, c.pings, rename(c.agent_id), c.is_core, c.replaced, c.idle)
                for c in self.connections.values()
            ),
        )

    # Moves in common -------------------------------------------------------------------------

    def refuse(self, connection: str, error: ProtocolError, out: list[Effect]) -> None:
        """Tell a peer why its packet was not taken. Nothing else changes (S9)."""
        told = {
            "error_type": error.error_type,
            "text": str(error),
            "field": error.field,
            "expected": error.expected,
        }
        out.append(Count("refused", error.error_type))
        out.append(Send(connection, Envelope(PacketType.LOG_ERROR, SYSTEM_ID, encode_data(told))))

    def check_name(self, agent_id: str) -> None:
        """Whether an agent of whom nobody has heard (a restart) may be entered.

        Raises:
            RemoteProtocolError: the name is none, or too many unknown agents wait already.
        """
        if not agent_id or agent_id == SYSTEM_ID or len(agent_id) > MAX_NAME:
            raise RemoteProtocolError(
                "subject_id names no agent",
                error_type="bad-field" if agent_id else "missing-field",
                field="subject_id",
                expected=f"an agent id of 1 to {MAX_NAME} characters",
            )
        if len(self.seats.unknown) >= self.options.unknown_agents:
            raise RemoteProtocolError(
                f"agent {agent_id} is not known here",
                error_type="unknown-agent",
                field="subject_id",
                expected="an agent that the core has named; try again later",
            )

    def seat_named(self, agent_id: str) -> Seat:
        """The seat of this id; a new one for an id that passed ``check_name``."""
        seat = self.seats.find(agent_id)
        if seat is None:
            seat = Seat(agent_id)
            self.seats.add(seat)
            self.seats.unknown[agent_id] = None
        return seat

    def bind(self, connection: Connection, seat: Seat, named: str, out: list[Effect]) -> None:
        """A socket speaks for this seat from now on; the newest socket wins (S7)."""
        old = self.connections.get(seat.connection or "")
        if old is not None:
            # On a last ping of 0 upstream's page gives up for good; closed only, it would come
            # back at its next heartbeat (docs/protocol.md, "The page").
            gone = encode_data({"last_mephisto_ping": 0, "status": seat.shown})
            out.append(Send(old.name, Envelope(PacketType.HEARTBEAT, seat.named_by, gone)))
            out.append(Close(old.name, CLOSE_REPLACED, "another tab speaks for this agent now"))
            old.agent_id, old.replaced = "", True
        was_lost = seat.link == LinkState.LOST
        seat.fire_link(LinkTrigger.OPENED)
        if was_lost:
            out.append(CancelTimer(("grace", seat.agent_id)))
        connection.agent_id = seat.agent_id
        seat.connection, seat.named_by = connection.name, named
        seat.heard, seat.silent = True, 0
        self.welcome(connection, seat, out)

    def welcome(self, connection: Connection, seat: Seat, out: list[Effect]) -> None:
        """Push the current status, once, and what waits for the page (S3, S10)."""
        seat.mailbox.welcome(self.status_packet(seat))
        seat.mailbox.connect(connection.name, pings=connection.pings, out=out)

    def status_packet(self, seat: Seat) -> Envelope:
        """The update_status that tells a page what is."""
        return Envelope(
            PacketType.UPDATE_STATUS,
            seat.named_by or seat.agent_id,
            encode_data({"status": seat.shown}),
        )

    def deliver(self, seat: Seat, packet: Envelope, out: list[Effect]) -> None:
        """Into the page's mailbox, and down its socket if there is one."""
        options = self.options
        dropped = seat.mailbox.add(
            packet, packets=options.mailbox_packets, size=options.mailbox_bytes, out=out
        )
        out.extend(Count("dropped", "mailbox-full") for _ in range(dropped))

    def check_room(self, packet: Envelope) -> None:
        """What must hold before a packet is promised to the core.

        Raises:
            RemoteProtocolError: it is too large for the core, or the outbox is full.
        """
        self.check_size(packet)
        if not self.outbox.has_room(packet, self.options.outbox_bytes):
            raise RemoteProtocolError(
                "too much waits for the backend already",
                error_type="outbox-full",
                expected="the backend to come back; try again later",
            )

    def check_size(self, packet: Envelope) -> None:
        """Upstream's core closes its connection above 1 MiB (docs/protocol.md, "The core").

        Raises:
            RemoteProtocolError: the packet, with its keys, would be larger than the core takes.
        """
        options = self.options
        is_error = packet.packet_type == PacketType.LOG_ERROR
        limit = min(options.core_limit, options.error_limit) if is_error else options.core_limit
        size = len(bytes(packet.data)) + len(packet.subject_id) * 6 + 256
        if size > limit:
            raise RemoteProtocolError(
                f"{packet.packet_type} of {size:,} bytes",
                error_type="too-large",
                field="data",
                expected=f"at most {limit:,} bytes",
            )

    def check_live_update(self, seat: Seat | None, packet: Envelope) -> str:
        """What to do with a page's live update: ``Action.FORWARD`` or ``Action.HOLD``.

        Args:
            seat: ``None`` for an agent that is not known yet: it would be connecting.
            packet: the live update.

        Raises:
            RemoteProtocolError: the agent has ended, too many are held, or it does not fit.
        """
        # No state changes, so the table is read and not fired: a trigger costs more than a relay.
        state = State.CONNECTING if seat is None else seat.state
        rows = LIFECYCLE.rows_for(state, Trigger.LIVE_UPDATE)
        if not rows:
            raise RemoteProtocolError(
                f"live_update while {state}: {LIFECYCLE.refused[state, Trigger.LIVE_UPDATE]}",
                error_type="illegal-in-state",
                field="packet_type",
                expected=", ".join(LIFECYCLE.legal(state)),
            )
        held = 0 if seat is None else len(seat.held)
        if rows[0].action == Action.FORWARD and not held:
            self.check_room(packet)
            return Action.FORWARD
        self.check_size(packet)
        if held >= self.options.held_updates:
            raise RemoteProtocolError(
                f"{held} live updates wait already while {state}",
                error_type="too-early",
                expected="the task to start",
            )
        return Action.HOLD

    def take_live_update(
        self, seat: Seat, packet: Envelope, action: str, out: list[Effect]
    ) -> None:
        """Forward or hold a live update, as ``check_live_update`` said."""
        if action == Action.FORWARD:
            self.outbox.add(packet, out)
        else:
            seat.held.append(Held(packet))

    def release_held(self, seat: Seat, out: list[Effect]) -> None:
        """The state has moved: forward what is legal now, refuse what never will be."""
        held, seat.held = seat.held, []
        for index, item in enumerate(held):
            try:
                action = self.check_live_update(seat, item.packet)
            except RemoteProtocolError as error:
                self.refuse_seat(seat, error, out)
                continue
            if action == Action.HOLD:  # not yet: it and those after it keep their polls
                seat.held = held[index:]
                return
            self.take_live_update(seat, item.packet, action, out)

    def refuse_seat(self, seat: Seat, error: ProtocolError, out: list[Effect]) -> None:
        """Tell the page of a seat, if it is there, why a packet that was held is not taken."""
        if seat.connection is not None:
            self.refuse(seat.connection, error, out)
        else:
            out.append(Count("refused", error.error_type))

    def after_move(self, seat: Seat, out: list[Effect]) -> None:
        """What follows every change of a seat's state."""
        if seat.held:
            self.release_held(seat, out)
        if seat.is_final:
            for oldest in self.seats.finished(seat, self.options.finished_agents):
                self.drop(oldest, CLOSE_UNKNOWN, "the end of this agent is forgotten", out)

    def link_died(self, seat: Seat, out: list[Effect]) -> None:
        """The grace time is over, or a socket fell silent: the agent is disconnected (S6)."""
        if seat.fire(Trigger.LINK_DEAD) is None:
            return
        seat.link_ended = True
        out.append(Count("disconnected"))
        if seat.connection is not None:
            out.append(Send(seat.connection, self.status_packet(seat)))
        self.after_move(seat, out)

    def unbind(self, seat: Seat) -> None:
        """The seat has no socket any more; what it did not prove waits again."""
        connection = self.connections.get(seat.connection or "")
        if connection is not None:
            connection.agent_id = ""
        seat.connection = None
        seat.mailbox.disconnect()

    def drop(self, seat: Seat, code: int, reason: str, out: list[Effect]) -> None:
        """Forget a seat whole: socket closed, mailbox, aliases and outcome gone."""
        if seat.connection is not None:
            out.append(Close(seat.connection, code, reason))
            self.connections[seat.connection].replaced = True
        self.unbind(seat)
        if seat.link == LinkState.LOST:
            out.append(CancelTimer(("grace", seat.agent_id)))
        self.seats.drop(seat)

    def link_closed(self, seat: Seat, out: list[Effect]) -> None:
        """Its socket is gone: the grace time runs."""
        self.unbind(seat)
        if seat.fire_link(LinkTrigger.CLOSED) is not None:
            out.append(SetTimer(("grace", seat.agent_id), self.options.grace))

    def known(self, seat: Seat) -> None:
        """The core has named this agent itself."""
        self.seats.unknown.pop(seat.agent_id, None)
        seat.polls = 0

    def push(self, seat: Seat, status: Status, out: list[Effect]) -> None:
        """The core pushed a status: the table decides, the work that it proves is settled."""
        self.known(seat)
        seat.pushed = status
        row = seat.fire(STATUS_TRIGGERS[status])
        if row is None:
            return
        if row.dest is not None:
            seat.link_ended = seat.told = False
        by = ("agent", seat.agent_id)
        if status in (Status.COMPLETED, Status.APPROVED, Status.SOFT_REJECTED, Status.REJECTED):
            self.outbox.handled(by)
        elif seat.is_final:
            self.outbox.proof_is_enough(by)
        self.after_move(seat, out)
