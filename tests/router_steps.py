"""Steps that many tests of the router share: events as peers make them, effects as they are expected."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from statecore.effects import Effect, Reply, Send
from statecore.envelope import Envelope, encode_data
from statecore.events import Frame, Opened, Principal, Request, Route, TimerFired
from statecore.router import RouterCore
from statecore.seats import Seat
from statecore.settings import RouterOptions

__all__ = [
    "AT",
    "BROWSER",
    "LOCAL",
    "POLL",
    "alive_core",
    "connect",
    "details",
    "frame",
    "json_of",
    "metadata",
    "onboarding",
    "packet",
    "page",
    "post",
    "replies",
    "reported",
    "registration",
    "router",
    "seat",
    "seated",
    "send",
    "sent",
    "status",
    "submission",
    "timer",
    "update",
]

AT = 200.0  # when every frame arrives
LOCAL = Principal(loopback=True)
BROWSER = Principal(loopback=True, origin="http://localhost:3000")


def packet(
    packet_type: str, subject_id: str, value: Any = None, at: float | None = None
) -> Envelope:
    """A packet that the router made itself, or with ``at`` one that it relays."""
    data = encode_data({} if value is None else value)
    return Envelope(packet_type, subject_id, data, None, at)


def send(
    connection: str, packet_type: str, subject_id: str, value: Any = None, at: float | None = None
) -> Send:
    """The effect that sends such a packet."""
    return Send(connection, packet(packet_type, subject_id, value, at))


def frame(connection: str, packet_type: str, subject_id: str, value: Any = None) -> Frame:
    """A packet that comes down a connection."""
    told: dict[str, Any] = {
        "packet_type": packet_type,
        "subject_id": subject_id,
        "data": {} if value is None else value,
    }
    return Frame(connection, msgspec.json.encode(told).decode(), AT)


def details(request_id: str, agent_id: str | None, reason: str | None = None) -> Frame:
    """The core answers."""
    told: dict[str, Any] = {
        "request_id": request_id,
        "worker_id": None if agent_id is None else "7",
        "agent_id": agent_id,
        "init_task_data": {"past_live_updates": []},
        "failure_reason": reason,
    }
    return frame("core", "agent_details", "channel", told)


def status(agent_id: str, value: str) -> Frame:
    """The core pushes a status."""
    return frame("core", "update_status", agent_id, {"status": value})


def update(agent_id: str, name: str) -> Frame:
    """The core sends a live update to a page."""
    return frame("core", "client_bound_live_update", agent_id, {"update_id": name})


POLL = frame("core", "request_statuses", "mephisto")


def timer(name: str, whose: str = "") -> TimerFired:
    return TimerFired((name, whose))


def post(post_id: str, route: Route, body: dict[str, Any], **given: Any) -> Request:
    return Request(post_id, route, msgspec.json.encode(body), AT, **given)


def registration(post_id: str, who: str = "a-w") -> Request:
    data = {"worker_name": "w", "agent_registration_id": who}
    return post(post_id, Route.REQUEST_AGENT, {"provider_data": data})


def onboarding(post_id: str, agent_id: str = "onboarding_1") -> Request:
    data = {"USED_AGENT_ID": agent_id, "onboarding_data": {"answer": 42}}
    return post(post_id, Route.SUBMIT_ONBOARDING, {"provider_data": data})


def submission(post_id: str, agent_id: str = "1") -> Request:
    return post(
        post_id, Route.SUBMIT_TASK, {"USED_AGENT_ID": agent_id, "final_data": {"by": post_id}}
    )


def metadata(post_id: str, agent_id: str = "1") -> Request:
    tip = {"tips": {"header": "h", "text": post_id}}
    return post(post_id, Route.SUBMIT_METADATA, {"USED_AGENT_ID": agent_id, "metadata": tip})


def alive_core(core: RouterCore, name: str = "core", *, pings: bool = True) -> tuple[Effect, ...]:
    """The core connects, or comes back."""
    core.receive(Opened(name, LOCAL, AT, pings))
    return core.receive(frame(name, "alive", "mephisto"))


def router(*, core: bool = True, pings: bool = True, **options: Any) -> RouterCore:
    """A router, with its core connected and heard."""
    made = RouterCore(RouterOptions(**options))
    if core:
        alive_core(made, pings=pings)
        made.receive(POLL)
    return made


def seated(
    core: RouterCore, agent_id: str = "1", pushed: str | None = None, *, who: str = "a-w"
) -> Seat:
    """An agent gets its seat, and perhaps a status."""
    post_id = f"seat of {agent_id}"
    core.receive(registration(post_id, who))
    core.receive(details(post_id, agent_id))
    if pushed is not None:
        core.receive(status(agent_id, pushed))
    return seat(core, agent_id)


def seat(core: RouterCore, agent_id: str = "1") -> Seat:
    found = core.agent(agent_id)
    assert found is not None
    return found


def connect(core: RouterCore, name: str, *, pings: bool = True) -> None:
    """A browser opens a socket."""
    core.receive(Opened(name, BROWSER, AT, pings))


def page(
    core: RouterCore, agent_id: str = "1", name: str = "page", *, pings: bool = True
) -> tuple[Effect, ...]:
    """A page opens a socket and says alive."""
    connect(core, name, pings=pings)
    return core.receive(frame(name, "alive", agent_id))


def sent(effects: Iterable[Effect], connection: str) -> list[tuple[str, str, Any]]:
    """What goes down a connection: packet type, subject, data."""
    return [
        (e.packet.packet_type, e.packet.subject_id, json_of(e.packet))
        for e in effects
        if isinstance(e, Send) and e.connection == connection
    ]


def replies(effects: Iterable[Effect]) -> list[tuple[str, int, Any]]:
    """The answers to POSTs: which, status code, body (of a packet: its data)."""
    return [(e.request_id, e.status_code, json_of(e.body)) for e in effects if isinstance(e, Reply)]


def json_of(body: Envelope | bytes) -> Any:
    return msgspec.json.decode(body if isinstance(body, bytes) else body.data)


def reported(core: RouterCore) -> dict[str, str]:
    """What the router tells the core at a poll."""
    told = [data for kind, _, data in sent(core.receive(POLL), "core") if kind == "return_statuses"]
    return {agent_id: value for part in told for agent_id, value in part.items()}
