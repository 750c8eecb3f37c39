"""A core that says exactly what a test has it say, over a real WebSocket; and a router to talk to."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from anyio.from_thread import start_blocking_portal

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.driver import Driver
from statecore.adapters.serve import ServerOptions, bind, serve
from statecore.adapters.websocket_client import WebSocket, open_websocket
from statecore.router import RouterCore
from statecore.settings import RouterOptions

__all__ = ["WireCore", "connect_core", "running_router"]


@contextmanager
def running_router(options: RouterOptions | None = None, *, port: int = 0) -> Generator[str]:
    """A router under uvicorn in a thread of its own, so that trio's tests have one too."""
    sockets = bind("127.0.0.1", port)
    with start_blocking_portal("asyncio") as portal:
        app = StatecoreApp(Driver(RouterCore(options)))
        done, url = portal.start_task(serve, app, [app], ServerOptions(shutdown_wait=0), sockets)
        try:
            yield url
        finally:
            done.cancel()


class WireCore:
    """The core's end of the system socket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def send(self, packet_type: str, subject_id: str, data: Any) -> None:
        packet = {
            "packet_type": packet_type,
            "subject_id": subject_id,
            "data": data,
            "client_timestamp": None,
            "router_incoming_timestamp": None,
            "router_outgoing_timestamp": None,
            "server_timestamp": 1.0,
        }
        await self._socket.send(json.dumps(packet))

    async def receive(self, packet_type: str) -> dict[str, Any]:
        """The next packet of this type; others are passed by."""
        async for message in self._socket:
            packet: dict[str, Any] = json.loads(message)
            if packet["packet_type"] == packet_type:
                return packet
        raise AssertionError(f"the router closed with {self._socket.close_code}")

    async def answer(self, request: dict[str, Any], agent_id: str | None, **data: Any) -> None:
        """Answer register_agent or submit_onboarding."""
        told = {
            "request_id": request["data"]["request_id"],
            "worker_id": None if agent_id is None else "w1",
            "agent_id": agent_id,
            "init_task_data": None,
            "failure_reason": None,
            **data,
        }
        await self.send("agent_details", "channel", told)

    async def seat(self, agent_id: str, status: str = "in task", **data: Any) -> None:
        """Give the next worker who asks a seat, and its status."""
        await self.answer(await self.receive("register_agent"), agent_id, **data)
        await self.status(agent_id, status)

    async def status(self, agent_id: str, status: str) -> None:
        await self.send("update_status", agent_id, {"status": status})


@asynccontextmanager
async def connect_core(url: str) -> AsyncGenerator[WireCore]:
    async with open_websocket(url.replace("http", "ws", 1) + "/") as socket:
        core = WireCore(socket)
        await core.send("alive", "mephisto", {})
        yield core
