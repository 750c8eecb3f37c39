"""The channel against a real WebSocket server on loopback, with a real backend core behind it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest
from wire_server import ServerSide, serve_websockets

from statecore.adapters.backoff import Backoff
from statecore.adapters.channel import Channel, ChannelError
from statecore.adapters.driver import Driver
from statecore.backend import BackendCore
from statecore.backend_events import AddAssignment, SendUpdate
from statecore.settings import BackendOptions

pytestmark = pytest.mark.anyio


class Backend:
    """A backend core with its driver; ``sleeps`` are the waits that the channel asked for."""

    def __init__(self, options: BackendOptions | None = None) -> None:
        self.core = BackendCore(options)
        self.effects: list[object] = []
        self.driver = Driver(self.core, on_effect=self.effects.append, stamp="server_timestamp")
        self.sleeps: list[float] = []
        self.driver.receive(AddAssignment("a", msgspec.Raw(b'{"n":1}')))

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await anyio.lowlevel.checkpoint()

    def channel(self, url: str, **options: Any) -> Channel:
        backoff = Backoff(random=lambda: 1.0)
        return Channel(self.driver, url, sleep=self.sleep, backoff=backoff, **options)


@asynccontextmanager
async def running(backend: Backend, channel: Channel) -> AsyncGenerator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(backend.driver.run)
        await tasks.start(channel.run)
        yield
        tasks.cancel_scope.cancel()


def one_after_the_other(
    *talks: Callable[[ServerSide], Awaitable[None]],
) -> Callable[[ServerSide], Awaitable[None]]:
    """The first connection gets the first talk, and so on."""
    left = list(talks)

    async def talk(side: ServerSide) -> None:
        await left.pop(0)(side)

    return talk


async def receive_packet(side: ServerSide, packet_type: str) -> dict[str, Any]:
    """The next packet of this type; those before it are passed by."""
    while (text := await side.receive_text()) is not None:
        packet: dict[str, Any] = json.loads(text)
        if packet["packet_type"] == packet_type:
            return packet
    raise AssertionError(f"closed before a packet {packet_type}")


async def register(side: ServerSide) -> None:
    provider = {"worker_name": "ann", "agent_registration_id": "r"}
    data = {"provider_data": provider, "request_id": "q1"}
    packet = {"packet_type": "register_agent", "subject_id": "q1", "data": data}
    await side.send(json.dumps(packet))


async def test_it_says_alive_and_carries_packets_both_ways() -> None:
    seen: list[dict[str, Any]] = []
    headers: dict[str, str] = {}
    done = anyio.Event()

    async def talk(side: ServerSide) -> None:
        assert side.request is not None
        headers.update({name.lower(): v for name, v in side.request.headers.raw_items()})
        seen.append(json.loads(await side.receive_text() or ""))
        await register(side)
        seen.append(await receive_packet(side, "agent_details"))
        seen.append(await receive_packet(side, "update_status"))
        done.set()
        await side.receive()

    backend = Backend()
    with anyio.fail_after(10):
        async with serve_websockets(talk) as url:
            http_url = url.replace("ws://", "http://")
            channel = backend.channel(http_url, token="s3cret")
            assert (channel.url, channel.name) == (url, url)
            async with running(backend, channel):
                await done.wait()
    assert headers["authorization"] == "Bearer s3cret"
    assert "origin" not in headers
    assert [packet["packet_type"] for packet in seen] == ["alive", "agent_details", "update_status"]
    assert all(isinstance(packet["server_timestamp"], float) for packet in seen)
    assert len(seen[0]) == 7
    assert seen[1]["data"]["agent_id"] == "1"


async def test_after_a_loss_it_comes_back_and_nothing_is_missing() -> None:
    got: list[str] = []
    lost = anyio.Event()
    done = anyio.Event()

    async def first(side: ServerSide) -> None:
        await receive_packet(side, "alive")
        await register(side)
        await receive_packet(side, "update_status")
        await side.cut()
        lost.set()

    async def second(side: ServerSide) -> None:
        while len(got) < 104:
            text = await side.receive_text()
            assert text is not None
            packet = json.loads(text)
            got.append(packet["data"].get("update_id", packet["packet_type"]))
        done.set()
        await side.receive()

    backend = Backend()
    with anyio.fail_after(10):
        async with (
            serve_websockets(one_after_the_other(first, second)) as url,
            running(backend, backend.channel(url)),
        ):
            await lost.wait()
            for number in range(100):
                backend.driver.receive(SendUpdate("1", msgspec.Raw(b"{}"), f"u{number}"))
            await done.wait()
    # What was sent before the loss is not proven read, so it comes again, in the old order.
    updates = [f"u{number}" for number in range(100)]
    got = [name for name in got if name != "request_statuses"]
    assert got[:103] == ["alive", "agent_details", "update_status", *updates]


async def test_the_backoff_grows_until_the_router_has_said_something() -> None:
    enough = anyio.Event()

    async def hang_up(side: ServerSide) -> None:
        await side.cut()

    async def speak(side: ServerSide) -> None:
        await receive_packet(side, "alive")
        await side.send('{"packet_type":"log_error","subject_id":"mephisto","data":{}}')
        await side.close(1001, "restarting")
        await side.receive()

    async def stay(side: ServerSide) -> None:
        enough.set()
        while await side.receive() is not None:
            pass

    backend = Backend()
    talk = one_after_the_other(hang_up, hang_up, hang_up, speak, hang_up, stay)
    with anyio.fail_after(10):
        async with serve_websockets(talk) as url, running(backend, backend.channel(url)):
            await enough.wait()
    assert backend.sleeps == [0.25, 0.5, 1.0, 0.25, 0.5]


async def test_each_trouble_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend()
    tries = anyio.Event()

    async def sleep(seconds: float) -> None:
        backend.sleeps.append(seconds)
        if len(backend.sleeps) == 5:
            tries.set()
            await anyio.sleep_forever()

    async def stay(side: ServerSide) -> None:
        await side.receive()

    with anyio.fail_after(10):
        async with serve_websockets(stay) as url:
            pass  # the address of nobody
        channel = Channel(backend.driver, url, sleep=sleep)
        with caplog.at_level(logging.INFO, "statecore.adapters.channel"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(channel.run)
                await tries.wait()
                tasks.cancel_scope.cancel()
    assert len(caplog.messages) == 1
    assert "cannot connect" in caplog.messages[0]


@pytest.mark.parametrize(("code", "words"), [(4003, "system token"), (4002, "taken over")])
async def test_a_router_that_does_not_want_it_ends_it(code: int, words: str) -> None:
    async def refuse(side: ServerSide) -> None:
        await receive_packet(side, "alive")
        await side.close(code, "no")
        await side.receive()

    backend = Backend()
    with anyio.fail_after(10):
        async with serve_websockets(refuse) as url:
            with pytest.raises(ChannelError, match=words):
                await backend.channel(url).run()
    assert backend.sleeps == []


async def test_a_sender_waits_while_the_router_is_away() -> None:
    away = anyio.Event()
    come_back = anyio.Event()
    waits: list[int] = []
    got: list[str] = []
    done = anyio.Event()

    async def first(side: ServerSide) -> None:
        await register(side)
        await receive_packet(side, "update_status")
        await side.cut()

    async def second(side: ServerSide) -> None:
        while len(got) < 40:
            packet = await receive_packet(side, "client_bound_live_update")
            got.append(packet["data"]["update_id"])
        done.set()
        await side.receive()

    backend = Backend(BackendOptions(outbox_bytes=20_000))

    async def sleep(seconds: float) -> None:
        away.set()
        await come_back.wait()

    with anyio.fail_after(10):
        async with serve_websockets(one_after_the_other(first, second)) as url:
            channel = Channel(backend.driver, url, sleep=sleep)

            async def send_all() -> None:
                for number in range(40):
                    while not backend.core.has_room("1"):
                        waits.append(number)
                        come_back.set()
                        await channel.changed()
                    body = msgspec.Raw(b'{"text":"%s"}' % (b"x" * 900))
                    backend.driver.receive(SendUpdate("1", body, f"u{number}"))

            async with running(backend, channel):
                await away.wait()
                await send_all()
                await done.wait()
    assert got == [f"u{number}" for number in range(40)]
    assert 0 < waits[0] < 12
    assert backend.driver.counters["refused", "outbox-full"] == 0
