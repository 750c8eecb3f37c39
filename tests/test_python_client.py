from __future__ import annotations

import socket as sockets
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import ByteStream, SocketAttribute
from wire_core import WireCore, connect_core, running_router

from statecore.adapters.backoff import Backoff
from statecore.adapters.client import PostFailedError, Worker, WorkerEndedError, open_worker
from statecore.client_events import Attachment, Complained, Ending, LinkChanged, UpdateSettled
from statecore.errors import LocalProtocolError
from statecore.settings import ClientOptions, RouterOptions

pytestmark = pytest.mark.anyio

AT_ONCE = Backoff(random=lambda: 0.0)


@pytest.fixture
def router() -> Generator[str]:
    with running_router() as url:
        yield url


@asynccontextmanager
async def in_task(
    url: str, core: WireCore, name: str = "ann", agent_id: str = "1", **options: Any
) -> AsyncGenerator[Worker]:
    """A worker who was given a seat and works."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(core.seat, agent_id)
        async with open_worker(
            url, worker_name=name, assignment_id="a", backoff=AT_ONCE, **options
        ) as worker:
            await worker.wait_for("in_task")
            yield worker


async def test_a_worker_talks_and_hands_in(router: str) -> None:
    with anyio.fail_after(20):
        async with connect_core(router) as core, in_task(router, core) as worker:
            assert (worker.agent_id, worker.outcome) == ("1", "in task")
            update_id = await worker.send({"text": "hello"})
            said = await core.receive("mephisto_bound_live_update")
            assert said["data"] == {"text": "hello", "update_id": update_id}
            assert isinstance(said["client_timestamp"], float)
            for n in range(3):
                await core.send("client_bound_live_update", "1", {"n": n, "update_id": f"u{n}"})
            assert [(await worker.receive_update())["n"] for _ in range(3)] == [0, 1, 2]
            await worker.submit({"text": "done"})
            assert worker.state == "completed"
            assert (await core.receive("submit_unit"))["data"] == {"text": "done"}
            await core.status("1", "approved")
            await worker.wait_until(lambda it: it.outcome == "approved")
            await worker.submit_metadata({"tips": {"header": "h", "text": "t"}})
            assert (await core.receive("submit_metadata"))["data"] == {
                "tips": {"header": "h", "text": "t"}
            }
            await worker.report_error({"text": "odd"})
            assert (await core.receive("log_error"))["subject_id"] == "1"


async def test_the_onboarding_names_another_agent(router: str) -> None:
    with anyio.fail_after(20):
        async with connect_core(router) as core, anyio.create_task_group() as tasks:
            tasks.start_soon(core.seat, "onboarding_1", "onboarding")
            async with open_worker(router, worker_name="ann", assignment_id="a") as worker:
                assert (worker.state, worker.is_onboarding) == ("onboarding", True)

                async def pass_them() -> None:
                    request = await core.receive("submit_onboarding")
                    assert request["data"]["onboarding_data"] == {"score": 1}
                    await core.answer(request, "5", init_task_data={"text": "the task"})
                    await core.status("5", "in task")

                tasks.start_soon(pass_them)
                await worker.submit_onboarding({"score": 1})
                assert (worker.agent_id, worker.init_data) == ("5", {"text": "the task"})
                assert not worker.is_onboarding
                await worker.wait_for("in_task")


async def test_a_refused_worker_is_failed_and_knows_why(router: str) -> None:
    with anyio.fail_after(20):
        async with connect_core(router) as core, anyio.create_task_group() as tasks:

            async def refuse() -> None:
                request = await core.receive("register_agent")
                await core.answer(request, None, failure_reason="maximum reached")

            tasks.start_soon(refuse)
            async with open_worker(router, worker_name="ann", assignment_id="a") as worker:
                assert (worker.state, worker.outcome) == ("failed", "maximum reached")
                with pytest.raises(WorkerEndedError, match=r"waiting or in_task.*maximum reached"):
                    await worker.wait_for("waiting", "in_task")
                with pytest.raises(WorkerEndedError, match="a live update"):
                    await worker.receive_update()


async def test_a_static_worker_needs_no_socket(router: str) -> None:
    with anyio.fail_after(20):
        async with connect_core(router) as core, anyio.create_task_group() as tasks:
            tasks.start_soon(core.seat, "1")
            async with open_worker(
                router, worker_name="ann", assignment_id="a", options=ClientOptions(live=False)
            ) as worker:
                assert (worker.state, worker.core.link) == ("waiting", "absent")
                file = Attachment("photo", "me.txt", b"\x00\xff", "image/png")
                await worker.submit({"text": "done"}, (file,))
                data = (await core.receive("submit_unit"))["data"]
                assert data["text"] == "done"
                [entry] = data["files"]
                assert (entry["originalname"], entry["size"]) == ("me.txt", 2)
                await anyio.Path(entry["path"]).unlink()


async def test_updates_end_with_the_agent_after_all_were_read(router: str) -> None:
    with anyio.fail_after(20):
        async with connect_core(router) as core, in_task(router, core) as worker:
            for n in range(3):
                await core.send("client_bound_live_update", "1", {"n": n, "update_id": f"u{n}"})
            await core.status("1", "completed")
            assert [update["n"] async for update in worker] == [0, 1, 2]
            with pytest.raises(LocalProtocolError):
                await worker.send({})


async def test_a_newer_tab_takes_over(router: str) -> None:
    with anyio.fail_after(20):
        async with (
            connect_core(router) as core,
            in_task(router, core) as first,
            in_task(router, core) as second,
        ):
            await first.wait_until(lambda it: it.core.ended is not None)
            assert first.core.ended is Ending.REPLACED
            with pytest.raises(WorkerEndedError, match="replaced by a newer tab"):
                await first.receive_update()
            assert second.core.link == "up"


async def test_a_reload_replays_what_was_said_once(router: str) -> None:
    with anyio.fail_after(20):
        async with connect_core(router) as core, in_task(router, core) as worker:
            await core.send("client_bound_live_update", "1", {"n": 0, "update_id": "u0"})
            assert (await worker.receive_update())["n"] == 0
            past = [{"n": 0, "update_id": "u0"}, {"n": 1, "update_id": "u1"}]
            async with anyio.create_task_group() as tasks:
                data = {"past_live_updates": past}
                tasks.start_soon(partial(core.seat, "1", init_task_data=data))
                await worker.register()
            assert (await worker.receive_update())["n"] == 1


async def test_a_worker_comes_back_after_the_router_restarted() -> None:
    links: list[str] = []

    def note(effect: object) -> None:
        if isinstance(effect, LinkChanged):
            links.append(effect.link)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            first = running_router()
            url = first.__enter__()
            stop = partial(anyio.to_thread.run_sync, first.__exit__, None, None, None)
            async with connect_core(url) as core:
                tasks.start_soon(core.seat, "1")
                worker_block = open_worker(
                    url,
                    worker_name="ann",
                    assignment_id="a",
                    backoff=Backoff(first=0.01, limit=0.05),
                    on_effect=note,
                )
                async with worker_block as worker:
                    await worker.wait_for("in_task")
                    await stop()
                    await worker.wait_until(lambda it: it.core.link == "lost")
                    await worker.send({"n": 1}, update_id="u1")
                    port = int(url.rpartition(":")[2])
                    with running_router(port=port):
                        await worker.wait_until(lambda it: it.core.link == "up")
                        async with connect_core(url) as again:
                            # The new router knows nobody: it asks, and the core says.
                            await again.send("request_statuses", "mephisto", {})
                            reported = await again.receive("return_statuses")
                            assert reported["data"] == {"1": "none"}
                            await again.status("1", "in task")
                            said = await again.receive("mephisto_bound_live_update")
                            assert said["data"]["update_id"] == "u1"
                        tasks.cancel_scope.cancel()
    assert links[:3] == ["up", "lost", "up"]


async def test_a_program_that_does_not_read_its_updates_leaves_them_in_the_socket(
    router: str,
) -> None:
    with anyio.fail_after(20):
        async with (
            connect_core(router) as core,
            in_task(router, core, updates_waiting=2) as worker,
        ):
            for n in range(20):
                await core.send("client_bound_live_update", "1", {"n": n, "update_id": f"u{n}"})
            await core.status("1", "completed")
            await anyio.wait_all_tasks_blocked()
            got: list[int] = []
            while len(got) < 20:
                assert len(worker._updates) <= 2
                got.append((await worker.receive_update())["n"])
            assert got == list(range(20))
            await worker.wait_for("completed")


async def test_the_sender_waits_while_too_much_is_not_delivered(router: str) -> None:
    settled = []
    options = ClientOptions(updates_kept=2, first_heartbeat=0.01, heartbeat_every=0.01)

    def note(effect: object) -> None:
        if isinstance(effect, UpdateSettled):
            settled.append(effect.update_id)

    with anyio.fail_after(20):
        async with (
            connect_core(router) as core,
            in_task(router, core, options=options, on_effect=note) as worker,
        ):
            for n in range(10):
                await worker.send({"n": n}, update_id=f"u{n}")
            assert len(settled) >= 8
            for n in range(10):
                assert (await core.receive("mephisto_bound_live_update"))["data"]["n"] == n


async def test_a_router_that_refuses_a_packet_is_heard() -> None:
    heard: list[object] = []
    with anyio.fail_after(20), running_router(RouterOptions(core_limit=1_000)) as url:
        async with (
            connect_core(url) as core,
            in_task(url, core, on_effect=heard.append) as worker,
        ):
            await worker.send({"text": "x" * 2_000})
            await worker.wait_until(lambda _: any(isinstance(e, Complained) for e in heard))
            with pytest.raises(PostFailedError) as caught:
                await worker.submit({"text": "x" * 2_000})
            assert caught.value.status_code == 413
            assert worker.state == "in_task"


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["ftp://here", "here", "http://", "http://a b:x/", ""])
async def test_an_address_that_is_none_is_refused_with_what_would_be_right(address: str) -> None:
    with pytest.raises(LocalProtocolError, match="expected: http://HOST:PORT"):
        async with open_worker(address, worker_name="ann", assignment_id="a"):
            raise AssertionError("it opened")


async def test_nobody_there_is_tried_again_and_then_said() -> None:
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        attempts: list[int] = []

        def wait(attempt: int) -> float:
            attempts.append(attempt)
            return 0.0

        with anyio.fail_after(20), pytest.raises(PostFailedError, match="/request_agent") as caught:
            async with open_worker(
                url,
                worker_name="ann",
                assignment_id="a",
                backoff=wait,
                options=ClientOptions(post_tries=3),
            ):
                raise AssertionError("it opened")
    assert caught.value.status_code is None
    assert attempts == [0, 1, 2]


async def test_a_server_that_hangs_up_may_have_read_the_registration() -> None:
    asked = 0

    async def hang_up(stream: ByteStream) -> None:
        nonlocal asked
        async with stream:
            await stream.receive()
            asked += 1

    with anyio.fail_after(20):
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, hang_up)
            url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
            with pytest.raises(PostFailedError, match="/request_agent"):
                async with open_worker(url, worker_name="ann", assignment_id="a"):
                    raise AssertionError("it opened")
            tasks.cancel_scope.cancel()
    assert asked == 1  # asked twice, it could be given two units


async def test_what_the_program_raises_comes_out_as_it_is(router: str) -> None:
    with anyio.fail_after(20):
        async with connect_core(router) as core, anyio.create_task_group() as tasks:
            tasks.start_soon(core.seat, "1")
            with pytest.raises(KeyError, match="mine"):
                async with open_worker(router, worker_name="ann", assignment_id="a"):
                    raise KeyError("mine")


async def test_many_workers_can_share_one_http_client(router: str) -> None:
    with anyio.fail_after(20):
        async with (
            httpx.AsyncClient() as http,
            connect_core(router) as core,
            in_task(router, core, "ann", "1", http=http) as ann,
            in_task(router + "/", core, "bob", "2", http=http) as bob,
        ):
            assert (ann.agent_id, bob.agent_id) == ("1", "2")
            assert not http.is_closed


def test_backoff_grows_to_its_limit_and_the_first_attempt_is_at_once() -> None:
    longest = Backoff(first=0.25, limit=5.0, random=lambda: 1.0)
    assert [longest(n) for n in (0, 1, 2, 3, 6, 10_000)] == [0.0, 0.25, 0.5, 1.0, 5.0, 5.0]
    assert {Backoff(random=lambda: 0.5)(n) for n in (5,)} == {2.0}
