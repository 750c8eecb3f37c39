"""The core's poll and the router's report.

1. What is reported is the status that the core last pushed, or that the link ended the agent; never an
   inference, and only current ids.
2. Of an agent whose end the core itself pushed there is nothing to say, except to a core that has just
   connected: pushes are dropped while its connection is down, and a status that is not its own makes it
   push again (docs/protocol.md, "The core").
3. The poll is the clock of what is held: an agent that only a page has named is refused when the core
   has left its reports unanswered for so many polls.
"""

from __future__ import annotations

from collections.abc import Iterator

from statecore.effects import Effect, Send
from statecore.envelope import EMPTY, Envelope, encode_data
from statecore.errors import RemoteProtocolError
from statecore.moves import age_held, drop
from statecore.packets import SYSTEM_ID, PacketType
from statecore.router_state import CLOSE_UNKNOWN, RouterState
from statecore.seats import Seat

__all__ = ["report_statuses"]


def report_statuses(router: RouterState, packet: Envelope, out: list[Effect]) -> None:
    """Answer request_statuses with return_statuses."""
    router.core_heard_at = packet.router_incoming_timestamp or router.core_heard_at
    router.outbox.ping(out)
    for seat in list(router.seats):
        age_held(router, seat, out)
        _age_unknown(router, seat, out)
    statuses: dict[str, str] = {}
    for seat in router.seats:
        if seat.core_knows_the_end and not router.report_all:
            continue
        seat.told = seat.told or seat.link_ended
        statuses[seat.agent_id] = seat.reported
    router.report_all = False
    assert router.core is not None
    for part in _parts(statuses, router.options.core_limit // 2):
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


def _parts(statuses: dict[str, str], limit: int) -> Iterator[dict[str, str]]:
    """Parts that fit into a packet each; at least one, because the core waits for an answer."""
    part: dict[str, str] = {}
    size = 0
    for agent_id, status in statuses.items():
        # A page may have named an agent with characters that take six bytes each in JSON.
        more = 6 * len(agent_id) + len(status) + 8
        if part and size + more > limit:
            yield part
            part, size = {}, 0
        part[agent_id] = status
        size += more
    yield part


def _age_unknown(router: RouterState, seat: Seat, out: list[Effect]) -> None:
    """An agent that only a page has named, and of which the core says nothing, is refused."""
    if not router.seats.is_unknown(seat):
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
        drop(router, seat, CLOSE_UNKNOWN, "the core knows no such agent", out)
