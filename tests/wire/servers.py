"""Two routers behind real sockets: ours as ``serve`` runs it, and the FastAPI example under uvicorn.

A uvicorn server lives for all the tests and serves at the root, as pages need it. The router behind
it is a new one for each test, so no test sees another's agents; it has its own static folder, its own
uploads, and a file beside them that nobody may read.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn
from fastapi_router import Rules, make_app
from starlette.types import ASGIApp, Receive, Scope, Send

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.driver import Driver
from statecore.adapters.serve import ServerOptions, bind, serve
from statecore.router import RouterCore
from statecore.settings import RouterOptions

__all__ = [
    "KINDS",
    "TASK_VERSION",
    "Folders",
    "Server",
    "running_router",
    "running_server",
    "with_options",
]

KINDS = ("asgi", "fastapi")
TASK_VERSION = "2.0.3"


@dataclass
class Server:
    """A uvicorn server, and the router that it serves at the moment."""

    kind: str
    port: int
    app: ASGIApp | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # the server's; the routers have lives of their own
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert self.app is not None, "a request came in between two tests"
        await self.app(scope, receive, send)


@dataclass
class Folders:
    """What a router has on disk, and what lies beside it."""

    root: Path
    static: Path = field(init=False)
    uploads: Path = field(init=False)
    secret: Path = field(init=False)

    def __post_init__(self) -> None:
        self.static, self.uploads = self.root / "static", self.root / "uploads"
        self.secret = self.root / "secret.txt"
        self.secret.write_text("nobody may read this")
        self.uploads.mkdir()
        (self.static / "images").mkdir(parents=True)
        (self.static / "index.html").write_text("<!doctype html><title>the page</title>")
        (self.static / "bundle.js").write_text("export const answer = 42;\n")
        (self.static / "images" / "a b.svg").write_text("<svg/>")
        (self.static / "task_config.json").write_text(
            f'{{"mephisto_task_version": "{TASK_VERSION}", "task_title": "größer"}}'
        )


def with_options(**options: Any) -> pytest.MarkDecorator:
    """The tests so marked run against a router with these limits and times."""
    return pytest.mark.parametrize("options", [RouterOptions(**options)], ids=[",".join(options)])


@asynccontextmanager
async def running_server(kind: str) -> AsyncGenerator[Server]:
    """A uvicorn server on a free port of loopback."""
    listeners = bind("127.0.0.1", 0)
    server = Server(kind, listeners[0].getsockname()[1])
    async with anyio.create_task_group() as tasks:
        if kind == "asgi":
            await tasks.start(serve, server, [], ServerOptions(), listeners)
            yield server
            tasks.cancel_scope.cancel()
        else:
            # As anybody would run it, but a test that failed must not keep it from ending.
            config = uvicorn.Config(server, log_config=None, timeout_graceful_shutdown=1)
            plain = _PlainServer(config)
            tasks.start_soon(plain.serve, listeners)
            await plain.is_up.wait()
            yield server
            plain.should_exit = True


@asynccontextmanager
async def running_router(
    server: Server, folders: Folders, options: RouterOptions, rules: Rules
) -> AsyncGenerator[Driver | None]:
    """A new router behind the server; also its driver, where one can get at it."""
    running: AbstractAsyncContextManager[object]
    driver: Driver | None = None
    if server.kind == "asgi":
        driver = Driver(RouterCore(options))
        ours = StatecoreApp(driver, static=folders.static, uploads=folders.uploads)
        server.app, running = ours, ours.running()
    else:
        theirs = make_app(folders.static, folders.uploads, rules, options)
        server.app, running = theirs, theirs.router.lifespan_context(theirs)
    async with running:
        yield driver
    server.app = None


class _PlainServer(uvicorn.Server):
    """uvicorn as it is, but it says when it is up, and leaves the test run its signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = anyio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()
