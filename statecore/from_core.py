"""Frames from the core: answers, statuses, live updates and its poll.

1. The core is re-pointed at each authenticated ``alive``: after a drop it sends nothing else.
2. An answer is given to every POST that waits for it, and moves the seat by one trigger.
3. What the core sends to a page is never refused by state; it waits when there is no socket.
4. The poll is the core's heartbeat. What the router reports is the core's own last word, or that the
   link ended the agent; never an inference.
"""

from __future__ import annotations

import msgspec

from statecore.effects import CancelTimer, Close, Effect, Reply, Send, SetTimer
from statecore.envelope import EMPTY, Envelope, encode_data, is_object
from statecore.errors import RemoteProtocolError
from statecore.events import Principal
from statecore.lifecycle import LIFECYCLE, Trigger
from statecore.packets import PACKETS, SYSTEM_ID, PacketType, Party
from statecore.requests import Pending
from statecore.router_state import (
    CLOSE_CORE_REPLACED,
    CLOSE_REPLACED,
    CLOSE_TAKEN_OVER,
    CLOSE_UNKNOWN,
    Connection,
    RouterState,
)
from statecore.seats import Held, Seat
from statecore.settings import RouterOptions
from statecore.status import LinkState, Status

__all__ = ["attach_core", "core_packet", "may_be_core"]

# So many agents fit into one return_statuses with room to spare: upstream reads 1 MiB a message.
STATUSES_A_PACKET = 2_000

_ONBOARDING = "onboarding"  # the page, too, tells an onboarding agent by how its id begins


class _Details(msgspec.Struct):
    request_id: str
    agent_id: str | None = None
    failure_reason: str | None = None


class _Status(msgspec.Struct):
    status: Status


_details = msgspec.json.Decoder(_Details)
_status = msgspec.json.Decoder(_Status)


def may_be_core(principal: Principal, options: RouterOptions) -> bool:
    """Whether this peer may speak as the core (S7).

    With a system token it must present it. Without one it must come from this machine, not
    through a proxy and not from a browser: upstream's core sends neither ``Origin`` nor a
    forwarding header.
    """
    if options.system_token is not None:
        return principal.token == options.system_token
    return principal.loopback and principal.origin is None and not principal.forwarded


def attach_core(router: RouterState, connection: Connection, out: list[Effect]) -> None:
    """This connection is the core's from now on.

    Raises:
        RemoteProtocolError: it may not be.
    """
    if connection.agent_id or not may_be_core(connection.principal, router.options):
        raise RemoteProtocolError(
            "this connection may not speak as the core",
            error_type="not-authenticated",
            field="subject_id",
            expected="the system token, or without one a core on this machine",
        )
    if router.core == connection.name:
        return  # upstream's core says alive more than once
    old = router.connections.get(router.core or "")
    if old is not None:
        out.append(Close(old.name, CLOSE_CORE_REPLACED, "the core has a newer connection"))
        old.is_core, old.replaced = False, True
        core_gone(router, out)
    router.core, connection.is_core = connection.name, True
    router.outbox.connect(connection.name, pings=connection.pings, out=out)


def core_gone(router: RouterState, out: list[Effect]) -> None:
    """The core's connection dropped: what was not settled is sent again, a registration never."""
    router.core = None
    router.outbox.disconnect()
    for pending in list(router.requests):
        if pending.kind == PacketType.REGISTER_AGENT and not router.outbox.holds(pending.id):
            pending.lost = True
            if not pending.waiting:
                out.append(CancelTimer(("orphan", pending.id)))
                router.requests.close(pending)


def core_packet(router: RouterState, packet: Envelope, out: list[Effect]) -> None:
    """Take one packet of the core.

    Raises:
        RemoteProtocolError: it is not taken, and nothing has changed.
    """
    rule = PACKETS[PacketType(packet.packet_type)]
    if Party.CORE not in rule.senders:
        raise RemoteProtocolError(
            f"the core may not send {packet.packet_type}",
            error_type="not-allowed",
            field="packet_type",
            expected="agent_details, update_status, client_bound_live_update, request_statuses",
        )
    if rule.needs_object and not is_object(packet.data):
        raise RemoteProtocolError(
            f"data of {packet.packet_type} is no object",
            error_type="wrong-type",
            field="data",
            expected="a JSON object",
        )
    match rule.packet_type:
        case PacketType.AGENT_DETAILS:
            _agent_details(router, packet, out)
        case PacketType.UPDATE_STATUS:
            _update_status(router, packet, out)
        case PacketType.CLIENT_BOUND_LIVE_UPDATE:
            _to_page(router, _seat_of(router, packet), packet, out)
        case _:
            _request_statuses(router, packet, out)


