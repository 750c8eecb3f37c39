"""Fixtures: a server of each kind for this folder, a router of its own for each test.

The scope is the folder and no more, for as long as such a fixture lives, anyio runs every test on its
event loop: tests elsewhere that want trio would get asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import httpx
import pytest
from fastapi_router import Rules

from statecore.settings import RouterOptions

from .peers import WAIT, Core, Router
from .servers import KINDS, Folders, Server, running_router, running_server


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    return "asyncio"  # uvicorn's


@pytest.fixture(scope="package", params=KINDS)
async def server(request: pytest.FixtureRequest) -> AsyncGenerator[Server]:
    async with running_server(request.param) as server:
        yield server


@pytest.fixture(scope="package")
async def http(server: Server) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT, trust_env=False) as client:
        yield client


@pytest.fixture
def options() -> RouterOptions:
    """The router's limits and times; a test that needs others parametrizes this."""
    return RouterOptions()


@pytest.fixture
def rules() -> Rules:
    """The rules of the example's house, which lets everybody in unless a test says otherwise."""
    return Rules()


@pytest.fixture
async def router(
    server: Server,
    http: httpx.AsyncClient,
    tmp_path: Path,
    options: RouterOptions,
    rules: Rules,
) -> AsyncGenerator[Router]:
    folders = Folders(tmp_path)
    async with (
        running_router(server, folders, options, rules) as driver,
        AsyncExitStack() as stack,
        anyio.create_task_group() as tasks,
    ):
        yield Router(server.port, folders, http, stack, tasks, driver)
        tasks.cancel_scope.cancel()


@pytest.fixture
async def core(router: Router) -> Core:
    return await router.core()
