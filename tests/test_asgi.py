"""The application as a whole: scopes, mounts, lifespan, its end; on other people's servers too."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from asgi_peers import AsgiSocket, CorePeer, client_of, details, packet, router_app, socket_scope
from fastapi import FastAPI
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.routing import Mount
from test_driver import ScriptedCore

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.driver import Driver
from statecore.adapters.websocket_client import WebSocket, WebSocketError, open_websocket
from statecore.errors import LocalProtocolError

pytestmark = pytest.mark.anyio

REGISTRATION = {"provider_data": {"worker_name": "ann", "agent_registration_id": "ann-1"}}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_scope_of_an_unknown_type_is_a_mistake_of_the_server() -> None:
    with pytest.raises(LocalProtocolError, match="scope of type 'quic'"):
        await router_app()({"type": "quic"}, None, None)  # type: ignore[arg-type]


async def test_router_that_does_not_run_says_what_is_missing() -> None:
    async with client_of(router_app()) as client:
        with pytest.raises(LocalProtocolError, match="does not run; expected: the server's life"):
            await client.get("/is_alive")


async def test_lifespan_runs_the_core() -> None:
    app = router_app()
    to_app, app_receives = anyio.create_memory_object_stream[Any](2)
    app_sends, from_app = anyio.create_memory_object_stream[Any](2)
    with anyio.fail_after(5):
        async with to_app, app_receives, app_sends, from_app, anyio.create_task_group() as group:
            group.start_soon(app, {"type": "lifespan"}, app_receives.receive, app_sends.send)
            await to_app.send({"type": "lifespan.startup"})
            assert await from_app.receive() == {"type": "lifespan.startup.complete"}
            async with client_of(app) as client:
                assert (await client.get("/is_alive")).status_code == 200
            await to_app.send({"type": "lifespan.shutdown"})
            assert await from_app.receive() == {"type": "lifespan.shutdown.complete"}


async def test_lifespan_of_a_router_that_runs_already_changes_nothing() -> None:
    app = router_app()
    arriving = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return arriving.pop()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async with app.running(), client_of(app) as client:
        await app({"type": "lifespan"}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert (await client.get("/is_alive")).status_code == 200


@pytest.mark.parametrize("outer_class", [Starlette, FastAPI])
async def test_mounted_routers_are_apart_and_at_home_below_their_mounts(
    outer_class: type[Starlette], tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("page")
    one, two = router_app(static=tmp_path), router_app(static=tmp_path)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with one.running(), two.running():
            yield

    outer = outer_class(routes=[Mount("/one", one), Mount("/two", two)], lifespan=lifespan)
    async with outer.router.lifespan_context(outer), client_of(outer) as client:
        core = CorePeer(one.driver)
        CorePeer(two.driver)
        core.say(packet("update_status", "a1", {"status": "in task"}))
        assert (await client.get("/one/")).text == "page"
        assert (await client.get("/one/index.html")).text == "page"
        assert (await client.get("/one/nothing")).status_code == 404
        assert (await client.get("/nothing")).status_code == 404
        unit = {"USED_AGENT_ID": "a1", "final_data": {}}
        assert (await client.post("/one/submit_task", json=unit)).status_code == 200
        await core.next("submit_unit")
        for path in ("/one/", "/one/socket"):
            async with AsgiSocket(outer, socket_scope(path)) as page:
                await page.receive()
                page.say(packet("alive", "a1"))
                await page.next("update_status")
        assert one.driver.core is not two.driver.core


@pytest.mark.parametrize(
    ("path", "root_path"), [("/", "/deep"), ("", "/deep"), ("/socket", "/deep/"), ("/", "")]
)
async def test_path_is_relative_to_the_mount(path: str, root_path: str) -> None:
    app = router_app()
    scope = socket_scope(path, root_path=root_path.rstrip("/"))
    scope["root_path"] = root_path
    async with app.running(), AsgiSocket(app, scope) as page:
        assert await page.receive() == {"type": "websocket.accept"}


async def test_path_that_only_begins_like_the_mount_is_no_path_of_it() -> None:
    app = router_app()
    scope = socket_scope("/deeper")
    scope["root_path"] = "/deep"
    async with app.running(), AsgiSocket(app, scope) as page:
        assert (await page.receive())["type"] == "websocket.close"


async def test_finish_closes_sockets_with_1001_and_waits_for_them() -> None:
    app = router_app()
    async with app.running(), AsgiSocket(app) as page:
        await page.receive()
        async with anyio.create_task_group() as group:
            group.start_soon(app.finish, 5.0)
            closing = await page.receive()
        assert (closing["type"], closing["code"]) == ("websocket.close", 1001)
        assert page.ended.is_set()


async def test_finish_lets_requests_end() -> None:
    app = router_app()
    async with app.running(), client_of(app) as client, anyio.create_task_group() as group:
        core = CorePeer(app.driver)
        ended: list[object] = []

        async def register() -> None:
            ended.append(await client.post("/request_agent", json=REGISTRATION))

        async def finish() -> None:
            await app.finish(5.0)
            ended.append("finished")

        group.start_soon(register)
        asked = await core.next("register_agent")
        group.start_soon(finish)
        await anyio.wait_all_tasks_blocked()
        assert (core.close_code, ended) == (1001, [])
        core.say(details(asked["subject_id"], "a1"))
    assert "finished" in ended
    (answer,) = (end for end in ended if isinstance(end, httpx.Response))
    assert answer.json()["data"]["agent_id"] == "a1"


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/request_agent", REGISTRATION),
        ("/submit_onboarding", {"provider_data": {"USED_AGENT_ID": "a1"}}),
    ],
)
async def test_finish_gives_a_question_the_answer_that_it_would_get_at_its_limit(
    route: str, body: object
) -> None:
    app = router_app()
    async with app.running(), client_of(app) as client, anyio.create_task_group() as group:
        core = CorePeer(app.driver)
        core.say(packet("update_status", "a1", {"status": "onboarding"}))
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await client.post(route, json=body))

        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert answers == []
        with anyio.fail_after(5):
            await app.finish(0.0)
    (answer,) = answers
    data = answer.json()["data"]
    assert (answer.status_code, data["agent_id"]) == (200, None)
    assert "did not answer in time" in data["failure_reason"]


async def test_finish_refuses_work_that_nobody_has_taken_yet() -> None:
    """A 2xx would be a promise that nobody is left to keep; the page sends it again after this."""
    app = router_app()
    async with app.running(), client_of(app) as client, anyio.create_task_group() as group:
        CorePeer(app.driver)
        answers: list[httpx.Response] = []

        async def submit() -> None:
            unit = {"USED_AGENT_ID": "unknown", "final_data": {}}
            answers.append(await client.post("/submit_task", json=unit))

        group.start_soon(submit)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(5):
            await app.finish(0.0)
    (answer,) = answers
    assert (answer.status_code, answer.json()["error_type"]) == (503, "going-away")
    assert answer.headers["retry-after"] == "5"


async def test_finish_of_an_idle_router_returns_at_once() -> None:
    app = router_app()
    async with app.running():
        with anyio.fail_after(1):
            await app.finish(100.0)


async def test_error_in_a_core_reaches_the_server_and_the_router_goes_on() -> None:
    def script(event: Any) -> tuple[()]:
        if getattr(event, "payload", None) == "bad":
            raise ZeroDivisionError
        return ()

    app = StatecoreApp(Driver(ScriptedCore(script)))

    async def say_bad() -> None:
        async with AsgiSocket(app) as page:
            await page.receive()
            page.say("bad")
            await page.ended.wait()

    async with app.running():
        with pytest.raises(ExceptionGroup) as caught:
            await say_bad()
        assert caught.group_contains(ZeroDivisionError)
        async with AsgiSocket(app) as page:
            assert await page.receive() == {"type": "websocket.accept"}


@asynccontextmanager
async def hypercorn(app: Any, backend: str) -> AsyncIterator[str]:
    """Another ASGI server, on either event loop, over a real socket."""
    serve: Any = import_module(f"hypercorn.{backend}").serve
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.loglevel = "CRITICAL"
    config.graceful_timeout = 1
    stopping = anyio.Event()
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await serve(app, config, shutdown_trigger=stopping.wait)

        group.start_soon(run)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        stopping.set()
    listener.detach()  # the server closed it


async def test_another_server_serves_the_same_router(
    anyio_backend_name: str, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("page")
    app = router_app(static=tmp_path)
    with anyio.fail_after(20):
        async with hypercorn(app, anyio_backend_name) as address:
            await _play(address)


async def _play(address: str) -> None:
    """A core, a page's POSTs and its socket, from registration to submission."""

    async def core(socket: WebSocket) -> None:
        async for text in socket:
            found = httpx.Response(200, content=text).json()
            if found["packet_type"] == "register_agent":
                await socket.send(details(found["data"]["request_id"], "a1"))
                await socket.send(packet("update_status", "a1", {"status": "in task"}))
            elif found["packet_type"] == "mephisto_bound_live_update":
                await socket.send(packet("client_bound_live_update", "a1", {"n": 1}))
            elif found["packet_type"] == "submit_unit":
                await socket.send(packet("update_status", "a1", {"status": "completed"}))

    async with (
        httpx.AsyncClient(base_url=f"http://{address}") as client,
        open_websocket(f"ws://{address}/") as system,
        anyio.create_task_group() as group,
    ):
        await system.send(packet("alive", "mephisto"))
        group.start_soon(core, system)
        assert (await client.get("/")).text == "page"
        answer = await client.post("/request_agent", json=REGISTRATION)
        assert answer.json()["data"]["agent_id"] == "a1"
        with pytest.raises(WebSocketError):
            async with open_websocket(f"ws://{address}/elsewhere"):
                raise AssertionError("there is no socket here")
        async with open_websocket(f"ws://{address}/socket") as page:
            await page.send(packet("alive", "a1"))
            await page.send(packet("mephisto_bound_live_update", "a1", {"update_id": "u"}))
            await page.send(packet("mephisto_bound_live_update", "a1", {"update_id": "v"}))
            seen = []
            unit = {"USED_AGENT_ID": "a1", "final_data": {}}
            async for text in page:
                found = httpx.Response(200, content=text).json()
                seen.append((found["packet_type"], found["data"].get("status")))
                if seen.count(("client_bound_live_update", None)) == 2 and len(seen) == 3:
                    assert (await client.post("/submit_task", json=unit)).status_code == 200
                if seen[-1] == ("update_status", "completed"):
                    break
            assert seen[0] == ("update_status", "in task")
        group.cancel_scope.cancel()
