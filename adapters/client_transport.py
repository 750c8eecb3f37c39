"""A worker's way to a router: POSTs by httpx, the socket by ``websocket_client``.

It performs the two orders that ``ClientCore`` gives to a transport, each in a task of its own, and
hands back what came of it. What to try again, and whether, is the core's to say; how long to wait
before an attempt is said by ``backoff``.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio
import httpx
from anyio.abc import TaskGroup

from statecore.adapters.driver import Driver
from statecore.adapters.websocket_client import WebSocket, WebSocketError, open_websocket
from statecore.client_events import Answered, OpenFailed, OpenSocket, Post, Unanswered
from statecore.events import Frame, Ponged, Principal

__all__ = ["ClientTransport", "QueuedSocket"]

_Files: TypeAlias = list[tuple[str, tuple[str, bytes, str]]]

# httpx says with these that no byte of the request can have left.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class QueuedSocket:
    """The driver's side of a client socket: a queue and its one writer."""

    def __init__(self) -> None:
        self._queue: deque[tuple[str, str, int]] = deque()
        self._wake = anyio.Event()

    def send(self, payload: str) -> None:
        """Queue a text frame."""
        self._push("send", payload)

    def ping(self, token: str) -> None:
        """Queue a ping."""
        self._push("ping", token)

    def close(self, code: int, reason: str) -> None:
        """Queue the close; what comes after it goes nowhere."""
        self._push("close", reason, code)

    async def write(self, socket: WebSocket) -> None:
        """Send what is queued, in order, until it is closed or lost; the reader learns how."""
        try:
            while True:
                while self._queue:
                    kind, text, code = self._queue.popleft()
                    if kind == "send":
                        await socket.send(text)
                    elif kind == "ping":
                        await socket.ping(text)
                    else:
                        await socket.close(code, text)
                        return
                self._wake = anyio.Event()
                await self._wake.wait()
        except WebSocketError:
            return

    def _push(self, kind: str, text: str, code: int = 0) -> None:
        self._queue.append((kind, text, code))
        self._wake.set()


class ClientTransport:
    """Performs ``Post`` and ``OpenSocket`` for one driver.

    Args:
        driver: what came of an order goes to it.
        tasks: every order becomes a task of this group.
        http: performs the requests.
        url: where the router is; its path ends in a slash.
        headers: sent with every request and with the socket's handshake.
        backoff: how long to wait before an attempt.
        frame_limit: the largest frame that is read.
        room_to_read: awaited before each frame is handed on.
    """

    def __init__(
        self,
        driver: Driver,
        tasks: TaskGroup,
        http: httpx.AsyncClient,
        *,
        url: httpx.URL,
        headers: dict[str, str],
        backoff: Callable[[int], float],
        frame_limit: int,
        room_to_read: Callable[[], Awaitable[None]],
    ) -> None:
        self._driver = driver
        self._tasks = tasks
        self._http = http
        self._url = url
        self._socket_url = str(url.copy_with(scheme=url.scheme.replace("http", "ws")))
        self._headers = headers
        self._backoff = backoff
        self._frame_limit = frame_limit
        self._room_to_read = room_to_read
        self._names = (f"socket-{number}" for number in itertools.count(1))

    def post(self, order: Post) -> None:
        """Begin a POST."""
        self._tasks.start_soon(self._post, order)

    def open_socket(self, order: OpenSocket) -> None:
        """Begin to open a socket."""
        self._tasks.start_soon(self._run_socket, order.attempt)

    async def _post(self, order: Post) -> None:
        await anyio.sleep(max(order.wait, self._backoff(order.attempt)))
        try:
            response = await self._http.send(self._request(order))
        except _NEVER_SENT as error:
            self._driver.receive(Unanswered(order.post_id, sent=False, reason=_reason(error)))
        except httpx.RequestError as error:
            self._driver.receive(Unanswered(order.post_id, sent=True, reason=_reason(error)))
        else:
            wait = _seconds(response.headers.get("Retry-After"))
            answer = Answered(order.post_id, response.status_code, response.content, wait)
            self._driver.receive(answer)

    def _request(self, order: Post) -> httpx.Request:
        url = self._url.join(order.route.removeprefix("/"))
        if order.attachments:
            fields, files = _form(order)
            return self._http.build_request(
                "POST", url, data=fields, files=files, headers=self._headers
            )
        headers = {**self._headers, "Content-Type": "application/json"}
        return self._http.build_request("POST", url, content=order.body, headers=headers)

    async def _run_socket(self, attempt: int) -> None:
        await anyio.sleep(self._backoff(attempt))
        name = next(self._names)
        is_open = False
        code = 1006
        try:
            async with open_websocket(
                self._socket_url,
                headers=self._headers,
                max_size=self._frame_limit,
                on_pong=lambda token: self._driver.receive(Ponged(name, token)),
            ) as socket:
                is_open = True
                code = await self._talk(name, socket)
        except WebSocketError as error:
            if not is_open:
                self._driver.receive(OpenFailed(str(error)))
        finally:
            self._driver.disconnect(name, code)

    async def _talk(self, name: str, socket: WebSocket) -> int:
        """Read until the socket is closed or lost; returns the close code."""
        connection = QueuedSocket()
        async with anyio.create_task_group() as tasks:
            self._driver.connect(name, connection, Principal(), pings=True)
            tasks.start_soon(connection.write, socket)
            try:
                async for message in socket:
                    await self._room_to_read()
                    self._driver.receive(Frame(name, message, self._driver.wall_clock()))
            except WebSocketError:
                pass  # lost: the code says so
            tasks.cancel_scope.cancel()
        return socket.close_code or 1006


def _form(order: Post) -> tuple[dict[str, str], _Files]:
    """The body's fields as a form: texts as they are, the rest as JSON."""
    fields = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in json.loads(order.body).items()
    }
    files = [(a.field_name, (a.file_name, a.content, a.media_type)) for a in order.attachments]
    return fields, files


def _seconds(header: str | None) -> float | None:
    """``Retry-After`` in seconds; its other form, a date, is left to the backoff."""
    return float(header) if header is not None and header.isdecimal() else None


def _reason(error: httpx.RequestError) -> str:
    return str(error) or type(error).__name__
