"""A backend's way to one router: a WebSocket that comes back whenever it is lost.

It gives its driver one connection that opens and closes again and again under one name, and decides
nothing: what to say first, what to repeat and when to stop sending is the core's. While the router is
away the core keeps what it has to say, up to ``BackendOptions.outbox_bytes``; who wants to send more
waits with ``changed``.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskStatus
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from statecore.adapters.backoff import Backoff
from statecore.adapters.client_transport import QueuedSocket
from statecore.adapters.driver import Driver
from statecore.adapters.websocket_client import WebSocket, WebSocketError, open_websocket
from statecore.errors import LocalProtocolError
from statecore.events import Frame, Ponged, Principal

__all__ = ["Channel", "ChannelError"]

logger = logging.getLogger(__name__)

# The router closed for good (docs/protocol.md, "Close codes"): coming back would be refused again,
# or would push out the other backend, which would come back too, for ever.
_FINAL_CODES = {
    4002: "another backend has taken over this router; expected: one backend for each router",
    4003: "the router refuses this backend; expected: its system token, or both on one machine",
}


class ChannelError(Exception):
    """The router does not want this backend; the text is one line for the operator."""


class Channel:
    """Connects to one router, for as long as it runs.

    Args:
        driver: runs the backend's core.
        url: the router's address, ``ws://``, ``wss://``, ``http://`` or ``https://``.
        name: what the core calls this channel; the address by default.
        token: the router's system token, sent as a bearer token. ``Origin`` is never sent.
        backoff: how long to wait before each attempt to connect.
        sleep: waits so many seconds; a test gives its own.
        frame_limit: the largest frame that is read.
        keepalive: seconds of silence before a ping, and again until the router counts as lost.
        ssl_context: for ``wss://``, instead of the system's default.

    Raises:
        LocalProtocolError: ``url`` is no such address.
    """

    def __init__(
        self,
        driver: Driver,
        url: str,
        *,
        name: str | None = None,
        token: str | None = None,
        backoff: Callable[[int], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        frame_limit: int = 16 << 20,
        keepalive: float = 20.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = _websocket_address(url)
        self.name = name or self.url
        self._driver = driver
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._backoff = backoff or Backoff()
        self._sleep = sleep
        self._frame_limit = frame_limit
        self._keepalive = keepalive
        self._ssl_context = ssl_context
        self._changed = anyio.Event()
        self._attempt = 0
        self._complaint = ""

    async def changed(self) -> None:
        """Return when the router has opened, or has read some more of what was sent."""
        await self._changed.wait()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect and reconnect until cancelled; reports ``started`` when it is first open.

        Raises:
            ChannelError: the router has refused this backend for good.
        """
        started = False

        def is_open() -> None:
            nonlocal started
            if not started:
                started = True
                task_status.started()

        while True:
            await self._connect(is_open)
            self._attempt += 1
            await self._sleep(self._backoff(self._attempt))

    async def _connect(self, is_open: Callable[[], None]) -> None:
        """One connection, from its opening to its end."""
        try:
            async with open_websocket(
                self.url,
                headers=self._headers,
                max_size=self._frame_limit,
                keepalive=self._keepalive,
                ssl_context=self._ssl_context,
                on_pong=self._ponged,
            ) as socket:
                self._complain("")
                await self._talk(socket, is_open)
                code, reason = socket.close_code, socket.close_reason
        except WebSocketError as error:
            self._complain(str(error))
            return
        finally:
            self._driver.disconnect(self.name)
        if code in _FINAL_CODES:
            raise ChannelError(f"{self.url}: {_FINAL_CODES[code]}")
        self._complain(f"{self.url}: the connection was lost ({code} {reason})".rstrip())

    async def _talk(self, socket: WebSocket, is_open: Callable[[], None]) -> None:
        """Read until the connection ends, with one writer beside it."""
        connection = QueuedSocket()
        async with anyio.create_task_group() as tasks:
            self._driver.connect(self.name, connection, Principal(), pings=True)
            tasks.start_soon(connection.write, socket)
            self._wake()
            is_open()
            try:
                async for message in socket:
                    # Not before it has said something sensible: a router that only hangs up
                    # is not to be asked again at once.
                    self._attempt = 0
                    self._driver.receive(Frame(self.name, message, self._driver.wall_clock()))
            except WebSocketError:
                pass  # lost: the code and the reason say so
            tasks.cancel_scope.cancel()

    def _ponged(self, token: str) -> None:
        self._attempt = 0
        self._driver.receive(Ponged(self.name, token))
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _complain(self, text: str) -> None:
        """Log each trouble once, however often it is met, and its end."""
        if text and text != self._complaint:
            logger.warning("%s; trying again", text)
        elif not text:
            logger.info("connected to %s", self.url)
        self._complaint = text


def _websocket_address(address: str) -> str:
    """The address with a WebSocket's scheme; a wrong one would be tried again for ever."""
    scheme, separator, rest = address.partition("://")
    scheme = scheme.lower()
    url = {"http": "ws", "https": "wss"}.get(scheme, scheme) + separator + rest
    try:
        parse_uri(url)
    except (InvalidURI, ValueError):  # ValueError: the port is no number, or a bracket is missing
        raise LocalProtocolError(
            f"{address!r}: no router can be there",
            error_type="bad-address",
            field="url",
            expected="ws://HOST:PORT/, or wss://, http:// or https://",
        ) from None
    return url
