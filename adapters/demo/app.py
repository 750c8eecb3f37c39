"""The demo: one process, two tasks, each with its own router and its own backend.

The backends are in the same process only for convenience: each connects to its router by a real
WebSocket, as one on another machine would, and shows the router a token that only they know.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import secrets
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup, TaskStatus
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.demo.chat import chat
from statecore.adapters.demo.label import label
from statecore.adapters.driver import Driver
from statecore.adapters.serve import ServerOptions, bind, run_until_signal, serve
from statecore.adapters.task import LiveTask, StaticTask, Submission
from statecore.adapters.task_server import TaskServer
from statecore.router import RouterCore
from statecore.settings import RouterOptions

__all__ = ["Demo", "run_demo"]

WEB = Path(__file__).parent.parent / "web"

TASKS: tuple[StaticTask | LiveTask, ...] = (chat, label)

LONGEST_PRINTED = 200  # characters of a submission's JSON


class Demo:
    """The demo's application, its routers and its tasks.

    Args:
        folder: an empty folder for the tasks' pages and uploads; it must outlive the demo.
        options: of the routers; the system token is made here.
        tasks: what is shown, each below ``/NAME/``, with the page of that name.
    """

    def __init__(
        self,
        folder: Path,
        options: RouterOptions | None = None,
        *,
        tasks: Sequence[StaticTask | LiveTask] = TASKS,
    ) -> None:
        self.tasks = tuple(tasks)
        self._token = secrets.token_urlsafe()
        options = replace(options or RouterOptions(), system_token=self._token)
        self.routers = {
            task.name: StatecoreApp(
                Driver(RouterCore(options)),
                static=_page(task, folder / task.name),
                uploads=_made(folder / task.name / "uploads"),
            )
            for task in self.tasks
        }
        self.app = Starlette(
            routes=[
                Route("/", _index),
                Mount("/assets", StaticFiles(directory=WEB)),
                *(Mount(f"/{name}", router) for name, router in self.routers.items()),
            ]
        )

    async def run(
        self,
        server: ServerOptions,
        sockets: Sequence[socket.socket] | None = None,
        *,
        task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; reports ``started`` with the URL when both tasks are connected."""
        async with anyio.create_task_group() as group:
            url = await group.start(serve, self.app, tuple(self.routers.values()), server, sockets)
            for task in self.tasks:
                backend = TaskServer(task, [f"{_reachable(url)}/{task.name}/"], token=self._token)
                await group.start(backend.run)
            task_status.started(url)


def run_demo(host: str, port: int, options: RouterOptions | None = None) -> None:
    """Run the demo until Ctrl-C.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        options: of the routers.

    Raises:
        ServeError: the address cannot be listened on.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sockets = bind(host, port)
    with tempfile.TemporaryDirectory(prefix="statecore-demo-") as folder:
        anyio.run(
            partial(_run, Demo(Path(folder), options, tasks=_printing(TASKS)), host, sockets),
            backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None},
        )


async def _run(demo: Demo, host: str, sockets: Sequence[socket.socket]) -> None:
    async def start(group: TaskGroup) -> None:
        url = await group.start(demo.run, ServerOptions(host=host), sockets)
        _print_links(_reachable(url))

    await run_until_signal(start)


def _print_links(url: str) -> None:
    print(f"listening on {url}")
    print()
    print("Open one of these in a browser:")
    print(f"  {url}/        what there is to try")
    print(f"  {url}/chat/   a chat; open it in two windows to be both people")
    print(f"  {url}/label/  labelling, after a quiz that can be failed")
    print()
    print("What is handed in is printed here, and kept nowhere. Ctrl-C stops it.", flush=True)


def _printing(tasks: Sequence[StaticTask | LiveTask]) -> list[StaticTask | LiveTask]:
    """The same tasks; each submission is printed, for nothing else shows what has come."""
    return [replace(task, on_submission=partial(_print_submission, task.name)) for task in tasks]


def _print_submission(task: str, submission: Submission) -> None:
    # In ASCII: what workers send must not be able to move the cursor, or to fail in a terminal.
    text = json.dumps(submission.data)
    if len(text) > LONGEST_PRINTED:
        text = text[: LONGEST_PRINTED - 3] + "..."
    print(f"{task}: from {submission.worker!a}: {text}", flush=True)


def _reachable(url: str) -> str:
    """The address by which this machine reaches itself: nobody can connect to "every address"."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


async def _index(request: Request) -> FileResponse:
    return FileResponse(WEB / "demo" / "index.html")


def _page(task: StaticTask | LiveTask, folder: Path) -> Path:
    """The task's page with its ``task_config.json``, in a folder of its own."""
    page = shutil.copytree(WEB / "demo" / task.name, folder / "page")
    (page / "task_config.json").write_text(json.dumps(dict(task.config)), encoding="utf-8")
    return page


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
