"""What follows when an agent moves, and what of a page's packets may go to the core and when.

1. After every move, what was held is tried again and an end is remembered (``after_move``).
2. A live update is forwarded, held or refused as the table says for the agent's state.
3. Nothing is sent about an agent that only a page has named: upstream's core drops a packet about an
   agent that it does not know (docs/protocol.md, "The core"). Live updates and work
   of such an agent wait until the core speaks of it, and so does the POST when the core is there.
4. What is held has its room in the outbox, so it can always be forwarded.
"""

from __future__ import annotations

from msgspec.structs import replace

from statecore.delivery import weight
from statecore.effects import CancelTimer, Close, Count, Effect, Reply, Save, Send, SetTimer
from statecore.envelope import Envelope, encode_data, encode_envelope
from statecore.errors import ProtocolError, RemoteProtocolError
from statecore.lifecycle import LIFECYCLE, STATUS_TRIGGERS, Action, Trigger
from statecore.packets import PacketType
from statecore.requests import failure
from statecore.router_state import CLOSE_TAKEN_OVER, CLOSE_UNKNOWN, RouterState, refusal
from statecore.seats import Held, Seat
from statecore.status import FINAL_STATES, STATE_OF, LinkState, State, Status

__all__ = [
    "after_move",
    "age_held",
    "check_live_update",
    "check_room",
    "check_size",
    "done",
    "drop",
    "link_died",
    "push",
    "take_live_update",
    "take_work",
    "work_expired",
]

# These show that a submission, and all work before it, was handled.
_HANDLED = (Status.COMPLETED, Status.APPROVED, Status.SOFT_REJECTED, Status.REJECTED)
# These say nothing about an onboarding that was handed in.
_BEFORE = (Status.NONE, Status.ACCEPTED, Status.ONBOARDING)

_NEW_RUN = "A new run of this task has begun. Please reload the page."


def check_size(router: RouterState, packet: Envelope) -> None:
    """Upstream's core closes its connection above 1 MiB (docs/protocol.md, "The core").

    Raises:
        RemoteProtocolError: the packet, with its keys, would be larger than the core takes.
    """
    options = router.options
    is_error = packet.packet_type == PacketType.LOG_ERROR
    limit = min(options.core_limit, options.error_limit) if is_error else options.core_limit
    size = weight(packet)
    if size > limit:
        raise RemoteProtocolError(
            f"{packet.packet_type} of {size:,} bytes",
            error_type="too-large",
            field="data",
            expected=f"at most {limit:,} bytes",
        )


def check_room(router: RouterState, packet: Envelope) -> None:
    """What must hold before a packet is promised to the core.

    Raises:
        RemoteProtocolError: it is too large for the core, or too much waits for the core.
    """
    check_size(router, packet)
    if not router.has_room(packet):
        raise RemoteProtocolError(
            "too much waits for the backend already",
            error_type="outbox-full",
            expected="the backend to come back; try again later",
        )


# Live updates ------------------------------------------------------------------------------------


def check_live_update(router: RouterState, seat: Seat | None, packet: Envelope) -> str:
    """What to do with a page's live update: ``Action.FORWARD`` or ``Action.HOLD``.

    Args:
        router: the router.
        seat: ``None`` for an agent that is not known yet: it would be connecting.
        packet: the live update.

    Raises:
        RemoteProtocolError: the agent has ended, too many are held, or it does not fit.
    """
    # No state changes, so the table is read and not fired: a trigger costs more than a relay.
    action = _live_action(State.CONNECTING if seat is None else seat.state)
    check_room(router, packet)
    if seat is None:
        return action
    if action == Action.FORWARD and not seat.held and not router.seats.is_unknown(seat):
        return action
    _check_held(router, seat)
    return Action.HOLD


def take_live_update(
    router: RouterState, seat: Seat, packet: Envelope, action: str, out: list[Effect]
) -> None:
    """Forward or hold a live update, as ``check_live_update`` said."""
    if action == Action.FORWARD:
        router.outbox.add(_addressed(seat, packet), out)
    else:
        _hold(router, seat, Held(packet))


def _live_action(state: str) -> str:
    rows = LIFECYCLE.rows_for(state, Trigger.LIVE_UPDATE)
    if not rows:
        raise RemoteProtocolError(
            f"live_update while {state}: {LIFECYCLE.refused[state, Trigger.LIVE_UPDATE]}",
            error_type="illegal-in-state",
            field="packet_type",
            expected=", ".join(LIFECYCLE.legal(state)),
        )
    action = rows[0].action
    assert action is not None
    return action


# Work --------------------------------------------------------------------------------------------


