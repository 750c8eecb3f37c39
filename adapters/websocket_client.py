"""A WebSocket client connection on anyio: bytes in, messages out, nothing about packets.

The protocol itself is `websockets`' sans-I/O ``ClientProtocol``; here its bytes meet a TCP or TLS
stream. One task may iterate over the messages while any number of tasks send:

1. Who iterates also answers pings and, after ``keepalive`` seconds without a byte, sends one
   itself; as long again without an answer means that the connection is lost. No task of its own.
2. Senders wait for the socket, so a slow peer slows them down. The reader never waits for a
   sender: two programs that both wait to be read would wait for ever. What it has to say is sent
   by the sender that holds the socket.
3. Iteration ends when the connection was closed in good order, by either side; ``close_code`` and
   ``close_reason`` say how. Everything else is one exception, ``WebSocketError``.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

__all__ = ["WebSocket", "WebSocketError", "open_websocket"]

_READ_SIZE = 65_536


class WebSocketError(Exception):
    """A connection could not be opened, or was lost.

    Attributes:
        url: where to.
        code: the close code, or ``None`` when there was none.
        status: the HTTP status that refused the handshake, or ``None``.
    """

    def __init__(
        self, url: str, text: str, *, code: int | None = None, status: int | None = None
    ) -> None:
        super().__init__(f"{url}: {text}")
        self.url = url
        self.text = text
        self.code = code
        self.status = status


@asynccontextmanager
async def open_websocket(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    max_size: int = 1 << 20,
    connect_timeout: float = 10.0,
    close_timeout: float = 2.0,
    keepalive: float | None = 20.0,
    ssl_context: ssl.SSLContext | None = None,
    on_pong: Callable[[str], None] | None = None,
) -> AsyncGenerator[WebSocket]:
    """Connect, and close at the end of the block: with 1000, or 1001 when the block was left early.

    Args:
        url: ``ws://`` or ``wss://``.
        headers: added to the request; no ``Origin`` is ever sent unless it stands here.
        max_size: the largest message that is taken; a larger one closes with 1009.
        connect_timeout: seconds for name, TCP, TLS and handshake together.
        close_timeout: how long the end of the block waits for the peer's part of the closing.
        keepalive: seconds of silence before a ping, and again until the connection counts as lost;
            ``None`` for never.
        ssl_context: for ``wss://``, instead of the system's default.
        on_pong: called with the token of each pong, by the task that iterates.

    Raises:
        WebSocketError: the connection could not be opened.
    """
    try:
        uri = parse_uri(url)
    except InvalidURI:
        raise WebSocketError(
            url, "not a WebSocket address; expected: ws://HOST:PORT/ or wss://HOST:PORT/"
        ) from None
    protocol = ClientProtocol(uri, max_size=max_size)
    try:
        with anyio.fail_after(connect_timeout):
            stream = await _connect(uri, url, ssl_context)
            try:
                await _shake_hands(protocol, stream, url, headers or {})
            except BaseException:
                await anyio.aclose_forcefully(stream)
                raise
    except TimeoutError:
        raise WebSocketError(url, f"no connection within {connect_timeout:g} s") from None
    socket = WebSocket(
        protocol,
        stream,
        url,
        keepalive=keepalive,
        close_timeout=close_timeout,
        on_pong=on_pong,
    )
    code = CloseCode.GOING_AWAY
    try:
        await socket.answer()
        yield socket
        code = CloseCode.NORMAL_CLOSURE
    finally:
        with anyio.CancelScope(shield=True):
            await socket.close(code)
            await anyio.aclose_forcefully(stream)


async def _connect(uri: WebSocketURI, url: str, ssl_context: ssl.SSLContext | None) -> ByteStream:
    try:
        if uri.secure:
            return await anyio.connect_tcp(
                uri.host,
                uri.port,
                tls=True,
                ssl_context=ssl_context,
                tls_standard_compatible=False,
            )
        return await anyio.connect_tcp(uri.host, uri.port)
    except ssl.SSLError as error:
        raise WebSocketError(url, f"no secure connection: {error.reason or error}") from None
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise WebSocketError(url, f"cannot connect: {reason}") from None


async def _shake_hands(
    protocol: ClientProtocol, stream: ByteStream, url: str, headers: Mapping[str, str]
) -> None:
    request = protocol.connect()
    request.headers.update(Headers(headers))
    protocol.send_request(request)
    try:
        for data in protocol.data_to_send():
            await stream.send(data)
        while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            protocol.receive_data(await stream.receive(_READ_SIZE))
    except anyio.EndOfStream:
        raise WebSocketError(url, "the server closed during the handshake") from None
    except anyio.BrokenResourceError:
        raise WebSocketError(url, "the connection broke during the handshake") from None
    refusal = protocol.handshake_exc
    if isinstance(refusal, InvalidStatus):
        status = refusal.response.status_code
        raise WebSocketError(
            url, f"the server refused the WebSocket with HTTP {status}", status=status
        ) from None
    if refusal is not None:
        raise WebSocketError(url, f"this is no WebSocket server: {refusal}") from None


class WebSocket:
    """One open connection; made by ``open_websocket``."""

    def __init__(
        self,
        protocol: ClientProtocol,
        stream: ByteStream,
        url: str,
        *,
        keepalive: float | None,
        close_timeout: float,
        on_pong: Callable[[str], None] | None,
    ) -> None:
        self.url = url
        self._protocol = protocol
        self._stream = stream
        self._keepalive = keepalive
        self._close_timeout = close_timeout
        self._on_pong = on_pong
        self._writing = anyio.Lock()
        self._is_reading = False
        self._ended = anyio.Event()
        self._is_torn = False
        self._lost: str | None = None  # why it was lost, unless it was closed in good order
        self._messages: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._is_text = True
        self._take_events()  # a frame may have come together with the handshake's answer

    @property
    def close_code(self) -> int | None:
        """The code that the peer closed with; ``None`` while it is open, 1006 when it was lost."""
        if self._protocol.close_rcvd is not None:
            return self._protocol.close_rcvd.code
        return CloseCode.ABNORMAL_CLOSURE if self._lost is not None else None

    @property
    def close_reason(self) -> str:
        """The reason that came with the code, or why the connection was lost."""
        if self._protocol.close_rcvd is not None:
            return self._protocol.close_rcvd.reason
        return self._lost or ""

    async def send(self, text: str) -> None:
        """Send a text message; returns when the socket has taken it.

        Raises:
            WebSocketError: the connection is closed or lost; the message may not have arrived.
        """
        self._check_open()
        self._protocol.send_text(text.encode())
        await self._flush()

    async def ping(self, token: str) -> None:
        """Send a ping; its pong goes to ``on_pong``.

        Raises:
            WebSocketError: the connection is closed or lost.
        """
        self._check_open()
        self._protocol.send_ping(token.encode())
        await self._flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close in good order, and wait a while for the peer's part; already closed is fine."""
        try:
            with anyio.move_on_after(self._close_timeout):
                if self._protocol.state is State.OPEN and self._lost is None:
                    self._protocol.send_close(code, reason)
                if self._lost is None:
                    # Also when a close before this one was cancelled with its frame not yet out.
                    await self._flush()
                while not self._is_over():
                    if self._is_reading:
                        await self._ended.wait()
                    else:
                        await self._read()
        except WebSocketError:
            pass  # closed is what was wanted, however it came

    def __aiter__(self) -> WebSocket:
        return self

    async def __anext__(self) -> str | bytes:
        while not self._messages:
            if self._lost is not None:
                raise self._error()
            if self._is_over():
                raise StopAsyncIteration
            await self._read()
        return self._messages.popleft()

    def _is_over(self) -> bool:
        return self._lost is not None or self._protocol.close_rcvd is not None

    def _check_open(self) -> None:
        if self._protocol.state is not State.OPEN or self._lost is not None:
            raise self._error()

    async def _read(self) -> None:
        """Take bytes from the stream, and the messages that they complete."""
        if self._is_reading:
            raise RuntimeError("one task at a time reads a WebSocket")
        self._is_reading = True
        try:
            data = await self._receive()
        except anyio.EndOfStream:
            self._lost = self._lost or "the connection was lost"
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._lost = self._lost or "the connection broke"
        else:
            self._protocol.receive_data(data)
            self._take_events()
            await self.answer()
        finally:
            self._is_reading = False
            if self._is_over():
                self._ended.set()

    async def _receive(self) -> bytes:
        with anyio.move_on_after(self._keepalive):
            return await self._stream.receive(_READ_SIZE)
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"keepalive")
            await self.answer()
        with anyio.move_on_after(self._keepalive):
            return await self._stream.receive(_READ_SIZE)
        self._lost = f"the server was silent for {2 * (self._keepalive or 0):g} s"
        raise anyio.EndOfStream

    def _take_events(self) -> None:
        """Put parts together; pings are answered by the protocol itself."""
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                continue  # the handshake's response
            match event.opcode:
                case Opcode.TEXT | Opcode.BINARY:
                    self._is_text = event.opcode is Opcode.TEXT
                    self._take_part(event)
                case Opcode.CONT:
                    self._take_part(event)
                case Opcode.PONG if self._on_pong is not None:
                    self._on_pong(bytes(event.data).decode("utf-8", "replace"))
                case _:
                    pass
        if self._protocol.parser_exc is not None:
            self._fail(f"the server broke the protocol: {self._protocol.parser_exc}")

    def _take_part(self, frame: Frame) -> None:
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        whole = b"".join(self._parts)
        self._parts.clear()
        if not self._is_text:
            self._messages.append(whole)
            return
        try:
            self._messages.append(whole.decode())
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
            self._fail("the server sent text that is not UTF-8")

    def _fail(self, text: str) -> None:
        self._lost = self._lost or text

    async def answer(self) -> None:
        """Send what the protocol itself has to say: pongs, the echo of a close."""
        if self._writing.locked():
            return  # who holds the socket sends this too
        try:
            await self._flush()
        except WebSocketError as error:
            self._fail(error.text)

    async def _flush(self) -> None:
        """Write what the protocol has to say, and what it gets to say meanwhile."""
        async with self._writing:
            if self._is_torn:
                raise self._error()
            while chunks := self._protocol.data_to_send():
                self._is_torn = (
                    True  # until all of it is out: cancelled within a frame, it stays so
                )
                try:
                    for data in chunks:
                        if data:  # an empty one asks for a half-close; we close whole
                            await self._stream.send(data)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    self._fail("the connection broke")
                    raise self._error() from None
                self._is_torn = False

    def _error(self) -> WebSocketError:
        if self._lost is not None:
            text = self._lost
        elif self.close_code is not None:
            reason = f": {self.close_reason}" if self.close_reason else ""
            text = f"the server closed the connection with {self.close_code}{reason}"
        elif self._is_torn:
            text = "a message was cut off by its sender's cancellation"
        else:
            text = "the connection is being closed"
        return WebSocketError(self.url, text, code=self.close_code)
