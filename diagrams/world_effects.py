"""Performs, in a ``World``, what its cores order: the driver and the network of the explorer.

The task's program is here too: it sends each live update on to every agent of the assignment.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from statecore import backend_events as task_side
from statecore import client_events as page_side
from statecore.diagrams.world import CORE, Post, Wire, World, put
from statecore.effects import CancelTimer, Close, Count, Ping, Reply, Save, Send, SetTimer
from statecore.envelope import encode_envelope
from statecore.events import Closed

__all__ = ["backend_event", "name_of", "peer_event", "perform", "queue", "router_event"]


def router_event(world: World, event: Any) -> None:
    """Give the router one event, and perform what it orders."""
    world.router = world.router.copy()
    perform(world, "router", world.router.receive(event))


def backend_event(world: World, event: Any) -> None:
    """Give the backend one event, and perform what it orders."""
    world.backend = world.backend.copy()
    perform(world, CORE, world.backend.receive(event))


def peer_event(world: World, peer: str, event: Any) -> None:
    """Give one end of a wire an event: the backend, or the page of this number."""
    if peer == CORE:
        backend_event(world, event)
        return
    page = world.pages[int(peer)].copy()
    world.pages = put(world.pages, int(peer), page)
    perform(world, peer, page.receive(event))


def perform(world: World, who: str, effects: tuple[Any, ...]) -> None:
    """Perform what the router, the backend or a page ordered, in order."""
    for effect in effects:
        match effect:
            case SetTimer(key=key):
                world.timers |= {(who, key)}
            case CancelTimer(key=key):
                world.timers -= {(who, key)}
            case Send(connection=name, packet=packet):
                _carry(world, who, name, encode_envelope(packet))
            case Ping(connection=name, token=token):
                _carry(world, who, name, f"ping {token}")
            case Close(connection=name, code=code):
                _close(world, who, name, code)
            case Reply(request_id=request_id, status_code=code, body=body):
                _reply(world, request_id, code, body)
            case Save() | Count():
                pass
            case _ if who == CORE:
                _task(world, effect)
            case _:
                _program(world, int(who), effect)


def _carry(world: World, who: str, name: str, item: bytes | str) -> None:
    if who != "router":
        queue(world, who, inward=item)
        return
    for peer, wire in world.wires.items():
        if wire.name == name and wire.router_open:
            queue(world, peer, outward=item)


def queue(
    world: World,
    peer: str,
    *,
    inward: bytes | str | None = None,
    outward: bytes | str | None = None,
) -> None:
    """Put something on a wire, unless an end of it is closed."""
    wire = world.wires.get(peer)
    if wire is None or not wire.peer_open or not wire.router_open:
        return
    if inward is not None:
        wire = replace(wire, inward=(*wire.inward, inward))
    if outward is not None:
        wire = replace(wire, outward=(*wire.outward, outward))
    world.wires[peer] = wire


def _close(world: World, who: str, name: str, code: int) -> None:
    if who != "router":
        wire = world.wires.pop(who)
        if wire.router_open:
            world.old_wires = (*world.old_wires, replace(wire, inward=(), outward=()))
        peer_event(world, who, Closed(name_of(who, wire), code))
        return
    for peer, wire in world.wires.items():
        if wire.name == name and wire.router_open:
            queue(world, peer, outward=f"close {code}")
            world.wires[peer] = replace(world.wires[peer], router_open=False, inward=())
            world.old_wires = (*world.old_wires, Wire(name))


def _reply(world: World, request_id: str, code: int, body: Any) -> None:
    world.replies[request_id] = world.replies.get(request_id, 0) + 1
    for post in world.posts:
        if post.request_id == request_id and post.where == "waiting":
            content = body if isinstance(body, bytes) else encode_envelope(body)
            answered = replace(post, where="back", answer=(code, content))
            world.replace_post(post, answered)


def _program(world: World, number: int, effect: Any) -> None:
    match effect:
        case page_side.Post():
            post = Post(number, effect.post_id, effect.route, effect.body, effect.attempt)
            world.posts = (*world.posts, post)
        case page_side.OpenSocket():
            world.opening |= {str(number)}
        case page_side.UpdateArrived(data=data):
            shown = (*world.shown[number], data["update_id"])
            world.shown = put(world.shown, number, shown)
        case _:
            pass  # the page's core keeps what else it was told


def _task(world: World, effect: Any) -> None:
    match effect:
        case task_side.UpdateArrived(agent_id=agent_id, update_id=update_id):
            sender = world.backend.state.agents[agent_id]
            for agent in list(world.backend.state.agents.values()):
                if agent.assignment == sender.assignment:
                    echo = f"{update_id}>{agent.agent_id}"
                    number = int(agent.worker[1:])
                    world.sent = put(world.sent, number, (*world.sent[number], echo))
                    backend_event(
                        world, task_side.SendUpdate(agent.agent_id, msgspec.Raw(b"{}"), echo)
                    )
        case task_side.Submitted(agent_id=agent_id):
            if agent_id in world.submitted:
                world.twice |= {agent_id}
            world.submitted |= {agent_id}
        case _:
            pass  # starts and ends are in the backend's own state


def name_of(peer: str, wire: Wire) -> str:
    """The peer's own name for a wire: a backend's channel outlives its sockets."""
    return CORE if peer == CORE else wire.name
