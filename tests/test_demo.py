"""The demo as it runs: both tasks, their routers and backends, over real sockets."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from statecore.adapters.client import Worker, open_worker
from statecore.adapters.demo.app import Demo
from statecore.adapters.demo.chat import LONGEST
from statecore.adapters.demo.label import KEY, LABELS, units
from statecore.adapters.serve import ServerOptions
from statecore.settings import ClientOptions, RouterOptions

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvicorn's only one


@asynccontextmanager
async def running(folder: Path) -> AsyncGenerator[str]:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            demo = Demo(folder, RouterOptions(grace=0.1))
            server = ServerOptions(port=0, shutdown_wait=0.0)
            yield await group.start(demo.run, server)
            group.cancel_scope.cancel()


def chatter(url: str, name: str) -> Any:
    return open_worker(f"{url}/chat", worker_name=name, assignment_id="a")


def labeller(url: str, name: str, assignment: str = "a") -> Any:
    options = ClientOptions(live=False)
    return open_worker(f"{url}/label", worker_name=name, assignment_id=assignment, options=options)


async def next_update(worker: Worker, kind: str) -> dict[str, Any]:
    """The next update of this kind; none of another kind may come before it."""
    update = await worker.receive_update()
    assert update["type"] == kind
    return update


async def test_two_people_chat(tmp_path: Path) -> None:
    async with running(tmp_path) as url, chatter(url, "ann") as ann:
        assert ann.state in ("connecting", "waiting")
        async with chatter(url, "bob") as bob:
            assert ann.init_data["topic"] == bob.init_data["topic"]
            for someone in (ann, bob):
                assert (await next_update(someone, "joined"))["names"] == ["ann", "bob"]
            update_id = await ann.send({"type": "message", "text": "hello"})
            for someone in (ann, bob):
                message = await next_update(someone, "message")
                assert message == {
                    "type": "message",
                    "from": "ann",
                    "text": "hello",
                    "update_id": update_id,
                }
            # What is no message is not passed on, and a long one is cut.
            for nonsense in ({"type": "message", "text": 5}, {"type": "x"}, {"text": " "}):
                await bob.send(nonsense)
            await bob.send({"type": "message", "text": "x" * (LONGEST + 1)})
            assert (await next_update(ann, "message"))["text"] == "x" * LONGEST
            await ann.submit({"done": True})
            await next_update(bob, "message")
            assert (await next_update(bob, "finished"))["from"] == "ann"
            await bob.submit({"done": True})
            assert (ann.state, bob.state) == ("completed", "completed")


async def test_a_partner_leaves_the_chat(tmp_path: Path) -> None:
    async with running(tmp_path) as url, chatter(url, "ann") as ann:
        async with chatter(url, "bob") as bob:
            await bob.wait_for("in_task")
        await ann.wait_for("completed")
        assert ann.outcome == "partner disconnect"
        past: list[dict[str, Any]] = []
        while "ended" not in [update["type"] for update in past]:
            await ann.register()  # as a reload
            past = ann.init_data["past_live_updates"]
        assert past[-1]["reason"] == "bob has left"
        await ann.submit({"done": True})


async def test_the_quiz_lets_in_and_keeps_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "statecore.adapters.demo")
    async with running(tmp_path) as url:
        async with labeller(url, "ann") as ann:
            assert ann.is_onboarding
            assert "Question" in ann.init_data["guideline"]
            await ann.submit_onboarding({"answers": KEY})
            task = ann.init_data
            assert len(task["texts"]) == 3
            assert task["labels"] == list(LABELS)
            await ann.submit({"labels": {text["id"]: "praise" for text in task["texts"]}})
            assert ann.state == "completed"
        async with labeller(url, "ann") as again:  # a reload, without a socket to hear it on
            assert (again.state, again.outcome) == ("completed", "completed")
        for answers in ({"answers": {**KEY, "unsure": "skip"}}, {}, None, "x"):
            async with labeller(url, f"bob {answers}") as bob:
                await bob.submit_onboarding(answers)
                assert bob.state == "failed"
                assert "did not pass" in bob.outcome


def test_there_is_always_more_to_label() -> None:
    more = units()
    seen = [tuple(text["id"] for text in next(more)["texts"]) for _ in range(100)]
    assert all(len(set(ids)) == 3 for ids in seen)


async def test_the_pages_are_served(tmp_path: Path) -> None:
    async with running(tmp_path) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        for path, words in (
            ("/", "statecore demo"),
            ("/chat/", "Chat"),
            ("/label/", "Label"),
            ("/assets/client.js", "export"),
            ("/chat/task_config.json", '"task_title"'),
            ("/label/is_alive", "status"),
        ):
            answer = await http.get(path)
            assert answer.status_code == 200, path
            assert words in answer.text
        answer = await http.get("/chat")
        assert (answer.status_code, httpx.URL(answer.headers["location"]).path) == (307, "/chat/")
        assert (await http.get("/nothing")).status_code == 404


async def test_the_command_prints_links_and_stops_cleanly() -> None:
    with anyio.fail_after(30):
        process = await anyio.open_process(
            [sys.executable, "-m", "statecore", "demo", "--port", "0"], stderr=subprocess.STDOUT
        )
        async with process:
            assert process.stdout is not None
            output = b""
            while b"Ctrl-C" not in output:
                output += await process.stdout.receive()
            url = output.decode().split()[2]
            async with chatter(url, "ann") as ann:
                await ann.wait_for("waiting")
                process.send_signal(signal.SIGINT)
                output += b"".join([part async for part in process.stdout])
                assert await process.wait() == 0
    text = output.decode()
    for path in ("/chat/", "/label/"):
        assert url + path in text
    assert "Traceback" not in text
    assert "WARNING" not in text


async def test_the_command_prints_each_submission_in_one_short_line() -> None:
    with anyio.fail_after(30):
        process = await anyio.open_process(
            [sys.executable, "-m", "statecore", "demo", "--port", "0"], stderr=subprocess.STDOUT
        )
        async with process:
            assert process.stdout is not None
            output = b""
            while b"Ctrl-C" not in output:
                output += await process.stdout.receive()
            url = output.decode().split()[2]
            for name, work in (("ann", {"labels": {"t1": "praise"}}), ("b\nob\x1b", "\x1b" * 300)):
                async with labeller(url, name) as someone:
                    await someone.submit_onboarding({"answers": KEY})
                    await someone.submit(work)
            while b"b\\nob" not in output:
                output += await process.stdout.receive()
            process.send_signal(signal.SIGINT)
            output += b"".join([part async for part in process.stdout])
            assert await process.wait() == 0
    _, ann, bob = output.decode().partition("Ctrl-C stops it.")[2].splitlines()
    assert ann == """label: from 'ann': {"labels": {"t1": "praise"}}"""
    start = r"label: from 'b\nob\x1b': "
    assert bob.startswith(start + r'"\u001b\u001b')
    assert len(bob) == len(start) + 200
    assert bob.endswith("...")


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "statecore", "demo", "--port", port],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"statecore: cannot listen on 127.0.0.1:{port}: the port is in use; expected: a free port"
    ]
