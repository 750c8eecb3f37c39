"""What falls away in the middle: our router, and the core's connection to it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import BundleOf, OpenPage, OpenWindow, StartCore, StartTask
from .link import Link
from .processes import PATIENCE, Router, Told

pytestmark = pytest.mark.interop

REQUEST_WAIT = 2


@pytest.mark.browser
@pytest.mark.parametrize("backend", ["core", "task"])
def test_npm_pages_come_back_to_a_restarted_router_and_talk_on(
    backend: str,
    start_router: Callable[[], Router],
    router: Router,
    start_core: StartCore,
    start_task: StartTask,
    bundle_of: BundleOf,
    open_window: OpenWindow,
) -> None:
    program: Told
    if backend == "core":
        program = start_core("live", "--poll", "0.5", "--bundle", bundle_of("live"), connections=2)
    else:
        program = start_task("live", bundle=bundle_of("live"), connections=2)
    first, second = open_window("ada"), open_window("bob")
    for window in (first, second):
        window.wait_for("connection", "connected")
        window.wait_for("status", "in task")
    if first.fact("agent-id") == "2":  # the first seat speaks first
        first, second = second, first
    first.send("say", "hello")
    second.wait_for("messages", ["hello"])

    assert router.terminate() == 0
    for window in (first, second):
        window.wait_for("connection", "disconnected")
    start_router()
    program.wait_for_count("connected", 2)
    for window in (first, second):
        window.wait_for("connection", "connected")
    # The new router holds what a page says until the backend's next status for its agent.
    second.send("say", "hello again")
    first.wait_for("messages", ["hello", "hello again"])
    first.send("say", "still the same agent?")
    second.wait_for("messages", ["hello", "hello again", "still the same agent?"])

    for window, agent_id in ((first, "1"), (second, "2")):
        assert window.fact("agent-id") == agent_id
        assert window.fact("status") == "in task"
    # No page asked to be let in again: the router learned of both from the packets on their way.
    assert len(program.so_far("received", packet_type="register_agent")) == 2


@pytest.mark.parametrize(
    "start_router", [f"statecore --request-wait {REQUEST_WAIT}"], indirect=True
)
@pytest.mark.parametrize("lost", ["register_agent", "agent_details"])
def test_a_registration_whose_core_drops_stays_open_and_is_never_sent_twice(
    lost: str, router: Router, start_core: StartCore, open_page: OpenPage
) -> None:
    asked = 0 if lost == "register_agent" else 1
    page = open_page("ada")
    with Link(router.port) as link, ThreadPoolExecutor(1) as posts:
        core = start_core("static", "--poll", "0.5", port=link.port, connections=2)
        core.wait_for("received", packet_type="return_statuses")

        link.lose(to="core" if lost == "register_agent" else "router")
        began = time.monotonic()
        answer = posts.submit(page.request_agent)
        if lost == "register_agent":
            link.wait_until_lost(b'"register_agent"')
        else:
            core.wait_for("sent", packet_type="agent_details")
        link.cut()
        core.wait_for_count("connected", 2)
        details = answer.result(PATIENCE)

        # It waited to its limit, although the core was back long before.
        assert time.monotonic() - began >= REQUEST_WAIT
        assert details["agent_id"] is None
        assert details["failure_reason"]
        assert len(core.so_far("received", packet_type="register_agent")) == asked

        # The worker loads the page again, which asks anew; one unit was taken in all.
        assert page.request_agent()["agent_id"] == "1"
        assert len(core.so_far("received", packet_type="register_agent")) == asked + 1
        page.submit_task({"label": "cat"})
        completed = core.wait_for("unit_completed", agent="1")
        assert completed["data"]["outputs"] == {"label": "cat"}
        core.close()
