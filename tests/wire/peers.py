"""The peers of a router under test: a core, pages and their HTTP, played by hand.

Every packet that a router sends is checked as it comes in: a text frame, the seven keys, times in
seconds or null (PROTOCOL.md section 1). Nothing here sleeps; what does not come in time fails.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
from anyio.abc import TaskGroup

from statecore.adapters.driver import Driver
from statecore.adapters.websocket_client import WebSocket, open_websocket

from .frames import WAIT, Wire
from .servers import Folders

__all__ = ["WAIT", "Core", "Later", "Packet", "Page", "Peer", "Router", "details"]

TIMES = (
    "client_timestamp",
    "router_incoming_timestamp",
    "router_outgoing_timestamp",
    "server_timestamp",
)
SYSTEM = "mephisto"


@dataclass(frozen=True)
class Packet:
    """A packet as it came, and its text."""

    packet_type: str
    subject_id: str
    data: Any
    times: dict[str, float | None]
    text: str

    @staticmethod
    def read(frame: str | bytes) -> Packet:
        assert isinstance(frame, str), "a binary frame breaks the page's parser"
        keys = json.loads(frame)
        assert set(keys) == {"packet_type", "subject_id", "data", *TIMES}
        assert isinstance(keys["packet_type"], str)
        assert isinstance(keys["subject_id"], str)
        for name in TIMES:
            assert keys[name] is None or type(keys[name]) is float, (name, keys[name])
        times = {name: keys[name] for name in TIMES}
        return Packet(keys["packet_type"], keys["subject_id"], keys["data"], times, frame)

    @property
    def brief(self) -> tuple[str, str, Any]:
        """What a test compares as a rule."""
        return self.packet_type, self.subject_id, self.data


class Later:
    """A POST on its way."""

    def __init__(self) -> None:
        self._response: httpx.Response | None = None
        self._answered = anyio.Event()

    @property
    def is_answered(self) -> bool:
        return self._answered.is_set()

    def answer(self, response: httpx.Response) -> None:
        assert self._response is None, "two answers to one request"
        self._response = response
        self._answered.set()

    async def response(self) -> httpx.Response:
        with anyio.fail_after(WAIT):
            await self._answered.wait()
        assert self._response is not None
        return self._response

    async def details(self) -> Any:
        """The data of the answer, which must be a whole agent_details packet with 200."""
        response = await self.response()
        assert response.status_code == 200, response.text
        packet = Packet.read(response.text)
        assert packet.packet_type == "agent_details"
        return packet.data


class Peer:
    """One WebSocket to the router."""

    def __init__(self, router: Router, socket: WebSocket) -> None:
        self.router = router
        self.socket = socket
        self.pongs: list[str] = []

    async def send(self, packet_type: str, subject_id: str, data: Any = None, **keys: Any) -> None:
        packet = {"packet_type": packet_type, "subject_id": subject_id, "data": data} | keys
        await self.socket.send(json.dumps(packet))

    async def send_text(self, text: str) -> None:
        await self.socket.send(text)

    async def packet(self) -> Packet:
        """The next packet."""
        with anyio.fail_after(WAIT):
            try:
                return Packet.read(await anext(self.socket))
            except StopAsyncIteration:
                code, reason = self.socket.close_code, self.socket.close_reason
                raise AssertionError(f"the router closed with {code}: {reason}") from None

    async def receive(self, packet_type: str) -> Packet:
        """The next packet, which is of this type."""
        packet = await self.packet()
        assert packet.packet_type == packet_type, packet.text
        return packet

    async def until(self, packet_type: str) -> tuple[list[Packet], Packet]:
        """The next packet of this type, after those that came before it."""
        before: list[Packet] = []
        while (packet := await self.packet()).packet_type != packet_type:
            before.append(packet)
        return before, packet

    async def closed(self) -> tuple[list[Packet], int | None]:
        """Everything up to the end of the connection, and the code it was closed with."""
        packets = []
        with anyio.fail_after(WAIT):
            async for frame in self.socket:
                packets.append(Packet.read(frame))
        return packets, self.socket.close_code

    async def close(self) -> None:
        await self.socket.close()


class Page(Peer):
    """A page's socket."""

    agent_id = ""

    async def hello(self, agent_id: str) -> None:
        """Say whose socket it is."""
        self.agent_id = agent_id
        await self.send("alive", agent_id, {"update_id": "first"})

    async def alive(self, agent_id: str) -> Packet:
        """Say whose socket it is; the router answers with the current status."""
        await self.hello(agent_id)
        return await self.receive("update_status")

    async def say(self, data: Any) -> None:
        await self.send("mephisto_bound_live_update", self.agent_id, data)

    async def came(self) -> list[Packet]:
        """What came before the answer to a heartbeat that is sent now."""
        await self.send("heartbeat", self.agent_id)
        before, _ = await self.until("heartbeat")
        return before

    async def refusal(self) -> dict[str, Any]:
        """The next packet, which refuses something: {error_type, text, field, expected}."""
        packet = await self.receive("log_error")
        assert packet.subject_id == SYSTEM
        assert set(packet.data) == {"error_type", "text", "field", "expected"}
        assert isinstance(packet.data["text"], str)
        assert isinstance(packet.data["expected"], str)
        return dict(packet.data)


