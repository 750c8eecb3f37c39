"""Frames from pages: who may say what, and what becomes of it.

1. A socket speaks for one agent only: the first that it names (S7). The npm page's first ``alive`` lacks
   a subject about once in 70 connects, so any packet that names an agent binds an unbound socket.
2. Only what PACKETS lets a page send is taken, and nothing is forwarded that was not checked (S9).
3. A heartbeat is answered with the time at which the core was last heard; the page judges by it.
"""

from __future__ import annotations

from statecore.checks import check_packet
from statecore.effects import Count, Effect, Send
from statecore.envelope import Envelope, encode_data
from statecore.errors import RemoteProtocolError
from statecore.forms import check_error
from statecore.moves import check_live_update, check_room, take_live_update
from statecore.packets import SYSTEM_ID, PacketType, Party
from statecore.router_state import Connection, RouterState
from statecore.seats import Seat

__all__ = ["is_system", "page_packet"]


def page_packet(
    router: RouterState, connection: Connection, packet: Envelope, out: list[Effect]
) -> None:
    """Take one packet of a page.

    Raises:
        RemoteProtocolError: it is not taken, and nothing has changed.
    """
    kind = packet.packet_type
    check_packet(packet, Party.PAGE)
    if kind == PacketType.ALIVE and not packet.subject_id and not connection.agent_id:
        out.append(Count("alive-without-subject"))  # it will name its agent in a moment
        return
    known = _whose(router, connection, packet)
    action = ""
    if kind == PacketType.LOG_ERROR:
        check_error(packet.data)
        check_room(router, packet)
    elif kind == PacketType.MEPHISTO_BOUND_LIVE_UPDATE:
        action = check_live_update(router, known, packet)
    # All is checked: from here on nothing is refused.
    seat = known or router.seat_named(packet.subject_id)
    seat.heard = True
    if not connection.agent_id:
        router.bind(connection, seat, packet.subject_id, out)
    elif kind == PacketType.ALIVE:
        # The socket is the same, so all else that was sent is on its way (S3).
        seat.named_by = packet.subject_id or seat.named_by
        out.append(Send(connection.name, router.status_packet(seat)))
    match kind:
        case PacketType.HEARTBEAT:
            out.append(Send(connection.name, _heartbeat(router, seat, packet)))
        case PacketType.LOG_ERROR:
            router.outbox.add(packet, out)
        case PacketType.MEPHISTO_BOUND_LIVE_UPDATE:
            take_live_update(router, seat, packet, action, out)


def _whose(router: RouterState, connection: Connection, packet: Envelope) -> Seat | None:
    """The seat that a packet is about; ``None`` when nobody has heard of the agent yet.

    Raises:
        RemoteProtocolError: it is somebody else's agent, or no agent at all.
    """
    subject = packet.subject_id
    seat = router.seats.find(connection.agent_id or subject)
    if not connection.agent_id:
        if seat is None:
            router.check_name(subject)
        return seat
    assert seat is not None  # a seat that goes unbinds its socket first
    if not subject and packet.packet_type != PacketType.ALIVE:
        raise RemoteProtocolError(
            f"{packet.packet_type} without a subject",
            error_type="missing-field",
            field="subject_id",
            expected=seat.agent_id,
        )
    if subject and router.seats.find(subject) is not seat:
        raise RemoteProtocolError(
            f"this socket speaks for agent {seat.agent_id}, not for {subject[:64]}",
            error_type="not-yours",
            field="subject_id",
            expected=seat.agent_id,
        )
    return seat


def _heartbeat(router: RouterState, seat: Seat, packet: Envelope) -> Envelope:
    # Milliseconds, or the page thinks that the core is long gone (docs/protocol.md, "The page").
    data = {"last_mephisto_ping": int(router.core_heard_at * 1000), "status": seat.shown}
    return Envelope(
        PacketType.HEARTBEAT,
        packet.subject_id or seat.named_by,
        encode_data(data),
        packet.client_timestamp,
        packet.router_incoming_timestamp,
    )


def is_system(packet: Envelope) -> bool:
    """Whether a packet claims to come from the core."""
    return packet.packet_type == PacketType.ALIVE and packet.subject_id == SYSTEM_ID
