"""A router of your own: ``RouterCore`` inside a FastAPI application, with rules of its own.

    python docs/examples/fastapi_router.py FOLDER_WITH_THE_PAGE PORT

FastAPI does the talking. What happens becomes an event; the driver gives it to the core and performs
the effects that come back. This house adds three things that no core knows of: only invited workers
get a seat and only in opening hours, ``GET /agents`` lists the seats, and rejections are counted.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path

import anyio
import msgspec
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi_io import Outgoing, find_upload, forget_uploads, new_name, read_post
from starlette.exceptions import HTTPException as AnyHTTPException

from statecore import RemoteProtocolError, RouterCore, RouterOptions
from statecore.adapters.driver import Driver
from statecore.adapters.principal import principal_of
from statecore.envelope import Envelope, decode_json, encode_data
from statecore.events import Frame, Route
from statecore.events import Request as Asked
from statecore.forms import read_form
from statecore.from_core import may_be_core
from statecore.packets import SYSTEM_ID, PacketType

__all__ = ["Rules", "make_app"]


@dataclass(frozen=True)
class Rules:
    """The rules of this house: whom it invites (``None``: everybody) and when it is open."""

    invited: frozenset[str] | None = None
    opens: int = 0
    closes: int = 24

    def objection(self, worker: str, at: float) -> str | None:
        """Why this worker gets no seat now, in words for the page; ``None`` when welcome."""
        if self.invited is not None and worker not in self.invited:
            return "This task is for invited workers only."
        if not self.opens <= datetime.fromtimestamp(at).hour < self.closes:
            return f"This task is open from {self.opens}:00 to {self.closes}:00."
        return None


class Worker(msgspec.Struct):
    worker_name: str


class Registration(msgspec.Struct):
    provider_data: Worker


def make_app(
    static: Path, uploads: Path, rules: Rules, options: RouterOptions | None = None
) -> FastAPI:
    """A router: the page's folder, one for uploads, the house's rules, the core's limits."""
    options = options or RouterOptions()
    core = RouterCore(options)
    driver = Driver(core)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            await tasks.start(driver.run)  # the core's timers live here
            yield
            tasks.cancel_scope.cancel()

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)

    # WebSockets: what comes in is fed as events, what the core sends is written by one task.
    @app.websocket("/")
    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        name, outgoing = new_name(), Outgoing()
        driver.connect(name, outgoing, principal_of(websocket.scope), pings=False)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(outgoing.write_to, websocket, tasks.cancel_scope)
                while (message := await websocket.receive())["type"] == "websocket.receive":
                    if not outgoing.is_closing:
                        text = message.get("text")
                        payload = message["bytes"] if text is None else text
                        driver.receive(Frame(name, payload, driver.wall_clock()))
                tasks.cancel_scope.cancel()
        finally:
            driver.disconnect(name)

    # POSTs: one request to the core, and its one reply as it is.
    async def ask(asked: Asked) -> Response:
        reply = await driver.request(asked)
        if reply.status_code >= 300 or not reply.kept:
            await forget_uploads(asked)
        content = reply.body if isinstance(reply.body, bytes) else driver.encode(reply.body)
        headers = {} if reply.retry_after is None else {"Retry-After": str(reply.retry_after)}
        return Response(content, reply.status_code, headers, "application/json")

    def post(route: Route) -> None:
        @app.post(route)
        async def serve(request: Request) -> Response:
            return await ask(await read_post(route, request, uploads, driver.wall_clock))

    post(Route.SUBMIT_ONBOARDING)
    post(Route.SUBMIT_TASK)
    post(Route.SUBMIT_METADATA)
    post(Route.LOG_ERROR)

    @app.post(Route.REQUEST_AGENT)
    @app.post("/register_worker")
    async def request_agent(request: Request) -> Response:
        asked = await read_post(Route.REQUEST_AGENT, request, uploads, driver.wall_clock)
        return house_answer(asked) or await ask(asked)

    def house_answer(asked: Asked) -> Response | None:
        """The rules come before the core; the page shows the worker ``failure_reason``."""
        try:  # the core's own reading of the body, so that no spelling of it goes round the rules
            packet = read_form(asked, options.frame_limit).packet
            registration = decode_json(Registration, bytes(packet.data), limit=options.frame_limit)
        except RemoteProtocolError:
            return None  # the core refuses it as well, and says why
        reason = rules.objection(registration.provider_data.worker_name, asked.at)
        if reason is None:
            return None
        driver.counters["rejected", reason] += 1
        nobody = {"request_id": "", "worker_id": None, "agent_id": None, "init_task_data": None}
        data = encode_data(nobody | {"failure_reason": reason})
        packet = Envelope(PacketType.AGENT_DETAILS, SYSTEM_ID, data)
        return Response(driver.encode(packet), media_type="application/json")

    # GETs: files and small facts.
    @app.get("/task_config.json")
    async def task_config(mephisto_task_version: str | None = None) -> Response:
        file = static / "task_config.json"
        if not file.is_file():
            raise HTTPException(404, "there is no task_config.json")
        expected = json.loads(file.read_bytes()).get("mephisto_task_version")
        versions = {"mephisto_task_version": mephisto_task_version, "expected": expected}
        body = json.dumps(versions).encode()
        await driver.request(Asked(new_name(), Route.TASK_CONFIG, body, driver.wall_clock()))
        return FileResponse(file)

    @app.get("/is_alive")
    async def is_alive() -> dict[str, str]:
        return {"status": "Alive!"}

    @app.get("/get_timestamp")
    async def get_timestamp() -> dict[str, int]:
        return {"timestamp": int(driver.wall_clock() * 1000)}

    @app.get("/download_file/{name}")
    async def download_file(name: str) -> Response:
        if (file := find_upload(uploads, name)) is None:
            raise HTTPException(404, "there is no such upload")
        return FileResponse(file, media_type="application/octet-stream")

    @app.get("/welcome")
    @app.get("/task_index")
    async def index() -> Response:
        return FileResponse(static / "index.html")

    @app.get("/agents")
    async def agents(request: Request) -> Response:
        if not may_be_core(principal_of(request.scope), options):
            raise HTTPException(403, "this page is for the operator; expected: the system token")
        rows = ((s.agent_id, s.state, s.link, s.outcome) for s in core.state.seats)
        cells = ("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows)
        return HTMLResponse(f"<table>{''.join(cells)}</table>{escape(repr(driver.counters))}")

    @app.exception_handler(AnyHTTPException)
    async def refused(request: Request, error: AnyHTTPException) -> Response:
        text, _, expected = error.detail.partition("; expected: ")
        told = {"error_type": f"http-{error.status_code}", "text": text, "field": None}
        return JSONResponse(told | {"expected": expected}, error.status_code, error.headers)

    app.mount("/", StaticFiles(directory=static, html=True))
    return app


if __name__ == "__main__":
    router = make_app(Path(sys.argv[1]), Path(tempfile.gettempdir()), Rules(opens=6, closes=22))
    uvicorn.run(router, port=int(sys.argv[2]))