def take_work(
    router: RouterState, seat: Seat, packet: Envelope, post: str, out: list[Effect]
) -> None:
    """A submission or metadata: never refused by state; it moves the agent when it comes.

    Of an agent that the core has not named, the packet waits. Its POST waits with it, for that may
    be a poll or two; it gets its 2xx at once when the core is away, for that may be long.

    Raises:
        RemoteProtocolError: too much is held for this agent; nothing has changed.
    """
    waits = router.seats.is_unknown(seat)
    if waits:
        _check_held(router, seat)
    row = seat.fire(Trigger.SUBMIT_UNIT if _is_unit(packet) else Trigger.SUBMIT_METADATA)
    assert row is not None  # every state has a row for work
    if row.dest is not None:
        seat.link_ended = False
    if row.action == Action.ANSWER_ONLY:
        out.append(done(post, kept=False))
    elif not waits:
        _forward_work(router, seat, packet, post, out)
    elif router.core is None:
        _hold(router, seat, Held(packet))
        _acknowledge(seat, packet, post, out)
    else:
        _hold(router, seat, Held(packet, post=post))
        out.append(SetTimer(("request", post), router.options.request_wait))
    after_move(router, seat, out)


def work_expired(router: RouterState, post: str, out: list[Effect]) -> None:
    """A POST with work has waited to its limit: the work is kept, and need not be seen to wait."""
    seat = router.seats.find(router.held_posts.pop(post, ""))
    if seat is None:
        return
    (index,) = (n for n, item in enumerate(seat.held) if item.post == post)
    packet = seat.held[index].packet
    seat.held[index] = Held(packet)
    out.append(Count("request-expired"))
    _acknowledge(seat, packet, post, out)


def done(post: str, *, kept: bool = True) -> Reply:
    """The 2xx of work that was taken, or that was there already and goes no further."""
    return Reply(post, 200, bytes(encode_data({"status": "submitted"})), kept=kept)


def _forward_work(
    router: RouterState, seat: Seat, packet: Envelope, post: str, out: list[Effect]
) -> None:
    packet = _addressed(seat, packet)
    # Of an agent that has ended no status will show that it was handled: a pong must do. Except of
    # the submission that ended it, which the core is still to confirm.
    confirms = _is_unit(packet) and seat.state == State.COMPLETED and not seat.core_knows_the_end
    by = ("agent", seat.agent_id) if confirms or not seat.is_final else None
    if post:
        out.append(Save(encode_envelope(packet)))
    router.outbox.add(packet, out, by)
    if post:
        out.append(done(post))
    seat.submitted = seat.submitted or _is_unit(packet)


def _acknowledge(seat: Seat, packet: Envelope, post: str, out: list[Effect]) -> None:
    """The 2xx of work that waits here: it is written down first."""
    out.append(Save(encode_envelope(packet)))
    out.append(done(post))
    seat.submitted = seat.submitted or _is_unit(packet)


def _is_unit(packet: Envelope) -> bool:
    return packet.packet_type == PacketType.SUBMIT_UNIT


# What is held ------------------------------------------------------------------------------------


def _check_held(router: RouterState, seat: Seat) -> None:
    if len(seat.held) >= router.options.held_updates:
        raise RemoteProtocolError(
            f"{len(seat.held)} packets wait already while {seat.state}",
            error_type="too-early",
            expected="the task to start",
        )


def _hold(router: RouterState, seat: Seat, item: Held) -> None:
    seat.held.append(item)
    router.held_bytes += weight(item.packet)
    if item.post:
        router.held_posts[item.post] = seat.agent_id


def _unheld(router: RouterState, item: Held) -> None:
    router.held_bytes -= weight(item.packet)
    if item.post:
        del router.held_posts[item.post]


def _release_held(router: RouterState, seat: Seat, out: list[Effect]) -> None:
    """Forward what is legal now and refuse what never will be, up to what must wait longer."""
    while seat.held:
        item = seat.held[0]
        try:
            waits = _waits(router, seat, item)
        except RemoteProtocolError as error:
            _give_up(router, seat, item, error, out)
            continue
        if waits:
            return
        del seat.held[0]
        _unheld(router, item)
        if item.post:
            out.append(CancelTimer(("request", item.post)))
        if item.post and _is_unit(item.packet) and seat.submitted:
            out.append(done(item.post, kept=False))  # another tab was faster
        elif _is_work(item):
            _forward_work(router, seat, item.packet, item.post, out)
        else:
            router.outbox.add(_addressed(seat, item.packet), out)


def _waits(router: RouterState, seat: Seat, item: Held) -> bool:
    is_early = not _is_work(item) and _live_action(seat.state) == Action.HOLD
    return is_early or router.seats.is_unknown(seat)


def _is_work(item: Held) -> bool:
    return item.packet.packet_type != PacketType.MEPHISTO_BOUND_LIVE_UPDATE


