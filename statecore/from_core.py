"""Frames from the core: answers, statuses, live updates and its poll.

1. The core is re-pointed at each authenticated ``alive``: after a drop it sends nothing else.
2. An answer is given to every POST that waits for it, and moves the seat by one trigger.
3. What the core sends to a page is never refused by state; it waits when there is no socket.
4. The poll is the core's heartbeat; ``report.py`` answers it.
"""

from __future__ import annotations

import hmac

import msgspec

from statecore.checks import check_packet
from statecore.effects import CancelTimer, Close, Effect, Reply, SetTimer
from statecore.envelope import Envelope, decode_json
from statecore.errors import PacketDecodeError, RemoteProtocolError
from statecore.events import Principal
from statecore.lifecycle import LinkTrigger, Trigger
from statecore.moves import after_move, drop, push
from statecore.packets import SYSTEM_ID, PacketType, Party
from statecore.report import report_statuses
from statecore.requests import Pending
from statecore.router_state import (
    CLOSE_CORE_REPLACED,
    CLOSE_REPLACED,
    CLOSE_TAKEN_OVER,
    Connection,
    RouterState,
)
from statecore.seats import Seat
from statecore.settings import RouterOptions
from statecore.status import LinkState, State, Status

__all__ = ["attach_core", "core_packet", "may_be_core"]

_ONBOARDING = "onboarding"  # the page, too, tells an onboarding agent by how its id begins


class _Details(msgspec.Struct):
    request_id: str
    agent_id: str | None  # a page throws when the key is missing
    failure_reason: str | None = None


class _Status(msgspec.Struct):
    status: Status


def may_be_core(principal: Principal, options: RouterOptions) -> bool:
    """Whether this peer may speak as the core (S7).

    With a system token it must present it. Without one it must come from this machine, not
    through a proxy and not from a browser: upstream's core sends neither ``Origin`` nor a
    forwarding header.
    """
    if options.system_token is not None:
        token = principal.token or ""
        return hmac.compare_digest(token.encode(), options.system_token.encode())
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
    router.report_all = True  # while it was away, it may have changed its mind about an end
    router.outbox.connect(connection.name, pings=connection.pings, out=out)


def core_gone(router: RouterState, out: list[Effect]) -> None:
    """The core's connection dropped: what was not settled is sent again, a registration never."""
    router.core = None
    router.outbox.disconnect()
    for seat in router.seats:
        # The last report may be lost with the connection: a submission wins until it is repeated,
        # and an agent that the core left without a status has two polls again.
        seat.told = False
        seat.polls = 0
    unsent = router.outbox.unsent()
    for pending in list(router.requests):
        if pending.kind == PacketType.REGISTER_AGENT and pending.id not in unsent:
            pending.lost = True
            if not pending.waiting:
                out.append(CancelTimer(("orphan", pending.id)))
                router.requests.close(pending)


def core_packet(router: RouterState, packet: Envelope, out: list[Effect]) -> None:
    """Take one packet of the core.

    Raises:
        RemoteProtocolError: it is not taken, and nothing has changed.
    """
    match check_packet(packet, Party.CORE).packet_type:
        case PacketType.AGENT_DETAILS:
            _agent_details(router, packet, out)
        case PacketType.UPDATE_STATUS:
            _update_status(router, packet, out)
        case PacketType.CLIENT_BOUND_LIVE_UPDATE:
            _to_page(router, _seat_of(router, packet), packet, out)
        case PacketType.REQUEST_STATUSES:
            report_statuses(router, packet, out)
        case _:
            raise RemoteProtocolError(
                f"alive of the core names {packet.subject_id[:64]!r}",
                error_type="bad-field",
                field="subject_id",
                expected=SYSTEM_ID,
            )


