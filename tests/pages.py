"""Steps that many tests of a page share: a page at each point of its life, and the frames it gets."""

from __future__ import annotations

import json
from typing import Any

from statecore.client import ClientCore
from statecore.client_events import Answered, ClientEffect, Register
from statecore.events import Frame, Opened
from statecore.settings import ClientOptions

__all__ = ["answer", "frame", "live_page", "page", "status"]


def answer(agent_id: str | None, post_id: str = "post", **data: Any) -> Answered:
    """The agent_details that a POST is answered with."""
    told = {"request_id": "r", "worker_id": "w1", "agent_id": agent_id, **data}
    packet = {"packet_type": "agent_details", "subject_id": "channel", "data": told}
    return Answered(post_id, 200, json.dumps(packet).encode())


def page(agent_id: str = "7", *, options: ClientOptions | None = None, **data: Any) -> ClientCore:
    """A page that was given an agent and has no socket yet."""
    core = ClientCore(options)
    core.receive(Register("post", {"worker_name": "ann", "agent_registration_id": "a-1"}))
    core.receive(answer(agent_id, **data))
    return core


def live_page(
    agent_id: str = "7",
    *,
    in_state: str | None = "in task",
    pings: bool = True,
    options: ClientOptions | None = None,
) -> ClientCore:
    """A page with a socket, in the state that this status means."""
    core = page(agent_id, options=options)
    core.receive(Opened("socket", pings=pings))
    if in_state is not None:
        status(core, in_state, agent_id)
    return core


def frame(
    core: ClientCore,
    packet_type: str,
    data: Any,
    *,
    subject_id: str = "7",
    connection: str = "socket",
) -> tuple[ClientEffect, ...]:
    """A packet that comes down the socket."""
    packet = {"packet_type": packet_type, "subject_id": subject_id, "data": data}
    return core.receive(Frame(connection, json.dumps(packet)))


def status(core: ClientCore, value: str, subject_id: str = "7") -> tuple[ClientEffect, ...]:
    """The core pushes a status."""
    return frame(core, "update_status", {"status": value}, subject_id=subject_id)