def age_held(router: RouterState, seat: Seat, out: list[Effect]) -> None:
    """One more poll has passed: refuse the live updates that have been held for long enough."""
    for item in list(seat.held):
        if _is_work(item):
            continue  # it waits for the core to speak of its agent, and is dropped with it
        seat.held[seat.held.index(item)] = older = replace(item, polls=item.polls + 1)
        if older.polls > router.options.held_polls:
            error = RemoteProtocolError(
                f"live_update while {seat.state}: the task has not started",
                error_type="illegal-in-state",
                field="packet_type",
                expected=", ".join(LIFECYCLE.legal(seat.state)),
            )
            _give_up(router, seat, older, error, out)
    _release_held(router, seat, out)


def _give_up(
    router: RouterState, seat: Seat, item: Held, error: ProtocolError, out: list[Effect]
) -> None:
    """Tell whoever sent a packet that was held why it is not taken."""
    seat.held.remove(item)
    _unheld(router, item)
    if item.post:
        out.append(CancelTimer(("request", item.post)))
        out.append(Count("refused", error.error_type))
        out.append(refusal(item.post, error))
    elif seat.connection is not None:
        router.refuse(seat.connection, error, out)
    else:
        out.append(Count("refused", error.error_type))


def _addressed(seat: Seat, packet: Envelope) -> Envelope:
    """A page may still use the id of its onboarding: the core knows the agent by the new one."""
    if packet.subject_id == seat.agent_id:
        return packet
    return replace(packet, subject_id=seat.agent_id)


# Moves -------------------------------------------------------------------------------------------


def after_move(router: RouterState, seat: Seat, out: list[Effect]) -> None:
    """What follows every change of a seat's state."""
    _release_held(router, seat, out)
    if seat.is_final:
        for oldest in router.seats.finished(seat, router.options.finished_agents):
            drop(router, oldest, CLOSE_UNKNOWN, "the end of this agent is forgotten", out)


def push(router: RouterState, seat: Seat, status: Status, out: list[Effect]) -> None:
    """The core pushed a status: the table decides, the work that it proves is settled."""
    router.known(seat)
    seat.pushed = status
    seat.fire(STATUS_TRIGGERS[status])
    if seat.core_knows_the_end:
        seat.link_ended = seat.told = False  # it ended by the core's word, whatever the link did
    by = ("agent", seat.agent_id)
    if status in _HANDLED:
        router.outbox.handled(by)
    elif STATE_OF[status] in FINAL_STATES:
        router.outbox.proof_is_enough(by)
    if status not in _BEFORE:
        router.onboarding_handled(seat.agent_id)
    after_move(router, seat, out)
    if seat.link == LinkState.DEAD:
        link_died(router, seat, out)  # it left while the core had not spoken of it


def link_died(router: RouterState, seat: Seat, out: list[Effect]) -> None:
    """The grace time is over, or a socket fell silent: the agent is disconnected (S6)."""
    if router.seats.is_unknown(seat) or seat.fire(Trigger.LINK_DEAD) is None:
        return  # an agent that the core has not named is not there to be disconnected, yet
    seat.link_ended = True
    out.append(Count("disconnected"))
    if seat.connection is not None:
        out.append(Send(seat.connection, router.status_packet(seat)))
    after_move(router, seat, out)


def drop(router: RouterState, seat: Seat, code: int, reason: str, out: list[Effect]) -> None:
    """Forget a seat whole: socket closed, mailbox, aliases, outcome and what was held gone."""
    error = RemoteProtocolError(
        f"agent {seat.agent_id} is not known any more: {reason}",
        error_type="unknown-agent",
        field="USED_AGENT_ID",
        expected="an agent id that /request_agent answered",
    )
    for item in list(seat.held):
        _give_up(router, seat, item, error, out)
    if seat.connection is not None:
        out.append(Close(seat.connection, code, reason))
        router.connections[seat.connection].replaced = True
    router.unbind(seat)
    if seat.link == LinkState.LOST:
        out.append(CancelTimer(("grace", seat.agent_id)))
    for agent_id in (seat.agent_id, *seat.former):
        if code == CLOSE_TAKEN_OVER:
            _disown(router, agent_id, out)
        elif router.seats.is_unknown(seat):
            router.outbox.forget(agent_id)  # the core knows it no more, and would fail on it
        else:
            router.outbox.proof_is_enough(("agent", agent_id))
    router.seats.drop(seat)


def _disown(router: RouterState, agent_id: str, out: list[Effect]) -> None:
    """A new run gives this id to somebody else: nothing of the old agent may reach it."""
    router.outbox.forget(agent_id)
    pending = router.requests.in_flight(PacketType.SUBMIT_ONBOARDING, agent_id)
    if pending is None:
        return
    router.requests.close(pending)
    router.outbox.handled(("request", pending.id))
    for post in pending.waiting:
        out.append(CancelTimer(("request", post)))
        out.append(failure(post, _NEW_RUN))
    if not pending.waiting:
        out.append(CancelTimer(("orphan", pending.id)))
