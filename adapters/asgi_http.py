"""The HTTP routes: POSTs become requests to the core, the rest are files and small facts.

No answer is decided here: a POST's status code and body are those of the core's ``Reply``. What
never reaches the core (a body too large, a path that is nothing) is refused with the same JSON
shape that the core uses: ``{error_type, text, field, expected}``.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from statecore.adapters.asgi_body import BodyLimits, BodyRefused, Uploads, read_body
from statecore.adapters.driver import Driver
from statecore.effects import Reply
from statecore.events import Request, Route, Upload

__all__ = ["HttpRoutes", "refusal"]

POSTS = {
    "/request_agent": Route.REQUEST_AGENT,
    "/register_worker": Route.REQUEST_AGENT,  # the same, by the name that the API's text uses
    "/submit_onboarding": Route.SUBMIT_ONBOARDING,
    "/submit_task": Route.SUBMIT_TASK,
    "/submit_metadata": Route.SUBMIT_METADATA,
    "/log_error": Route.LOG_ERROR,
}
# Their only answer is a 200 from the core: on any other the npm page loads for ever.
QUESTIONS = frozenset({Route.REQUEST_AGENT, Route.SUBMIT_ONBOARDING})
INDEXES = frozenset({"", "/", "/welcome", "/task_index"})
DOWNLOADS = "/download_file/"
TASK_CONFIG = "/task_config.json"

_Get: TypeAlias = Callable[[Scope], Awaitable[Response]]


class HttpRoutes:
    """Everything that is served over HTTP for one router.

    Args:
        driver: runs the router's core.
        static: the folder with the page, or ``None`` to serve none.
        uploads: where the files of forms are kept.
        task_version: the version of ``mephisto-task`` that the task expects; ``None`` reads it
            from the served ``task_config.json``.
        limits: how much of a request is read.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        static: Path | None,
        uploads: Uploads,
        task_version: str | None,
        limits: BodyLimits,
    ) -> None:
        self._driver = driver
        self._files = None if static is None else StaticFiles(directory=static)
        self._uploads = uploads
        self._task_version = task_version
        self._limits = limits
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._questions: set[str] = set()  # request ids that wait for the core's answer
        self._work: set[anyio.CancelScope] = set()  # POSTs that wait to be taken
        self._gets: dict[str, _Get] = {
            "/is_alive": self._is_alive,
            "/get_timestamp": self._get_timestamp,
            TASK_CONFIG: self._task_config,
        }

    async def serve(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP scope; ``path`` is relative to where the application is mounted."""
        method = scope["method"]
        try:
            if path in POSTS and method == "POST":
                response = await self._post(POSTS[path], scope, receive)
            elif path in POSTS:
                response = _wrong_method(method, "POST")
            elif path in self._gets and method not in ("GET", "HEAD"):
                response = _wrong_method(method, "GET, HEAD")
            elif path in self._gets:
                response = await self._gets[path](scope)
            else:
                response = await self._file(path, scope)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    def end_waiting(self) -> None:
        """Answer the POSTs that still wait, because the program is going away.

        A question gets from the core what it would get at its limit. Work is refused, so that its
        page sends it again: the core would take it at its limit, into a memory that ends now.
        """
        for request_id in tuple(self._questions):
            self._driver.fire_early(("request", request_id))
        for scope in tuple(self._work):
            scope.cancel()

    async def _post(self, route: Route, scope: Scope, receive: Receive) -> Response:
        try:
            # Of the other forms no packet names the files, so nobody would ever fetch them.
            uploads = self._uploads if route is Route.SUBMIT_TASK else None
            body = await read_body(scope, receive, self._limits, uploads)
        except BodyRefused as error:
            return refusal(error.status_code, error.error_type, error.text, error.expected)
        # Nobody listens for the peer's disconnect while this waits: what was given to the core
        # is given, and its answer decides whether the files are kept.
        request = self._request(route, body.content, body.is_form, body.uploads)
        ask = self._ask if route in QUESTIONS else self._hand_in
        reply = await ask(request)
        if reply is None:
            # The core may have passed the submission on, so its files stay.
            return refusal(
                503,
                "going-away",
                "the router is going away",
                "the same request again, in a moment",
                headers={"Retry-After": "5"},
            )
        if not (200 <= reply.status_code < 300 and reply.kept):
            await self._uploads.delete(body.uploads)
        return self._answer(reply)

    async def _ask(self, request: Request) -> Reply:
        self._questions.add(request.id)
        try:
            return await self._driver.request(request)
        finally:
            self._questions.discard(request.id)

    async def _hand_in(self, request: Request) -> Reply | None:
        """``None`` when the program went away before the core had decided."""
        reply: Reply | None = None
        with anyio.CancelScope() as waiting:
            self._work.add(waiting)
            try:
                reply = await self._driver.request(request)
            finally:
                self._work.discard(waiting)
        return reply

    def _request(
        self, route: Route, content: bytes, form: bool = False, uploads: tuple[Upload, ...] = ()
    ) -> Request:
        # On the wire this is the request id, so a router that restarts must not use it again.
        name = f"{self._prefix}-{next(self._numbers)}"
        return Request(name, route, content, self._driver.wall_clock(), form, uploads)

    def _answer(self, reply: Reply) -> Response:
        headers = {} if reply.retry_after is None else {"Retry-After": str(reply.retry_after)}
        content = reply.body if isinstance(reply.body, bytes) else self._driver.encode(reply.body)
        return Response(content, reply.status_code, headers, "application/json")

    async def _is_alive(self, scope: Scope) -> Response:
        return _json({"status": "Alive!"})

    async def _get_timestamp(self, scope: Scope) -> Response:
        return _json({"timestamp": int(self._driver.wall_clock() * 1000)})

    async def _task_config(self, scope: Scope) -> Response:
        found = await anyio.to_thread.run_sync(self._find, TASK_CONFIG)
        if found is not None and scope["method"] == "GET":
            query = parse_qs(scope["query_string"].decode("latin-1"))
            expected = self._task_version
            if expected is None:
                expected = await anyio.to_thread.run_sync(_served_version, Path(found[0]))
            versions = {
                "mephisto_task_version": query.get("mephisto_task_version", [None])[-1],
                "expected": expected,
            }
            request = self._request(Route.TASK_CONFIG, msgspec.json.encode(versions))
            await self._driver.request(request)
        return await self._file(TASK_CONFIG, scope)

    async def _file(self, path: str, scope: Scope) -> Response:
        if path.startswith(DOWNLOADS):
            return await self._download(path.removeprefix(DOWNLOADS), scope)
        if path in INDEXES:
            path = "/index.html"
        found = await anyio.to_thread.run_sync(self._find, path)
        if found is None or self._files is None:
            return _not_found(path)
        if scope["method"] not in ("GET", "HEAD"):
            return _wrong_method(scope["method"], "GET, HEAD")
        response = self._files.file_response(found[0], found[1], scope)
        # The same names serve the next task: a browser must ask before it uses what it kept.
        response.headers["Cache-Control"] = "no-cache"
        return response

    async def _download(self, name: str, scope: Scope) -> Response:
        found = await anyio.to_thread.run_sync(self._uploads.find, name)
        if found is None:
            return _not_found(DOWNLOADS + name)
        if scope["method"] not in ("GET", "HEAD"):
            return _wrong_method(scope["method"], "GET, HEAD")
        # A stranger's file must not run as a page of this origin.
        return FileResponse(
            found,
            headers={"X-Content-Type-Options": "nosniff"},
            media_type="application/octet-stream",
            filename=found.name,
        )

    def _find(self, path: str) -> tuple[str, os.stat_result] | None:
        """A regular file below the static folder, by a path without ``..``."""
        if self._files is None or ".." in path.split("/"):
            return None
        try:
            full_path, status = self._files.lookup_path(path.removeprefix("/"))
        except (PermissionError, ValueError):  # not ours to read; a null byte
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise
        return (full_path, status) if status and stat.S_ISREG(status.st_mode) else None


def refusal(
    status_code: int,
    error_type: str,
    text: str,
    expected: str,
    *,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A refusal in the shape that the core's own have."""
    content = {"error_type": error_type, "text": text, "field": None, "expected": expected}
    return _json(content, status_code, headers)


def _json(
    content: object, status_code: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(msgspec.json.encode(content), status_code, headers, "application/json")


def _not_found(path: str) -> Response:
    return refusal(404, "not-found", f"nothing is served at {path}", "a file or route of this task")


def _wrong_method(method: str, allowed: str) -> Response:
    text = f"{method} is not for this path"
    return refusal(405, "wrong-method", text, allowed, headers={"Allow": allowed})


def _served_version(path: Path) -> str | None:
    """The version that a task_config.json names, as far as it is one."""
    try:
        config = msgspec.json.decode(path.read_bytes())
    except (OSError, ValueError):
        return None
    version = config.get("mephisto_task_version") if isinstance(config, dict) else None
    return version if isinstance(version, str) else None