def _agent_details(router: RouterState, packet: Envelope, out: list[Effect]) -> None:
    try:
        # As a frame is read: a chat's past_live_updates may hold half of somebody's emoji.
        details = decode_json(_Details, bytes(packet.data), limit=len(bytes(packet.data)))
    except PacketDecodeError as error:
        raise RemoteProtocolError(
            f"agent_details: {error}",
            error_type="wrong-type",
            field="data",
            expected="request_id and failure_reason as texts, agent_id as a text or null",
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
        return
    seat = _asker(router, pending)
    if pending.kind == PacketType.SUBMIT_ONBOARDING:
        seat.answer = packet.data
    seat.fire(Trigger.DETAILS_REFUSED, details.failure_reason or "refused")
    # Nothing more will be said of an agent that never got in.
    router.outbox.proof_is_enough(("agent", seat.agent_id))
    after_move(router, seat, out)


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
    asked = pending.kind == PacketType.REGISTER_AGENT
    registration = pending.key if asked else seat.registration
    named = router.seats.find(agent_id)
    if named is not None and not _same(named.registration, registration):
        # A new core database starts again at "1" (docs/protocol.md, "Agent ids").
        drop(router, named, CLOSE_TAKEN_OVER, "a new task run has begun", out)
    if asked:
        seat = _registered(router, seat, agent_id, out)
    known = router.seats.current(agent_id)
    if known is not None and asked and router.seats.is_unknown(known):
        if known.link == LinkState.LOST:
            out.append(CancelTimer(("grace", agent_id)))
        known.fire_link(LinkTrigger.REGISTERED)
    if known is not None and known is not seat:
        seat = _absorb(router, seat, known, out)
    elif seat.agent_id != agent_id:
        _rename(router, seat, agent_id, out)
    seat.registration = registration
    router.seats.add(seat)
    router.known(seat)
    if asked:
        seat.mailbox.clear()  # past_live_updates carries what was sent before
    if seat.former:
        seat.answer = packet.data  # to its onboarding, too, should that be asked again
    onboards = agent_id.startswith(_ONBOARDING)
    seat.fire(Trigger.DETAILS_ONBOARDING if onboards else Trigger.DETAILS_AGENT)
    after_move(router, seat, out)


def _same(registration: str, other: str) -> bool:
    """Whether two registrations may be the same; an agent that was not registered here has none."""
    return not registration or not other or registration == other


def _registered(router: RouterState, seat: Seat, agent_id: str, out: list[Effect]) -> Seat:
    """Which seat goes on when a registration is answered with this agent."""
    if not seat.agent_id:
        # Its page was told that it failed, and yet there is a place: a new life.
        return Seat() if seat.state == State.FAILED else seat
    if seat.agent_id == agent_id:
        return seat
    passed = seat.agent_id.startswith(_ONBOARDING) and not agent_id.startswith(_ONBOARDING)
    if passed and seat.state != State.FAILED:
        router.onboarding_handled(seat.agent_id)  # its answer was lost; the reload asks again
        return seat
    if seat.state == State.FAILED or agent_id in seat.former:
        drop(router, seat, CLOSE_TAKEN_OVER, "a new task run has begun", out)
    else:
        # A new run, or somebody else who used this registration id: the core must confirm the old
        # agent within two polls, or it goes.
        router.doubt(seat)
    return Seat()


def _absorb(router: RouterState, seat: Seat, known: Seat, out: list[Effect]) -> Seat:
    """The core's push was faster than its answer: the seat that it made goes on."""
    if not seat.agent_id:
        return known
    connection = router.connections.get(seat.connection or "")
    named_by, was_lost = seat.named_by, seat.link == LinkState.LOST
    known.held, seat.held = [*seat.held, *known.held], []
    if connection is not None:
        router.unbind(seat)
        router.bind(connection, known, named_by, out)
    drop(router, seat, CLOSE_REPLACED, "its agent has a new id", out)
    known.former = (*known.former, *seat.former, seat.agent_id)
    if was_lost and known.link == LinkState.ABSENT:
        known.named_by = named_by
        known.fire_link(LinkTrigger.OPENED)
        router.link_closed(known, out)
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
    router.outbox.proof_is_enough(("agent", seat.agent_id))  # no status will come for the old id
    router.seats.rename(seat, agent_id)
    seat.pushed = Status.NONE  # of the new agent the core has not said a word yet
    seat.submitted = False


def _update_status(router: RouterState, packet: Envelope, out: list[Effect]) -> None:
    try:
        status = decode_json(_Status, bytes(packet.data), limit=len(bytes(packet.data))).status
    except PacketDecodeError:
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
        push(router, seat, status, out)
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