def _agent_details(router: RouterState, packet: Envelope, out: list[Effect]) -> None:
    try:
        details = _details.decode(packet.data)
    except msgspec.DecodeError as error:
        raise RemoteProtocolError(
            f"agent_details: {error}",
            error_type="wrong-type",
            field="data",
            expected="request_id as a text, agent_id as a text or null",
        ) from None
    pending = router.requests.find(details.request_id)
    if pending is None:
        raise RemoteProtocolError(
            f"nobody waits for an answer to request {details.request_id}",
            error_type="late-answer",
            field="request_id",
            expected="one answer to each request, in time",
        )
    router.requests.close(pending)
    router.outbox.handled(("request", pending.id))
    for post in pending.waiting:
        out.append(CancelTimer(("request", post)))
        out.append(Reply(post, 200, packet))
    if not pending.waiting:
        out.append(CancelTimer(("orphan", pending.id)))
    if details.agent_id:
        _seated(router, pending, details.agent_id, packet, out)
    else:
        seat = _asker(router, pending)
        seat.answer = packet.data
        seat.fire(Trigger.DETAILS_REFUSED, details.failure_reason or "refused")
        router.after_move(seat, out)


def _asker(router: RouterState, pending: Pending) -> Seat:
    """The seat that the answer is about, as it stands now."""
    if pending.kind == PacketType.SUBMIT_ONBOARDING:
        return router.seats.find(pending.key) or Seat(pending.key)
    return router.seats.of_registration(pending.key) or pending.newborn


def _seated(
    router: RouterState, pending: Pending, agent_id: str, packet: Envelope, out: list[Effect]
) -> None:
    """The core named an agent in its answer: find its seat, or make the asker's seat that one."""
    seat = _asker(router, pending)
    is_onboarding = pending.kind == PacketType.SUBMIT_ONBOARDING
    registration = seat.registration if is_onboarding else pending.key
    named = router.seats.find(agent_id)
    if named is not None and named.registration and named.registration != registration:
        # A new core database starts again at "1" (docs/protocol.md, "Agent ids").
        router.drop(named, CLOSE_TAKEN_OVER, "a new task run has begun", out)
    if not is_onboarding:
        former = router.seats.of_registration(registration)
        if former is not None and former.agent_id != agent_id:
            if former.agent_id.startswith(_ONBOARDING) and not agent_id.startswith(_ONBOARDING):
                seat, is_onboarding = former, True  # its answer was lost; the reload asks again
            else:
                router.drop(former, CLOSE_TAKEN_OVER, "a new task run has begun", out)
                seat = Seat()
    known = router.seats.current(agent_id)
    if known is not None and known is not seat:
        seat = _absorb(router, seat, known, out)
    elif seat.agent_id != agent_id:
        _rename(router, seat, agent_id, out)
    seat.registration = registration
    router.seats.add(seat)
    router.known(seat)
    if is_onboarding:
        seat.answer = packet.data
    else:
        seat.mailbox.clear()  # past_live_updates carries what was sent before
    onboards = agent_id.startswith(_ONBOARDING)
    seat.fire(Trigger.DETAILS_ONBOARDING if onboards else Trigger.DETAILS_AGENT)
    router.after_move(seat, out)


def _absorb(router: RouterState, seat: Seat, known: Seat, out: list[Effect]) -> Seat:
    """The core's push was faster than its answer: the seat that it made goes on."""
    if seat.agent_id:
        connection = router.connections.get(seat.connection or "")
        router.unbind(seat)
        router.drop(seat, CLOSE_REPLACED, "its agent has a new id", out)
        known.former = (*known.former, *seat.former, seat.agent_id)
        if connection is not None and known.connection is None:
            router.bind(connection, known, seat.named_by, out)
    return known


