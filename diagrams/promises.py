"""The promises of docs/protocol.md as properties of a ``World``, in the promises' words."""

from __future__ import annotations

from statecore.diagrams.properties import Property, always, eventually, sometimes
from statecore.diagrams.world import World
from statecore.status import FINAL_STATES, State, Status

__all__ = ["PROMISES", "SITUATIONS"]


def one_answer(world: World) -> bool:
    """No request has two answers."""
    return all(count == 1 for count in world.replies.values())


def every_request_answered(world: World) -> bool:
    """No POST waits in the router."""
    return all(post.where != "waiting" for post in world.posts)


def no_lost_work(world: World) -> bool:
    """What got a 2xx has reached the task."""
    return world.accepted <= world.submitted


def counted_once(world: World) -> bool:
    """The task was told of no submission twice."""
    return not world.twice


def in_order(world: World) -> bool:
    """Each page was shown a beginning of what was sent to it: in order, without gaps, once."""
    return all(
        shown == sent[: len(shown)] for shown, sent in zip(world.shown, world.sent, strict=True)
    )


def agreed(world: World) -> bool:
    """Page, router and backend say the same of every agent that a page has."""
    for page in world.pages:
        if page.agent_id is None or page.ended is not None:
            continue
        seat = world.router.agent(page.agent_id)
        agent = world.backend.agent(page.agent_id)
        if agent is None or seat is None or seat.state != agent.state:
            return False
        if page.state != agent.state and page.link != "absent":
            return False
    return True


def ended(world: World) -> bool:
    """Every page has come to an end."""
    return all(page.state in FINAL_STATES or page.ended is not None for page in world.pages)


def told_the_truth(world: World) -> bool:
    """Nobody is disconnected by its link while a socket of it is up (S6)."""
    return all(
        not (seat.link_ended and seat.link == "up") or seat.told
        for seat in world.router.state.seats
    )


def one_life(world: World) -> bool:
    """No two seats of the router are one backend agent, and no two pages share one."""
    ids = [page.agent_id for page in world.pages if page.agent_id is not None]
    return len(ids) == len(set(ids))


PROMISES: tuple[Property[World], ...] = (
    always("S1 every request gets at most one answer", one_answer),
    always("S2 the task counts a submission once", counted_once),
    always("S3 updates are shown in order, without gaps, once", in_order),
    always("S7 no two pages speak for one agent", one_life),
    eventually("S2 a submission that got a 2xx reaches the task", no_lost_work),
    eventually("S4 page, router and backend come to agree", agreed),
    eventually("L1 every agent can come to an end", ended),
    eventually("L2 every open request is answered", every_request_answered),
)

SITUATIONS: tuple[Property[World], ...] = (
    sometimes(
        "everybody completes",
        lambda world: all(p.state == State.COMPLETED and p.submitted for p in world.pages),
    ),
    sometimes(
        "a partner left",
        lambda world: any(p.outcome == Status.PARTNER_DISCONNECT for p in world.pages),
    ),
    sometimes(
        "an agent is disconnected", lambda w: any(s.link_ended for s in w.router.state.seats)
    ),
)
