"""The load generator: plays all pages and the core of one run, in a process of its own.

    python load.py SCENARIO HOST:PORT [--bare | --has-core] [name=value ...]

It prints one JSON object with what it measured. ``--bare`` talks to the bare relay, which has no
HTTP: then agents are not registered, only named. ``--has-core`` leaves the core to a task server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import uvloop
from framing import Frames, WebSocketClient, connect

_POLL = 4.0  # as upstream's core
_HEARTBEAT = 6.0  # as upstream's page


class _Packet(msgspec.Struct):
    packet_type: str
    subject_id: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Update(msgspec.Struct):
    t: float = 0.0
    update_id: str = ""


_packet = msgspec.json.Decoder(_Packet).decode
_update = msgspec.json.Decoder(_Update).decode


def encode(packet_type: str, subject_id: str, data: bytes = b"{}") -> bytes:
    """A packet with its seven keys, as upstream's programs send it."""
    return (
        b'{"packet_type":"%b","subject_id":"%b","data":%b,"client_timestamp":1.5,'
        b'"router_incoming_timestamp":null,"router_outgoing_timestamp":null,'
        b'"server_timestamp":null}' % (packet_type.encode(), subject_id.encode(), data)
    )


class Load:
    """One router under load: its core, its pages, and every complaint that came."""

    def __init__(self, host: str, port: int, *, bare: bool, has_core: bool) -> None:
        self.host, self.port = host, port
        self.bare, self.has_core = bare, has_core
        self.errors: dict[str, int] = {}
        self.core: WebSocketClient
        self.pages: dict[str, WebSocketClient] = {}
        self.status: dict[str, str] = {}
        self.names: dict[str, str] = {}  # worker name -> agent id
        self.on_update: Callable[[str, bytes], None] = lambda _agent_id, _data: None
        self._polling: list[asyncio.Task[None]] = []
        self._is_ending = False

    def fail(self, what: str) -> None:
        self.errors[what] = self.errors.get(what, 0) + 1

    async def start(self) -> None:
        if self.has_core:
            self._polling = [asyncio.create_task(self._beat())]
            return
        self.core = await connect(self.host, self.port, self._core_text, self._ended)
        self.core.name = "core"
        self.core.send(encode("alive", "mephisto"))
        if not self.bare:
            self._polling = [asyncio.create_task(self._poll()), asyncio.create_task(self._beat())]

    def stop(self) -> None:
        self._is_ending = True
        for task in self._polling:
            task.cancel()
        for page in self.pages.values():
            page.close()
        if not self.has_core:
            self.core.close()

    async def register(self, count: int, lanes: int = 20) -> float:
        """Register workers through POST /request_agent; returns the seconds it took."""
        began = time.perf_counter()
        left = iter(range(1, count + 1))

        async def lane() -> None:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            for number in left:
                name = f"worker{number}"
                told = {"worker_name": name, "agent_registration_id": f"a-{name}"}
                answer = await self.post(reader, writer, "/request_agent", {"provider_data": told})
                self.names[name] = answer["data"]["agent_id"]
            writer.close()

        if self.bare:
            self.names = {f"worker{number}": str(number) for number in left}
        else:
            await asyncio.gather(*(lane() for _ in range(lanes)))
        return time.perf_counter() - began

    async def post(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        route: str,
        body: dict[str, Any],
    ) -> Any:
        payload = json.dumps({**body, "client_timestamp": 1.5}).encode()
        writer.write(
            f"POST {route} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
            + payload
        )
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(x[15:]) for x in lines if x.startswith(b"content-length:"))
        text = await reader.readexactly(length)
        if not lines[0].startswith(b"http/1.1 2"):
            self.fail(f"{route}: {lines[0].decode()}")
            return None
        return json.loads(text or b"null")

    async def connect_pages(self, lanes: int = 50) -> float:
        """Open a socket for every agent and say alive; returns the seconds until all are up."""
        began = time.perf_counter()
        left = iter(list(self.names.values()))

        async def lane() -> None:
            for agent_id in left:
                page = await connect(self.host, self.port, self._page_text, self._ended)
                page.name = agent_id
                page.send(encode("alive", agent_id))
                self.pages[agent_id] = page

        await asyncio.gather(*(lane() for _ in range(lanes)))
        if not self.bare:
            await self.until(lambda: len(self.status) == len(self.pages))
        return time.perf_counter() - began

    async def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for something that frames bring; it is asked a hundred times a second."""
        deadline = time.perf_counter() + seconds
        while not holds():
            if time.perf_counter() > deadline:
                raise TimeoutError(f"not within {seconds:g} s; complaints: {self.errors}")
            await asyncio.sleep(0.01)

    def say(self, agent_id: str, data: bytes) -> None:
        """A live update from a page."""
        self.pages[agent_id].send(encode("mephisto_bound_live_update", agent_id, data))

    def _core_text(self, _peer: Frames, payload: bytes) -> None:
        packet = _packet(payload)
        match packet.packet_type:
            case "mephisto_bound_live_update":
                data = bytes(packet.data)  # the simplest task says back what it hears
                self.core.send(encode("client_bound_live_update", packet.subject_id, data))
            case "register_agent":
                request = json.loads(bytes(packet.data))
                number = request["provider_data"]["worker_name"].removeprefix("worker")
                told = {
                    "request_id": request["request_id"],
                    "worker_id": number,
                    "agent_id": number,
                    "init_task_data": {},
                    "failure_reason": None,
                }
                self.core.send(encode("agent_details", "load", json.dumps(told).encode()))
                self.core.send(encode("update_status", number, b'{"status":"in task"}'))
            case "log_error":
                self.fail(f"core was told: {bytes(packet.data)[:80].decode()}")
            case _:
                pass

    def _page_text(self, peer: Frames, payload: bytes) -> None:
        packet = _packet(payload)
        match packet.packet_type:
            case "client_bound_live_update":
                if packet.subject_id != peer.name:
                    self.fail("an update of another agent")
                self.on_update(peer.name, bytes(packet.data))
            case "update_status":
                self.status[peer.name] = json.loads(bytes(packet.data))["status"]
            case "log_error":
                self.fail(f"page was told: {bytes(packet.data)[:80].decode()}")
            case _:
                pass

    def _ended(self, peer: Frames, code: int) -> None:
        if not self._is_ending:
            self.fail(f"{'core' if peer.name == 'core' else 'page'} closed with {code}")

    async def _poll(self) -> None:
        while True:
            self.core.send(encode("request_statuses", "mephisto"))
            await asyncio.sleep(_POLL)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            for page in list(self.pages.values()):
                page.send(encode("heartbeat", page.name))


def percentile(values: list[float], share: float) -> float:
    """Of sorted values; in milliseconds."""
    return values[min(len(values) - 1, int(len(values) * share))] * 1_000


async def throughput(load: Load, *, agents: int, in_flight: int, seconds: float, size: int) -> Any:
    """Closed loop: so many round trips are always on their way."""
    await load.register(agents)
    await load.connect_pages()
    padding = "x" * size
    done = 0
    number = 0

    def say(agent_id: str) -> None:
        nonlocal number
        number += 1
        said = f'{{"update_id":"{number}","t":{time.perf_counter()},"text":"{padding}"}}'
        load.say(agent_id, said.encode())

    took: list[float] = []

    def on_update(agent_id: str, data: bytes) -> None:
        nonlocal done
        done += 1
        if not done % 16:
            took.append(time.perf_counter() - _update(data).t)
        say(agent_id)

    load.on_update = on_update
    for index in range(in_flight):
        say(list(load.pages)[index % agents])
    await asyncio.sleep(min(1.0, seconds / 4))  # the way to a steady state
    took.clear()
    first, began = done, time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (done - first) / (time.perf_counter() - began)
    took.sort()
    return {"rate": rate, "round_trips": done, "p50": percentile(took, 0.5)}


async def latency(load: Load, *, agents: int, rate: int, seconds: float) -> Any:
    """Open loop: a round trip begins when its time has come, whatever became of those before.

    Sending never waits for an answer, so a router that stalls delays nobody's beginning but its own
    answers, and the stall shows. Both ends are read off one clock, ``perf_counter``; the event
    loop's own is cached and coarse. How late the generator itself was is told apart.
    """
    await load.register(agents)
    await load.connect_pages()
    took: list[float] = []
    late: list[float] = []
    load.on_update = lambda _agent_id, data: took.append(time.perf_counter() - _update(data).t)
    loop = asyncio.get_running_loop()
    ids = list(load.pages)
    count = int(rate * seconds)
    start = time.perf_counter() + 0.2
    sent = 0

    def say() -> None:
        nonlocal sent
        while sent < count:
            now = time.perf_counter()
            due = start + sent / rate
            if now < due:
                loop.call_later(due - now, say)
                return
            late.append(now - due)
            load.say(ids[sent % agents], f'{{"update_id":"{sent}","t":{now}}}'.encode())
            sent += 1

    say()
    await load.until(lambda: len(took) >= count, seconds + 30)
    took.sort()
    late.sort()
    return {
        "p50": percentile(took, 0.5),
        "p99": percentile(took, 0.99),
        "late_p99": percentile(late, 0.99),
        "samples": len(took),
        "least": took[0] * 1_000,
    }


async def many(load: Load, *, agents: int) -> Any:
    """Everybody at once: register, connect, one round trip each."""
    registered = await load.register(agents)
    connected = await load.connect_pages()
    heard: set[str] = set()
    load.on_update = lambda agent_id, _data: heard.add(agent_id)
    began = time.perf_counter()
    for agent_id in load.pages:
        load.say(agent_id, f'{{"update_id":"{agent_id}"}}'.encode())
    await load.until(lambda: len(heard) == agents)
    spoke = time.perf_counter() - began
    wrong = sum(status != "in task" for status in load.status.values())
    return {
        "agents": len(heard),
        "register": registered,
        "connect": connected,
        "round_trip_each": spoke,
        "wrong_status": wrong,
    }


async def pairs(load: Load, *, pairs: int, turns: int) -> Any:
    """Two and two talk in turn; every message must reach both, in order, once; then all submit.

    The core is the task server with the demo's chat, in a process of its own.
    """
    await load.register(2 * pairs)
    speaks = {agent_id: name for name, agent_id in load.names.items()}
    heard: dict[str, list[str]] = {agent_id: [] for agent_id in speaks}
    joined: set[str] = set()

    def say(agent_id: str, turn: int) -> None:
        data = {"type": "message", "text": str(turn), "update_id": f"{agent_id}-{turn}"}
        load.say(agent_id, json.dumps(data).encode())

    def on_update(agent_id: str, data: bytes) -> None:
        said = json.loads(data)
        if said["type"] == "joined":
            joined.add(agent_id)
            if said["names"][0] == speaks[agent_id]:
                say(agent_id, 0)
        elif said["type"] == "message":
            heard[agent_id].append(said["text"])
            turn = int(said["text"]) + 1
            if said["from"] != speaks[agent_id] and turn < turns:
                say(agent_id, turn)
        elif said["type"] != "finished":
            load.fail(f"a chat {said['type']}")

    load.on_update = on_update
    began = time.perf_counter()
    await load.connect_pages()
    await load.until(lambda: all(len(texts) >= turns for texts in heard.values()))
    talked = time.perf_counter() - began
    left = iter(list(speaks))

    async def lane() -> None:
        reader, writer = await asyncio.open_connection(load.host, load.port)
        for agent_id in left:
            body = {"USED_AGENT_ID": agent_id, "final_data": {"rating": 5}}
            await load.post(reader, writer, "/submit_task", body)
        writer.close()

    await asyncio.gather(*(lane() for _ in range(20)))
    await load.until(lambda: all(load.status[agent_id] == "completed" for agent_id in speaks))
    for texts in heard.values():
        if texts != [str(turn) for turn in range(turns)]:
            load.fail("a message was lost, doubled or out of order")
    if len(joined) != 2 * pairs:
        load.fail("somebody joined no chat")
    return {"pairs": len(joined) // 2, "messages": pairs * turns, "seconds": talked}


SCENARIOS: dict[str, Any] = {
    "throughput": throughput,
    "latency": latency,
    "many": many,
    "pairs": pairs,
}


async def main(arguments: list[str]) -> None:
    scenario, address, *rest = arguments
    host, _, port = address.rpartition(":")
    load = Load(host, int(port), bare="--bare" in rest, has_core="--has-core" in rest)
    values = {}
    for item in rest:
        if "=" in item:
            name, _, value = item.partition("=")
            values[name] = float(value) if "." in value else int(value)
    await load.start()
    result = await SCENARIOS[scenario](load, **values)
    load.stop()
    print(json.dumps({**result, "errors": load.errors}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
