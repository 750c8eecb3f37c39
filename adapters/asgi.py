"""A router as a plain ASGI application: dispatch on the scope's type, and nothing else.

It runs under any ASGI server, on asyncio and on trio, by itself or mounted in a FastAPI or
Starlette application::

    router = StatecoreApp(Driver(RouterCore()), static="page")

By itself, the server's lifespan starts its core. Mounted, nobody passes the lifespan on, so the
outer application's own starts it: ``async with router.running(): yield``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from os import PathLike
from pathlib import Path

import anyio
from starlette.types import Receive, Scope, Send

from statecore.adapters.asgi_body import BodyLimits, Uploads
from statecore.adapters.asgi_http import HttpRoutes
from statecore.adapters.asgi_websocket import serve_websocket
from statecore.adapters.driver import Driver
from statecore.errors import LocalProtocolError

__all__ = ["StatecoreApp"]

SOCKETS = frozenset({"", "/", "/socket"})


class StatecoreApp:
    """Serves one router's HTTP routes and WebSockets.

    Args:
        driver: runs the router's core; this application runs the driver.
        static: the folder with the page and its ``task_config.json``; ``None`` serves none.
        uploads: the folder for the files of forms; the system's temporary folder by default.
        task_version: the version of ``mephisto-task`` to expect; by default that of the served
            ``task_config.json``.
        limits: how much of a request is read.
        queue_limit: the most bytes that may wait for one slow WebSocket peer.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        static: str | PathLike[str] | None = None,
        uploads: str | PathLike[str] | None = None,
        task_version: str | None = None,
        limits: BodyLimits | None = None,
        queue_limit: int = 16 << 20,
    ) -> None:
        self.driver = driver
        self._queue_limit = queue_limit
        self._routes = HttpRoutes(
            driver,
            static=None if static is None else Path(static),
            uploads=Uploads(None if uploads is None else Path(uploads)),
            task_version=task_version,
            limits=limits or BodyLimits(),
        )
        self._is_running = False
        self._open = 0
        self._idle: anyio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        match scope["type"]:
            case "lifespan":
                await self._lifespan(receive, send)
            case "http":
                async with self._counted():
                    await self._routes.serve(_relative_path(scope), scope, receive, send)
            case "websocket":
                async with self._counted():
                    await self._websocket(scope, receive, send)
            case other:
                raise LocalProtocolError(
                    f"the server opened a scope of type {other!r}",
                    error_type="unknown-scope",
                    expected="http, websocket or lifespan",
                )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the router's core: its timers, its first effects. Enter it once, before serving."""
        async with anyio.create_task_group() as group:
            await group.start(self.driver.run)
            self._is_running = True
            try:
                yield
            finally:
                self._is_running = False
                group.cancel_scope.cancel()

    async def finish(self, wait: float) -> None:
        """Close every socket with 1001 and let open requests end.

        Args:
            wait: after so many seconds, a question that still waits gets the answer that it would
                get at its limit, and work that waits is refused.
        """
        self.driver.close_all(1001, "the router is going away")
        if self._open:
            self._idle = anyio.Event()
            with anyio.move_on_after(wait) as waiting:
                await self._idle.wait()
            if waiting.cancelled_caught:
                self._routes.end_waiting()

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        if not self._is_running:
            raise LocalProtocolError(
                "the router does not run",
                error_type="not-running",
                expected="the server's lifespan, or `async with app.running()` around the server",
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if self._idle is not None and not self._open:
                self._idle.set()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        # Whoever embeds the router may have started it already.
        async with nullcontext() if self._is_running else self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
        await send({"type": "lifespan.shutdown.complete"})

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _relative_path(scope) in SOCKETS:
            await serve_websocket(self.driver, scope, receive, send, queue_limit=self._queue_limit)
            return
        await receive()  # websocket.connect
        await send({"type": "websocket.close", "code": 1000, "reason": ""})


def _relative_path(scope: Scope) -> str:
    """The path below the mount; by the ASGI specification ``path`` includes ``root_path``."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path