def _rename(router: RouterState, seat: Seat, agent_id: str, out: list[Effect]) -> None:
    """The asker's seat takes the id that the core gave."""
    if not seat.agent_id:
        seat.agent_id = agent_id
        return
    if seat.link == LinkState.LOST:
        out.append(CancelTimer(("grace", seat.agent_id)))
        out.append(SetTimer(("grace", agent_id), router.options.grace))
    connection = router.connections.get(seat.connection or "")
    if connection is not None:
        connection.agent_id = agent_id
    router.seats.rename(seat, agent_id)
    seat.pushed = Status.NONE  # of the new agent the core has not said a word yet
    seat.submitted = False


def _update_status(router: RouterState, packet: Envelope, out: list[Effect]) -> None:
    try:
        status = _status.decode(packet.data).status
    except msgspec.DecodeError:
        status = Status.MEPHISTO_DISCONNECT
    if status is Status.MEPHISTO_DISCONNECT:
        raise RemoteProtocolError(
            "update_status with a status that is none",
            error_type="unknown-status",
            field="status",
            expected=", ".join(s for s in Status if s is not Status.MEPHISTO_DISCONNECT),
        )
    seat = _seat_of(router, packet)
    if not router.seats.is_alias(packet.subject_id):
        router.push(seat, status, out)
    _to_page(router, seat, packet, out)


def _to_page(router: RouterState, seat: Seat, packet: Envelope, out: list[Effect]) -> None:
    if router.seats.is_alias(packet.subject_id) and seat.named_by != packet.subject_id:
        return  # the page already goes by the new id; the old one's news would mislead it
    router.deliver(seat, packet, out)


def _seat_of(router: RouterState, packet: Envelope) -> Seat:
    """The seat that the core speaks about; a new one when it is first heard of."""
    seat = router.seats.find(packet.subject_id)
    if seat is None:
        if packet.subject_id in ("", SYSTEM_ID):
            raise RemoteProtocolError(
                f"{packet.packet_type} about nobody",
                error_type="bad-field",
                field="subject_id",
                expected="an agent id",
            )
        seat = Seat(packet.subject_id)
        router.seats.add(seat)
    router.known(seat)
    return seat


def _request_statuses(router: RouterState, packet: Envelope, out: list[Effect]) -> None:
    router.core_heard_at = packet.router_incoming_timestamp or router.core_heard_at
    router.outbox.ping(out)
    for seat in list(router.seats):
        _age_held(router, seat, out)
        _age_unknown(router, seat, out)
    statuses: dict[str, str] = {}
    for seat in router.seats:
        if seat.core_knows_the_end:
            continue
        seat.told = seat.told or seat.link_ended
        statuses[seat.agent_id] = seat.reported
    names = list(statuses)
    for first in range(0, max(1, len(names)), STATUSES_A_PACKET):
        part = {name: statuses[name] for name in names[first : first + STATUSES_A_PACKET]}
        assert router.core is not None
        out.append(
            Send(
                router.core,
                Envelope(
                    PacketType.RETURN_STATUSES,
                    SYSTEM_ID,
                    encode_data(part) if part else EMPTY,
                    packet.server_timestamp,
                    packet.router_incoming_timestamp,
                ),
            )
        )


def _age_held(router: RouterState, seat: Seat, out: list[Effect]) -> None:
    """One more poll has passed: refuse what has been held for long enough."""
    if not seat.held:
        return
    kept = []
    for item in seat.held:
        if item.polls + 1 <= router.options.held_polls:
            kept.append(Held(item.packet, item.polls + 1))
        elif seat.connection is not None:
            error = RemoteProtocolError(
                f"live_update while {seat.state}: the task has not started",
                error_type="illegal-in-state",
                field="packet_type",
                expected=", ".join(LIFECYCLE.legal(seat.state)),
            )
            router.refuse(seat.connection, error, out)
    seat.held = kept


def _age_unknown(router: RouterState, seat: Seat, out: list[Effect]) -> None:
    """An agent that only a page has named, and of which the core says nothing, is refused."""
    if seat.agent_id not in router.seats.unknown:
        return
    seat.polls += 1
    if seat.polls > router.options.held_polls:
        if seat.connection is not None:
            error = RemoteProtocolError(
                f"the core knows no agent {seat.agent_id}",
                error_type="unknown-agent",
                field="subject_id",
                expected="an agent id that /request_agent answered",
            )
            router.refuse(seat.connection, error, out)
        router.drop(seat, CLOSE_UNKNOWN, "the core knows no such agent", out)
