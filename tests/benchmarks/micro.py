"""What the engine itself costs: ``RouterCore.receive`` per packet, with no I/O around it."""

from __future__ import annotations

import cProfile
import io
import json
import pstats
import time
from collections.abc import Callable

from statecore.effects import Effect, Ping
from statecore.events import Event, Frame, Opened, Ponged, Principal, Request, Route
from statecore.router import RouterCore

__all__ = ["measure", "profile"]

AGENTS = 500


def frame(connection: str, packet_type: str, subject_id: str, data: object = None) -> Frame:
    packet = {
        "packet_type": packet_type,
        "subject_id": subject_id,
        "data": {} if data is None else data,
        "client_timestamp": 1.5,
    }
    return Frame(connection, json.dumps(packet), 2.5)


def busy_router() -> RouterCore:
    """A router with its core and so many agents in their task, all with a socket."""
    router = RouterCore()
    router.start()
    router.receive(Opened("core", Principal(loopback=True), pings=True))
    router.receive(frame("core", "alive", "mephisto"))
    for number in range(AGENTS):
        name = f"worker{number}"
        told = {"provider_data": {"worker_name": name, "agent_registration_id": name}}
        router.receive(Request(f"r{number}", Route.REQUEST_AGENT, json.dumps(told).encode()))
        details: dict[str, object] = {
            "request_id": f"r{number}",
            "worker_id": "1",
            "agent_id": str(number),
            "init_task_data": {},
            "failure_reason": None,
        }
        router.receive(frame("core", "agent_details", "channel", details))
        router.receive(frame("core", "update_status", str(number), {"status": "in task"}))
        router.receive(Opened(f"page{number}", pings=True))
        router.receive(frame(f"page{number}", "alive", str(number)))
    return router


def answer_pings(router: RouterCore, effects: tuple[Effect, ...]) -> None:
    """As a peer does; without it nothing would ever be settled."""
    for effect in effects:
        if isinstance(effect, Ping):
            router.receive(Ponged(effect.connection, effect.token))


def _frames(kind: str) -> list[Event]:
    update = {"text": "hello there", "update_id": "0123456789abcdef"}
    match kind:
        case "live update, page to core":
            return [
                frame(f"page{n}", "mephisto_bound_live_update", str(n), update)
                for n in range(AGENTS)
            ]
        case "live update, core to page":
            return [
                frame("core", "client_bound_live_update", str(n), update) for n in range(AGENTS)
            ]
        case "heartbeat":
            return [frame(f"page{n}", "heartbeat", str(n)) for n in range(AGENTS)]
        case "status that changes nothing":
            status = {"status": "in task"}
            return [frame("core", "update_status", str(n), status) for n in range(AGENTS)]
        case "status that moves":
            return [
                frame("core", "update_status", str(n), {"status": status})
                for status in ("waiting", "in task")
                for n in range(AGENTS)
            ]
        case _:  # the poll, answered with the statuses of all agents
            return [frame("core", "request_statuses", "mephisto")]


KINDS = (
    "live update, page to core",
    "live update, core to page",
    "heartbeat",
    "status that changes nothing",
    "status that moves",
    f"poll of {AGENTS} agents",
)


def measure(seconds: float = 0.5) -> dict[str, float]:
    """Microseconds per packet, by kind: the best of the rounds, which a busy machine disturbs least."""
    router = busy_router()
    best: dict[str, float] = {}
    for kind in KINDS:
        frames = _frames(kind)
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            began = time.perf_counter()
            for event in frames:
                answer_pings(router, router.receive(event))
            took = (time.perf_counter() - began) / len(frames) * 1e6
            best[kind] = min(best.get(kind, took), took)
    return best


def profile(rounds: int = 40, lines: int = 25) -> str:
    """Where the time of a relayed live update goes, there and back."""
    router = busy_router()
    frames = _frames(KINDS[0]) + _frames(KINDS[1])

    def run() -> None:
        for _ in range(rounds):
            for event in frames:
                answer_pings(router, router.receive(event))

    return report(run, lines)


def report(run: Callable[[], None], lines: int) -> str:
    profiler = cProfile.Profile()
    profiler.runcall(run)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(lines)
    return text.getvalue()
