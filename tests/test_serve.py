"""The uvicorn runner: addresses, its one line, its good manners at the end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from asgi_peers import packet
from raw_socket import raw_socket
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.frames import Opcode

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.driver import Driver
from statecore.adapters.serve import ServeError, ServerOptions, _url, _why, bind, run, serve
from statecore.router import RouterCore

pytestmark = pytest.mark.anyio

REGISTRATION = {"provider_data": {"worker_name": "ann", "agent_registration_id": "ann-1"}}


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return "asyncio", {"use_uvloop": request.param}  # uvicorn's only ones


def new_router(**options: Any) -> StatecoreApp:
    return StatecoreApp(Driver(RouterCore()), **options)


@asynccontextmanager
async def served(app: Any, *routers: StatecoreApp, wait: float = 1.0) -> AsyncIterator[str]:
    options = ServerOptions(port=0, shutdown_wait=wait)
    async with anyio.create_task_group() as group:
        url = await group.start(serve, app, routers, options)
        assert isinstance(url, str)
        yield url
        group.cancel_scope.cancel()


async def test_serve_reports_where_it_listens() -> None:
    app = new_router()
    async with served(app, app) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/is_alive")
        assert answer.json() == {"status": "Alive!"}
        assert "server" not in answer.headers


async def test_serve_runs_the_routers_of_an_application_that_mounts_them(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("page")
    one, two = new_router(static=tmp_path), new_router()
    app = Starlette(routes=[Mount("/one", one), Mount("/two", two)])
    async with served(app, one, two) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/one/")).text == "page"
        assert (await client.get("/two/is_alive")).status_code == 200
        async with raw_socket(url, "/two/socket") as page:
            assert page.protocol.handshake_exc is None


async def test_serve_when_cancelled_closes_sockets_with_1001() -> None:
    app = new_router()
    async with anyio.create_task_group() as group:
        url = await group.start(serve, app, [app], ServerOptions(port=0))
        assert isinstance(url, str)
        with anyio.CancelScope(shield=True):
            async with raw_socket(url) as page:
                group.cancel_scope.cancel()
                assert await page.close_code() == 1001


async def test_serve_when_cancelled_answers_the_requests_that_wait() -> None:
    app = new_router()
    answers: list[httpx.Response] = []
    async with served(app, app, wait=0.0) as url, anyio.create_task_group() as group:

        async def register() -> None:
            async with httpx.AsyncClient(base_url=url) as client:
                answers.append(await client.post("/request_agent", json=REGISTRATION))

        with anyio.CancelScope(shield=True), anyio.fail_after(10):
            async with anyio.create_task_group() as asking:
                asking.start_soon(register)
                while not app.driver._waiters:
                    await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
                await app.finish(0.0)
    (answer,) = answers
    assert (answer.status_code, answer.json()["data"]["agent_id"]) == (200, None)
    assert answer.json()["data"]["failure_reason"]


async def test_serve_on_a_port_in_use_says_so() -> None:
    app = new_router()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError) as caught:
            await serve(app, [app], ServerOptions(port=port))
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: the port is in use; expected: a free port"
    )


def test_bind_on_a_host_that_is_none_says_so() -> None:
    with pytest.raises(ServeError, match=r"cannot listen on 'no\.such\.host\.invalid': .*127"):
        bind("no.such.host.invalid", 0)


def test_bind_on_an_address_of_another_machine_says_so() -> None:
    with pytest.raises(ServeError, match=r"cannot listen on 192\.0\.2\.1:0: .*of this machine"):
        bind("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("number", "text"), [(errno.EACCES, "a port above 1023"), (errno.EADDRINUSE, "a free port")]
)
def test_why_says_what_would_be_right(number: int, text: str) -> None:
    assert text in _why("127.0.0.1", 80, OSError(number, "no"))


def test_bind_takes_one_free_port_for_all_addresses_of_a_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [_address("127.0.0.1"), _address("127.0.0.2"), _address("127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    sockets = bind("localhost", 0)
    names = [listener.getsockname() for listener in sockets]
    for listener in sockets:
        listener.close()
    assert [name[0] for name in names] == ["127.0.0.1", "127.0.0.2"]
    assert len({name[1] for name in names}) == 1


def test_bind_passes_over_an_address_that_this_machine_does_not_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [_address("192.0.2.1"), _address("127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    (listener,) = bind("localhost", 0)
    listener.close()


def test_bind_closes_what_it_opened_when_one_address_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        found = [_address("127.0.0.1", port), _address("127.0.0.2", port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
        with pytest.raises(ServeError, match="in use"):
            bind("localhost", port)
        socket.create_server(("127.0.0.1", port)).close()


def test_url_has_an_ipv6_address_in_brackets() -> None:
    assert _url("::1", 3000) == "http://[::1]:3000"
    assert _url("localhost", 3000) == "http://localhost:3000"


def test_run_prints_one_line_and_ends_at_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    app = new_router()
    with _printed_lines(monkeypatch) as lines:
        seen: list[str] = []

        def end_it() -> None:
            line = lines.readline()
            url = line.removeprefix("listening on ").strip()
            seen.append(line)
            seen.append(httpx.get(f"{url}/is_alive").text)
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=end_it)
        thread.start()
        run(app, [app], ServerOptions(port=0))
        thread.join()
    assert seen[0].startswith("listening on http://127.0.0.1:")
    assert seen[1] == '{"status":"Alive!"}'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_process_ends_with_0_and_closes_its_sockets_at_a_signal(number: int) -> None:
    command = [sys.executable, "-m", "statecore", "serve", "--port", "0", "--shutdown-wait", "0.2"]
    with (
        subprocess.Popen(  # noqa: ASYNC220
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        _killed(process),
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        line = await anyio.to_thread.run_sync(process.stdout.readline)
        url = line.removeprefix("listening on ").strip()
        hint = await anyio.to_thread.run_sync(process.stdout.readline)
        assert hint == "no --static: pages are not served, only the router's own routes\n"
        answers: list[httpx.Response] = []

        async def register() -> None:
            async with httpx.AsyncClient(base_url=url) as client:
                answers.append(await client.post("/request_agent", json=REGISTRATION, timeout=10))

        with anyio.fail_after(20):
            async with raw_socket(url) as core, anyio.create_task_group() as group:
                await core.send(packet("alive", "mephisto"))
                group.start_soon(register)
                asked = await core.receive(Opcode.TEXT)
                assert b"register_agent" in bytes(asked.data)
                process.send_signal(number)
                assert await core.close_code() == 1001
                process.send_signal(number)  # an impatient second one changes nothing
        code = await anyio.to_thread.run_sync(process.wait)
        assert (code, process.stderr.read()) == (0, "")
    (answer,) = answers
    assert (answer.status_code, answer.json()["data"]["agent_id"]) == (200, None)
    assert answer.json()["data"]["failure_reason"]


def _address(host: str, port: int = 0) -> tuple[Any, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))


@contextmanager
def _killed(process: subprocess.Popen[str]) -> Iterator[None]:
    """However the test goes, the process does not outlive it."""
    try:
        yield
    finally:
        process.kill()


@contextmanager
def _printed_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What is printed, to be read by another thread while it is."""
    reading, writing = os.pipe()
    with open(reading) as lines, open(writing, "w") as printed:
        monkeypatch.setattr(sys, "stdout", printed)
        yield lines