class Core(Peer):
    """The core's socket."""

    async def came(self) -> list[Packet]:
        """What was forwarded up to now: an error report, which is always forwarded, ends it."""
        response = await self.router.post("/log_error", {"error_data": "marker"})
        assert response.status_code == 200
        before, _ = await self.until("log_error")
        return before

    async def poll(self) -> dict[str, str]:
        """The statuses that the router reports; nothing else may come before them."""
        await self.send("request_statuses", SYSTEM, {})
        packet = await self.receive("return_statuses")
        assert packet.subject_id == SYSTEM
        return dict(packet.data)

    async def poll_until(self, agent_id: str, status: str) -> None:
        """Poll, as a core does, until the router reports this status."""
        with anyio.fail_after(WAIT):
            while (await self.poll())[agent_id] != status:
                pass

    async def status(self, agent_id: str, status: str) -> None:
        await self.send("update_status", agent_id, {"status": status})

    async def say(self, agent_id: str, data: Any) -> None:
        await self.send("client_bound_live_update", agent_id, data)

    async def answer(self, asked: Packet, agent_id: str | None, **data: Any) -> None:
        """Answer a registration or an onboarding; on the channel's id, as upstream does."""
        reply = details(asked.data["request_id"], agent_id) | data
        await self.send("agent_details", "channel-1", reply)


def details(request_id: str, agent_id: str | None) -> dict[str, Any]:
    """The data of agent_details, as upstream's core sends it."""
    return {
        "request_id": request_id,
        "worker_id": None if agent_id is None else "7",
        "agent_id": agent_id,
        "init_task_data": {},
        "failure_reason": None,
    }


class Router:
    """The router under test, seen from outside."""

    def __init__(
        self,
        port: int,
        folders: Folders,
        http: httpx.AsyncClient,
        stack: AsyncExitStack,
        tasks: TaskGroup,
        driver: Driver | None,
    ) -> None:
        self.port = port
        self.folders = folders
        self.http = http
        self._stack = stack
        self._tasks = tasks
        self._driver = driver

    async def refused(self) -> dict[str, int]:
        """How often what was refused, as the router counts it: by its driver or by its own page."""
        if self._driver is not None:
            counters = self._driver.counters
            return {label: count for (name, label), count in counters.items() if name == "refused"}
        page = html.unescape((await self.http.get("/agents")).text)
        return {
            label: int(count) for label, count in re.findall(r"\('refused', '(.+?)'\): (\d+)", page)
        }

    # HTTP ------------------------------------------------------------------------------------

    async def post(self, path: str, body: Any) -> httpx.Response:
        return await self.http.post(path, json=body)

    def start_post(self, path: str, body: Any = None, **options: Any) -> Later:
        """A POST that waits for its answer while the test goes on."""
        later = Later()

        async def post() -> None:
            content = {"json": body} if body is not None else {}
            later.answer(await self.http.post(path, **content, **options))

        self._tasks.start_soon(post)
        return later

    def ask(self, registration: str, path: str = "/request_agent", **keys: Any) -> Later:
        """A worker asks for a seat."""
        provider = {"worker_name": "ada", "agent_registration_id": registration} | keys
        return self.start_post(path, {"provider_data": provider, "client_timestamp": 12.5})

    async def wire(self, path: str = "/", headers: str = "") -> Wire:
        """A WebSocket whose frames the test makes itself."""
        stream = await anyio.connect_tcp("127.0.0.1", self.port)
        await self._stack.enter_async_context(stream)
        wire = Wire(stream)
        await wire.shake_hands(path, headers)
        return wire

    async def raw(self, request: bytes) -> tuple[int, bytes]:
        """The status and all bytes of the answer to exactly these bytes."""
        with anyio.fail_after(WAIT):
            async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
                await stream.send(request)
                answer = b""
                try:
                    while True:
                        answer += await stream.receive()
                except anyio.EndOfStream:
                    return int(answer.split(b" ", 2)[1]), answer

    async def raw_get(self, path: str) -> tuple[int, bytes]:
        """GET exactly this path, which no client has tidied up."""
        head = f"GET {path} HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n"
        return await self.raw(head.encode("latin-1"))

    async def vanish(self, request: bytes) -> None:
        """Send these bytes and be gone."""
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            await stream.send(request)

    # WebSockets ------------------------------------------------------------------------------

    async def core(self, headers: Mapping[str, str] | None = None, path: str = "/") -> Core:
        """A core that is connected and has said so."""
        core = Core(self, await self._connect(path, headers))
        await core.send("alive", SYSTEM, {})
        return core

    async def page(self, path: str = "/") -> Page:
        """A page's socket, on which nothing was said yet; browsers send an Origin."""
        return Page(self, await self._connect(path, {"Origin": "http://worker.example"}))

    async def socket(self, path: str = "/", headers: Mapping[str, str] | None = None) -> Peer:
        return Peer(self, await self._connect(path, headers))

    async def _connect(self, path: str, headers: Mapping[str, str] | None) -> WebSocket:
        # Without max_size it takes 1 MiB a message, as upstream's core does.
        connecting = open_websocket(
            f"ws://127.0.0.1:{self.port}{path}", headers=headers, keepalive=None
        )
        return await self._stack.enter_async_context(connecting)

    # Ways that many tests begin with -----------------------------------------------------------

    async def register(self, core: Core, agent_id: str, registration: str = "") -> Any:
        """Go through a registration, and return the data of its answer."""
        asking = self.ask(registration or f"registration-{agent_id}")
        await core.answer(await core.receive("register_agent"), agent_id)
        return await asking.details()

    async def seated(self, core: Core, agent_id: str, status: str = "in task") -> Page:
        """A page whose agent is registered and has this status, and has heard of it."""
        await self.register(core, agent_id)
        await core.status(agent_id, status)
        page = await self.page()
        first = await page.alive(agent_id)
        assert first.brief == ("update_status", agent_id, {"status": status})
        return page
