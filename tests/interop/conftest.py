"""Fixtures: upstream's programs, a router under test, real cores, raw pages and browser windows."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from chromium import chromium
from playwright.sync_api import Browser

from . import npm_page
from .environment import Environment, prepare
from .npm_page import NpmPage
from .processes import Core, Router, Task, free_port
from .raw_page import RawPage

BundleOf = Callable[[str], Path]
OpenPage = Callable[[str], RawPage]
OpenWindow = Callable[[str], NpmPage]


class StartCore(Protocol):
    """Starts a core for a scenario at the router under test."""

    def __call__(
        self, scenario: str, *options: str | Path, connections: int = 1, port: int | None = None
    ) -> Core: ...


class StartTask(Protocol):
    """Starts a backend of ours for a scenario at the router under test."""

    def __call__(
        self, scenario: str, *, bundle: Path | None = None, connections: int = 1
    ) -> Task: ...


@pytest.fixture(scope="session")
def upstream() -> Environment:
    return prepare()


@pytest.fixture
def start_router(
    request: pytest.FixtureRequest, tmp_path: Path, upstream: Environment
) -> Iterator[Callable[[], Router]]:
    """Starts the router under test; a second start is a restart on the same port and folder."""
    kind, *options = getattr(request, "param", "statecore").split()
    folder = tmp_path / "router"
    port = free_port()
    with ExitStack() as running:

        def start() -> Router:
            if kind == "node":
                router = Router.upstream(folder, port, upstream.node, upstream.node_router)
            else:
                router = Router.statecore(folder, port, *options)
            return running.enter_context(router)

        yield start


@pytest.fixture
def router(start_router: Callable[[], Router]) -> Router:
    return start_router()


@pytest.fixture
def start_core(upstream: Environment, tmp_path: Path, router: Router) -> Iterator[StartCore]:
    """Starts cores, and at the end holds for each what must hold in every scenario.

    It ended cleanly, it never closed its connection for something that the router had let through,
    and it handled every packet that it got.
    """
    cores: list[tuple[Core, int]] = []
    with ExitStack() as running:

        def start(
            scenario: str, *options: str | Path, connections: int = 1, port: int | None = None
        ) -> Core:
            folder = tmp_path / f"core-{len(cores)}"
            core = Core(
                upstream.python,
                scenario,
                folder,
                port or router.port,
                *("--static", router.static, *options),
            )
            cores.append((running.enter_context(core), connections))
            return core

        yield start
        for core, connections in cores:
            core.close()
            assert core.so_far("refused") == []
            assert len(core.so_far("connected")) == connections


@pytest.fixture
def start_task(upstream: Environment, tmp_path: Path, router: Router) -> Iterator[StartTask]:
    """Starts backends of ours, and at the end holds for each what must hold in every scenario.

    It ended cleanly, it connected as often as the scenario says, and it refused nothing; but what a
    router repeats of an agent that has ended meanwhile is refused.
    """
    tasks: list[tuple[Task, int]] = []
    router.static.mkdir(parents=True, exist_ok=True)
    with ExitStack() as running:

        def start(scenario: str, *, bundle: Path | None = None, connections: int = 1) -> Task:
            if bundle is not None:
                npm_page.write_page(bundle, upstream.mephisto, router.static)
            task = Task(scenario, tmp_path / f"task-{len(tasks)}", router.url)
            tasks.append((running.enter_context(task), connections))
            return task

        yield start
        for task, connections in tasks:
            task.close()
            refused = task.so_far("refused")
            late = task.so_far("refused", error_type="illegal-in-state")
            assert refused == (late if router.name == "node" else [])
            assert len(task.so_far("connected")) == connections


@pytest.fixture
def open_page(router: Router) -> Iterator[OpenPage]:
    with ExitStack() as pages:
        yield lambda worker: pages.enter_context(RawPage(router.url, worker))


@pytest.fixture(scope="session")
def bundle_of(upstream: Environment, tmp_path_factory: pytest.TempPathFactory) -> BundleOf:
    target = tmp_path_factory.mktemp("bundles")
    made: dict[str, Path] = {}

    def bundle(page: str) -> Path:
        if page not in made:
            made[page] = npm_page.bundle(page, upstream.modules, target)
        return made[page]

    return bundle


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def open_window(browser: Browser, router: Router) -> Iterator[OpenWindow]:
    """Opens windows of the served page; start the core first: it puts the page there."""
    windows: list[NpmPage] = []

    def open_one(worker: str) -> NpmPage:
        windows.append(NpmPage(browser, router.url, worker))
        return windows[-1]

    yield open_one
    for window in windows:
        window.close()
