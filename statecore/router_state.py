"""What a router knows: connections, seats, questions, and what waits for the core.

``RouterState`` is plain data with what every direction needs: refusing, naming, binding a socket. The
functions of ``from_page``, ``from_core``, ``from_http`` and ``moves`` work on it; ``router.py`` calls
them. Effects are appended to a list in the order in which they shall happen.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import msgspec

from statecore.delivery import Outbox
from statecore.effects import CancelTimer, Close, Count, Effect, Reply, Send, SetTimer
from statecore.envelope import MAX_NAME, Envelope, encode_data
from statecore.errors import ProtocolError, RemoteProtocolError
from statecore.events import Principal
from statecore.lifecycle import LinkTrigger
from statecore.packets import SYSTEM_ID, PacketType
from statecore.requests import Requests
from statecore.seats import Seat, Seats
from statecore.settings import RouterOptions
from statecore.status import LinkState, Status

__all__ = [
    "CLOSE_CORE_REPLACED",
    "CLOSE_NOT_ALLOWED",
    "CLOSE_REPLACED",
    "CLOSE_SILENT",
    "CLOSE_TAKEN_OVER",
    "CLOSE_UNKNOWN",
    "Connection",
    "Renamer",
    "RouterState",
    "refusal",
]

# Application close codes (docs/protocol.md, "The page").
CLOSE_REPLACED = 4001
CLOSE_CORE_REPLACED = 4002
CLOSE_NOT_ALLOWED = 4003
CLOSE_UNKNOWN = 4004
CLOSE_SILENT = 4008
CLOSE_TAKEN_OVER = 4009

# Of a POST that is refused; all others get 422.
_STATUS_CODES = {
    "not-json": 400,
    "too-large": 413,
    "outbox-full": 503,
    "too-early": 503,
}


_NO_WORK = (PacketType.MEPHISTO_BOUND_LIVE_UPDATE, PacketType.LOG_ERROR)


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
    # Seconds since the epoch, for pages to read; never compared. Until the core is heard, it is when
    # the first connection came: upstream's page gives up for good on an old time.
    core_heard_at: float = 0.0
    core: str | None = None
    connections: dict[str, Connection] = field(default_factory=dict)
    seats: Seats = field(default_factory=Seats)
    requests: Requests = field(default_factory=Requests)
    outbox: Outbox = field(default_factory=Outbox)
    held_bytes: int = 0  # of all seats: its room in the outbox is reserved
    held_posts: dict[str, str] = field(default_factory=dict)  # POST to agent id
    report_all: bool = False  # the core is new here: its next poll hears of ended agents too

    def copy(self) -> RouterState:
        """An independent copy."""
        return replace(
            self,
            connections={name: replace(c) for name, c in self.connections.items()},
            seats=self.seats.copy(),
            requests=self.requests.copy(),
            outbox=self.outbox.copy(),
            held_posts=self.held_posts.copy(),
        )

    def key(self) -> Hashable:
        """Canonical and hashable: ids renumbered, offsets relative, no times."""
        rename, socket = Renamer(), Renamer()
        return (
            socket(self.core or ""),
            self.report_all,
            self.seats.key(rename, socket),
            self.requests.key(rename),
            self.outbox.key(rename, socket),
            tuple(
                (
                    socket(c.name),
                    c.principal,
                    c.pings,
                    rename(c.agent_id),
                    c.is_core,
                    c.replaced,
                    c.idle,
                )
                for c in self.connections.values()
            ),
        )

    # Moves in common -------------------------------------------------------------------------

    def refuse(self, connection: str, error: ProtocolError, out: list[Effect]) -> None:
        """Tell a peer why its packet was not taken. Nothing else changes (S9)."""
        out.append(Count("refused", error.error_type))
        out.append(Send(connection, Envelope(PacketType.LOG_ERROR, SYSTEM_ID, _told(error))))

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

    def unbind(self, seat: Seat) -> None:
        """The seat has no socket any more; what it did not prove waits again."""
        connection = self.connections.get(seat.connection or "")
        if connection is not None:
            connection.agent_id = ""
        seat.connection = None
        seat.mailbox.disconnect()

    def link_closed(self, seat: Seat, out: list[Effect]) -> None:
        """Its socket is gone: the grace time runs."""
        self.unbind(seat)
        if seat.fire_link(LinkTrigger.CLOSED) is not None:
            out.append(SetTimer(("grace", seat.agent_id), self.options.grace))

    def known(self, seat: Seat) -> None:
        """The core has named this agent itself."""
        self.seats.unknown.pop(seat.agent_id, None)
        seat.polls = 0

    def doubt(self, seat: Seat) -> None:
        """Let the core confirm that this agent still is: reported as none, it is pushed or goes."""
        seat.pushed, seat.polls = Status.NONE, 0
        self.seats.unknown[seat.agent_id] = None

    def has_room(self, packet: Envelope) -> bool:
        """Whether this packet may still be promised to the core (S8).

        What is no work (live updates, error logs) may fill one half: it never takes work's room.
        """
        limit = self.options.outbox_bytes
        if packet.packet_type in _NO_WORK:
            limit //= 2
        return self.outbox.has_room(packet, limit - self.held_bytes)

    def onboarding_handled(self, agent_id: str) -> None:
        """The core showed that it has this agent's onboarding: it need not be sent again."""
        asked = self.requests.in_flight(PacketType.SUBMIT_ONBOARDING, agent_id)
        if asked is not None:
            self.outbox.handled(("request", asked.id))


def refusal(post: str, error: ProtocolError) -> Reply:
    """The answer to a POST that is not taken."""
    code = _STATUS_CODES.get(error.error_type, 422)
    return Reply(post, code, bytes(_told(error)), retry_after=5 if code == 503 else None)


def _told(error: ProtocolError) -> msgspec.Raw:
    return encode_data(
        {
            "error_type": error.error_type,
            "text": str(error),
            "field": error.field,
            "expected": error.expected,
        }
    )
