"""Fixtures: upstream's programs, a router under test, real cores, raw pages and browser windows."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from playwright.sync_api import Browser

from . import npm_page
from .environment import Environment, prepare
from .npm_page import NpmPage
from .processes import Core, Router, free_port
from .raw_page import RawPage

BundleOf = Callable[[str], Path]
OpenPage = Callable[[str], RawPage]
OpenWindow = Callable[[str], NpmPage]


class StartCore(Protocol):
    """Starts a core for a scenario at the router under test."""

    def __call__(self, scenario: str, *options: str | Path, connections: int = 1) -> Core: ...


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

        def start(scenario: str, *options: str | Path, connections: int = 1) -> Core:
            folder = tmp_path / f"core-{len(cores)}"
            core = Core(
                upstream.python,
                scenario,
                folder,
                router.port,
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
    with npm_page.chromium() as running:
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
