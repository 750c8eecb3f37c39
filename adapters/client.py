"""A worker in Python: registers, does the onboarding, talks to its task and hands in the work.

    async with open_worker("http://127.0.0.1:3000", worker_name="ann", assignment_id="a") as worker:
        await worker.wait_for("in_task")
        await worker.send({"text": "hello"})
        update = await worker.receive_update()
        await worker.submit({"text": update["text"]})

It is a page without a browser. Wrap what must not take for ever in ``anyio.fail_after``.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from statecore.adapters.backoff import Backoff
from statecore.adapters.driver import Clock
from statecore.adapters.worker import PostFailedError, Worker, WorkerEndedError
from statecore.client import ClientCore
from statecore.errors import LocalProtocolError
from statecore.settings import ClientOptions

__all__ = ["PostFailedError", "Worker", "WorkerEndedError", "open_worker"]


@asynccontextmanager
async def open_worker(
    base_url: str,
    *,
    worker_name: str,
    assignment_id: str,
    provider_type: str = "mock",
    provider_data: Mapping[str, Any] | None = None,
    options: ClientOptions | None = None,
    headers: Mapping[str, str] | None = None,
    backoff: Callable[[int], float] | None = None,
    http: httpx.AsyncClient | None = None,
    post_timeout: float = 90.0,
    updates_waiting: int = 10_000,
    on_effect: Callable[[object], None] | None = None,
    wall_clock: Callable[[], float] = time.time,
    clock: Clock | None = None,
) -> AsyncGenerator[Worker]:
    """Register a worker with a router, and leave at the end of the block.

    Args:
        base_url: where the router is, ``http://`` or ``https://``; a path is where it is mounted.
        worker_name: the worker, as the crowd provider calls them.
        assignment_id: with the name it is the registration: opened again with both, the same
            agent comes back, as when a page is reloaded.
        provider_type: the crowd provider.
        provider_data: more for ``provider_data``, or other values for what is in it.
        options: the page's limits; ``ClientOptions(live=False)`` for a static task.
        headers: sent with every request and with the socket's handshake.
        backoff: how long to wait before trying again.
        http: a client to share among many workers; it is not closed here.
        post_timeout: how long a POST may take. A router waits up to 60 s for a core.
        updates_waiting: so many live updates are kept for a program that does not read them.
        on_effect: told everything that the program could want to know, as
            ``statecore.client_events`` has it, when it happens. It must not call the worker.
        wall_clock: seconds since the epoch, for the timestamps on the wire.
        clock: what timers run on.

    Raises:
        LocalProtocolError: ``base_url`` is no such address.
        PostFailedError: the registration got no answer. A refusal is an answer: see ``Worker.state``.
    """
    url = _base(base_url)
    told = {
        "worker_name": worker_name,
        "assignment_id": assignment_id,
        "agent_registration_id": f"{assignment_id}-{worker_name}",
        "provider_type": provider_type,
        **(provider_data or {}),
    }
    worker = Worker(
        ClientCore(options),
        told,
        on_effect=on_effect,
        wall_clock=wall_clock,
        clock=clock,
        updates_waiting=updates_waiting,
    )
    async with AsyncExitStack() as stack:
        if http is None:
            http = await stack.enter_async_context(
                httpx.AsyncClient(
                    timeout=post_timeout,
                    # The socket uses no proxy of the environment, so the POSTs must not either.
                    trust_env=False,
                    # Certificates take long to load, and plain HTTP needs none.
                    verify=url.scheme == "https",
                )
            )
        await stack.enter_async_context(
            worker.running(http, url, dict(headers or {}), backoff or Backoff())
        )
        await worker.register()
        yield worker


def _base(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        text = str(error)
    else:
        if url.scheme in ("http", "https") and url.host:
            return url.copy_with(path=url.path.rstrip("/") + "/", query=None, fragment=None)
        text = "no router can be there"
    raise LocalProtocolError(
        f"{address!r}: {text}",
        error_type="bad-address",
        field="base_url",
        expected="http://HOST:PORT or https://HOST:PORT, with a path where it is mounted",
    )
