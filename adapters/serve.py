"""Runs an ASGI application with routers in it under uvicorn, and ends it with good manners.

The end, on SIGTERM, SIGINT or cancellation, in order: no new connections; every WebSocket is
closed with 1001; requests that are open may end, and after ``shutdown_wait`` seconds those that
still wait for a core get the answer that they would get at their limit; then the routers' cores stop.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import anyio
import uvicorn
from anyio.abc import TaskGroup, TaskStatus
from starlette.types import ASGIApp

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.uvicorn_websocket import PingableWebSocket

__all__ = ["ServeError", "ServerOptions", "bind", "run", "run_until_signal", "serve"]

_BACKLOG = 2_048
# An address of a family that this machine is not set up for is no reason not to listen on others.
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class ServeError(Exception):
    """The server cannot be started as asked; the text is one line for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Where and how to listen.

    Args:
        host: the address to listen on; a name may stand for several.
        port: the port; 0 takes a free one.
        frame_limit: the largest WebSocket message that is read, in bytes; above it the
            connection is closed with 1009.
        deflate: offer permessage-deflate. It costs memory and time for each connection, and
            gains little on small packets.
        shutdown_wait: how many seconds open requests have at the end.
    """

    host: str = "127.0.0.1"
    port: int = 3000
    frame_limit: int = 4 << 20
    deflate: bool = False
    shutdown_wait: float = 5.0


def run(
    app: ASGIApp, routers: Sequence[StatecoreApp], options: ServerOptions, *, hint: str = ""
) -> None:
    """Serve until SIGTERM or SIGINT; prints where, once it listens.

    Args:
        app: what is served, as for ``serve``.
        routers: the routers in it.
        options: where and how.
        hint: printed below the address: what the operator may not expect.

    Raises:
        ServeError: the address cannot be listened on.
    """
    sockets = bind(options.host, options.port)
    anyio.run(
        partial(_run, app, routers, options, sockets, hint),
        backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None},
    )


async def run_until_signal(start: Callable[[TaskGroup], Awaitable[None]]) -> None:
    """Run what ``start`` starts in the group that it is given; SIGTERM or SIGINT cancels it."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:
            running = anyio.CancelScope()

            async def stop() -> None:
                # Received to the very end, so that a second Ctrl-C does not cut the end short.
                async for _ in signals:
                    running.cancel()

            group.start_soon(stop)
            with running:
                async with anyio.create_task_group() as started:
                    await start(started)
            group.cancel_scope.cancel()


async def serve(
    app: ASGIApp,
    routers: Sequence[StatecoreApp],
    options: ServerOptions,
    sockets: Sequence[socket.socket] | None = None,
    *,
    task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; reports ``started`` with the URL once it listens.

    Args:
        app: what is served: a router itself, or an application that mounts some.
        routers: the routers in it. Their cores are run here, so the application need not.
        options: where and how.
        sockets: listening sockets, instead of those that ``options`` ask for.
        task_status: for ``task_group.start``.

    Raises:
        ServeError: the address cannot be listened on.
    """
    if sockets is None:
        sockets = bind(options.host, options.port)
    url = _url(options.host, sockets[0].getsockname()[1])
    server = _Server(_config(app, options), routers, options, lambda: task_status.started(url))
    async with AsyncExitStack() as stack:
        for router in routers:
            await stack.enter_async_context(router.running())
        async with anyio.create_task_group() as group:
            group.start_soon(server.stop_when_cancelled)
            # uvicorn must end by itself: cancelled, it leaves its connections as they are.
            with anyio.CancelScope(shield=True):
                await server.serve(sockets=list(sockets))
            group.cancel_scope.cancel()


def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of a host; port 0 takes one free port for all of them.

    Raises:
        ServeError: with one line that says what would be right.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise ServeError(
            f"cannot listen on {host!r}: {error.strerror}; "
            "expected: an address of this machine, such as 127.0.0.1"
        ) from None
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            if sockets:  # the port that the first one got
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sockets.append(_listen(family, kind, protocol, address))
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                missing = error
        if missing is not None and not sockets:
            raise missing
    except OSError as error:
        for listener in sockets:
            listener.close()
        raise ServeError(_why(host, port, error)) from None
    return sockets


def _listen(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two programs share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"cannot listen on {host}:{port}: the port is in use; expected: a free port"
        case errno.EACCES:
            return f"cannot listen on {host}:{port}: not permitted; expected: a port above 1023"
        case _:
            return (
                f"cannot listen on {host}:{port}: {error.strerror}; "
                "expected: an address of this machine, such as 127.0.0.1"
            )


async def _run(
    app: ASGIApp,
    routers: Sequence[StatecoreApp],
    options: ServerOptions,
    sockets: Sequence[socket.socket],
    hint: str,
) -> None:
    async def start(group: TaskGroup) -> None:
        url = await group.start(serve, app, routers, options, sockets)
        print(f"listening on {url}", *([hint] if hint else []), sep="\n", flush=True)

    await run_until_signal(start)


def _config(app: ASGIApp, options: ServerOptions) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ws=PingableWebSocket,
        ws_max_size=options.frame_limit,
        ws_per_message_deflate=options.deflate,
        # A core may be busy for long; that a page lives is told by its heartbeats.
        ws_ping_interval=20.0,
        ws_ping_timeout=60.0,
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        # The router wants to know whether a proxy stands between, not whom it speaks for.
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        backlog=_BACKLOG,
    )


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handling, and with the routers' part of the end."""

    def __init__(
        self,
        config: uvicorn.Config,
        routers: Sequence[StatecoreApp],
        options: ServerOptions,
        on_started: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._routers = routers
        self._options = options
        self._on_started = on_started

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to ``run``: uvicorn raises them again after a good end."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close sockets and wait for requests before uvicorn closes what is left."""
        for server in self.servers:
            server.close()
        async with anyio.create_task_group() as group:
            for router in self._routers:
                group.start_soon(router.finish, self._options.shutdown_wait)
        await super().shutdown(sockets)

    async def stop_when_cancelled(self) -> None:
        """Turn a cancellation into uvicorn's own end."""
        try:
            await anyio.sleep_forever()
        finally:
            self.should_exit = True
