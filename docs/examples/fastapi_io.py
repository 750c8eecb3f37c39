"""FastAPI's side of a router: POSTs that come in, and what goes out through a WebSocket.

Nothing here knows what a packet means. JSON goes to the core as it came; a form goes there as the JSON
object of its text fields, with a note of each file that was stored. What the core sends waits in an
``Outgoing`` for the socket's one writer, so that a slow peer holds nobody up.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path

import anyio
from fastapi import HTTPException, Request, WebSocket, WebSocketDisconnect
from starlette.requests import ClientDisconnect
from starlette.types import Message

from statecore import Request as Asked
from statecore import Route, Upload

__all__ = ["Outgoing", "find_upload", "forget_uploads", "new_name", "read_post"]

JSON, FORM = "application/json", "multipart/form-data"
BODY_LIMIT = 64 << 20  # of a form with its files; how much the backend may get, the core decides
QUEUE_LIMIT = 128 << 20  # for one socket: more than the core itself ever lets wait


class Outgoing:
    """The driver's side of one WebSocket. No call blocks; the order is kept."""

    def __init__(self) -> None:
        self.is_closing = False
        self._size = 0
        self._queue: asyncio.Queue[Message] = asyncio.Queue()

    def send(self, payload: str) -> None:
        """Queue a text frame."""
        if self._size + len(payload) > QUEUE_LIMIT:
            self.close(1013, "this socket reads too slowly")
        if not self.is_closing:
            self._size += len(payload)
            self._queue.put_nowait({"type": "websocket.send", "text": payload})

    def ping(self, token: str) -> None:
        """FastAPI has no pings; the core is told so with ``pings=False`` and orders none."""
        raise NotImplementedError("connect this with pings=False")

    def close(self, code: int, reason: str) -> None:
        """Queue the close; nothing goes out after it."""
        if not self.is_closing:
            self.is_closing = True
            self._queue.put_nowait({"type": "websocket.close", "code": code, "reason": reason})

    async def write_to(self, websocket: WebSocket, until: anyio.CancelScope) -> None:
        """Send what is queued until the close is sent or the peer is gone; then end the scope."""
        message: Message = {"type": "nothing yet"}
        try:
            while message["type"] != "websocket.close":
                message = await self._queue.get()
                self._size -= len(message.get("text", ""))
                await websocket.send(message)
        except (WebSocketDisconnect, RuntimeError):
            pass  # gone, or closed by the server itself: the reader's part ends as well
        until.cancel()


def new_name() -> str:
    """For a connection or a request: never used again, not even after a restart."""
    return secrets.token_hex(16)


async def read_post(
    route: Route, request: Request, folder: Path, clock: Callable[[], float]
) -> Asked:
    """The event of a POST that came whole: JSON, or a form whose files go into the folder.

    Raises:
        HTTPException: 400, 413 or 415; nothing has reached the core.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, FORM):
        raise HTTPException(415, f"the content type is {kind!r}; expected: {JSON} or {FORM}")
    content = bytearray()
    try:
        async for chunk in request.stream():  # to its end: who still sends hears no answer
            content += chunk if len(content) <= BODY_LIMIT else b""
    except ClientDisconnect:
        raise HTTPException(400, "the body was cut off; expected: all of it") from None
    if len(content) > BODY_LIMIT:
        raise HTTPException(413, f"the body is too large; expected: at most {BODY_LIMIT:,} bytes")
    if kind == JSON:
        return Asked(new_name(), route, bytes(content), clock())
    texts, uploads = await _read_form(request, bytes(content), folder)
    return Asked(new_name(), route, json.dumps(texts).encode(), clock(), True, tuple(uploads))


async def forget_uploads(asked: Asked) -> None:
    """Delete the files of a POST that the core did not take."""
    for upload in asked.uploads:
        await anyio.Path(upload.path).unlink()


def find_upload(folder: Path, name: str) -> Path | None:
    """The file that was stored under this name; never anything else, wherever the folder is."""
    path = folder / name
    is_ours = re.fullmatch("[0-9a-f]{32}", name) and path.is_file() and not path.is_symlink()
    return path if is_ours else None


async def _read_form(
    request: Request, content: bytes, folder: Path
) -> tuple[dict[str, str], list[Upload]]:
    if not content.rstrip().endswith(b"--"):
        raise HTTPException(400, "the form was cut off; expected: its last boundary")

    async def replay() -> Message:
        return {"type": "http.request", "body": content}

    texts: dict[str, str] = {}
    uploads: list[Upload] = []
    async with Request(request.scope, replay).form(max_part_size=BODY_LIMIT) as form:
        for field, value in form.multi_items():
            if isinstance(value, str):
                texts[field] = value
            elif value.filename:
                name = new_name()  # never the peer's word for a path
                size = await anyio.Path(folder, name).write_bytes(await value.read())
                upload = Upload(
                    fieldname=field,
                    originalname=value.filename,
                    encoding="7bit",
                    mimetype=value.content_type or "application/octet-stream",
                    destination=f"{folder}/",
                    filename=name,
                    path=str(folder / name),
                    size=size,
                )
                uploads.append(upload)
    return texts, uploads
