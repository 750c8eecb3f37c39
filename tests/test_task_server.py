"""Author's functions behind a real router on loopback, with Python workers as their pages."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from wire_core import running_router

from statecore.adapters.agents import (
    INBOX,
    Agent,
    AgentDone,
    AgentLeft,
    Assignment,
    Group,
    PartnerLeft,
    TaskError,
    Unit,
)
from statecore.adapters.channel import Channel, ChannelError
from statecore.adapters.client import Worker, open_worker
from statecore.adapters.task import LiveTask, StaticTask, Submission, Task
from statecore.adapters.task_server import TaskServer, run_task
from statecore.settings import ClientOptions, RouterOptions

pytestmark = pytest.mark.anyio

STATIC = ClientOptions(live=False)
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def router() -> Generator[str]:
    with running_router(RouterOptions(grace=0.1)) as url:
        yield url


@asynccontextmanager
async def serving(task: StaticTask | LiveTask, *routers: str) -> AsyncGenerator[TaskServer]:
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            server = TaskServer(task, routers)
            await tasks.start(server.run)
            yield server
            tasks.cancel_scope.cancel()


def worker(url: str, name: str, assignment: str = "a", *, live: bool = True) -> Any:
    options = None if live else STATIC
    return open_worker(url, worker_name=name, assignment_id=assignment, options=options)


@asynccontextmanager
async def pair(url: str) -> AsyncGenerator[tuple[Worker, Worker]]:
    async with AsyncExitStack() as stack:
        ann = await stack.enter_async_context(worker(url, "ann"))
        bob = await stack.enter_async_context(worker(url, "bob"))
        yield ann, bob


class Collected:
    """What the author's callbacks were given, and a way to wait for it."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._changed = anyio.Event()

    def __call__(self, *args: Any) -> None:
        self.items.append(args if len(args) > 1 else args[0])
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def count(self, number: int) -> list[Any]:
        while len(self.items) < number:
            await self._changed.wait()
        return self.items


# Static tasks --------------------------------------------------------------------------------


async def test_a_unit_is_run_and_its_submission_arrives(router: str) -> None:
    done = Collected()
    handed_in = Collected()

    async def run(unit: Unit) -> None:
        done((unit.unit_id, unit.worker, unit.data, await unit.submission()))

    task = StaticTask(
        name="label", units=({"n": n} for n in range(3)), run=run, on_submission=handed_in
    )
    async with serving(task, router), worker(router, "ann", live=False) as ann:
        assert ann.init_data == {"n": 0}
        # Half an emoji: browsers can send it.
        body = b'{"USED_AGENT_ID":"1","final_data":{"label":"\\ud83d"}}'
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{router}/submit_task", content=body, headers=JSON)
        assert answer.status_code == 200
        assert await done.count(1) == [("1.0", "ann", {"n": 0}, {"label": "\ud83d"})]
        assert await handed_in.count(1) == [
            Submission("1.0", "1", "ann", {"label": "\ud83d"}, "completed")
        ]


async def test_a_task_without_a_function_just_collects(router: str) -> None:
    handed_in = Collected()
    told = Collected()
    task = StaticTask(name="t", units=[1], copies=2, on_submission=handed_in, on_metadata=told)
    async with serving(task, router):
        for name in ("ann", "bob"):
            async with worker(router, name, live=False) as someone:
                await someone.submit([name])
                await someone.submit_metadata({"tips": {"header": "h", "text": name}})
        assert [s.data for s in await handed_in.count(2)] == [["ann"], ["bob"]]
        assert await told.count(2) == [
            ("1", {"tips": {"header": "h", "text": "ann"}}),
            ("2", {"tips": {"header": "h", "text": "bob"}}),
        ]
        async with worker(router, "cat", live=False) as cat:
            assert cat.state == "failed"
            assert "no work for you" in cat.outcome


async def test_an_agent_that_leaves_ends_its_function_and_the_unit_goes_on(router: str) -> None:
    left = Collected()
    runs = Collected()

    async def run(unit: Unit) -> None:
        runs(unit.worker)
        try:
            await unit.submission()
        except AgentLeft as error:
            left(error)
            raise

    async with serving(StaticTask(name="t", units=[{}], run=run), router):
        async with worker(router, "ann") as ann:
            await ann.wait_for("in_task")
        (error,) = await left.count(1)
        assert str(error) == "agent 1 (ann) has left: disconnect"
        assert not isinstance(error, PartnerLeft)
        async with worker(router, "bob"):
            assert await runs.count(2) == ["ann", "bob"]


async def test_updates_come_and_go_also_in_a_static_task(router: str) -> None:
    done = Collected()

    async def run(unit: Unit) -> None:
        first = await unit.receive()
        await unit.send({"sum": sum(first["numbers"])}, update_id="answer")
        done([update["text"] async for update in unit.updates()])
        with pytest.raises(AgentDone, match="has handed in"):
            await unit.receive()
        done(unit.agent.has_submitted)

    async with (
        serving(StaticTask(name="t", units=[{}], run=run), router),
        worker(router, "ann") as ann,
    ):
        await ann.send({"numbers": [1, 2, 3]})
        answer = await ann.receive_update()
        assert (answer["sum"], answer["update_id"]) == (6, "answer")
        await ann.send({"text": "one"})
        await ann.send({"text": "two"})
        await ann.submit(None)
        assert await done.count(2) == [["one", "two"], True]


# Onboarding ----------------------------------------------------------------------------------


async def test_the_onboarding_is_judged_by_the_author(
    router: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def judge(answers: Any) -> bool:
        await anyio.lowlevel.checkpoint()
        return bool(answers["score"] > 5)

    task = StaticTask(name="t", units=[1, 2], onboarding=judge, onboarding_data={"min": 5})
    async with serving(task, router):
        async with worker(router, "ann", live=False) as ann:
            assert (ann.state, ann.init_data) == ("onboarding", {"min": 5})
            await ann.submit_onboarding({"score": 9})
            assert (ann.agent_id, ann.init_data) == ("1", 1)
        async with worker(router, "bob", live=False) as bob:
            await bob.submit_onboarding({"score": 1})
            assert bob.state == "failed"
            assert "did not pass" in bob.outcome
        async with worker(router, "cat", live=False) as cat:
            await cat.submit_onboarding({})  # the author's function raises
            assert cat.state == "failed"
            assert "not your fault" in cat.outcome
        assert "onboarding of worker 'cat' (agent onboarding_3)" in caplog.text
        assert "KeyError" in caplog.text
        async with worker(router, "cat", live=False) as cat:
            await cat.submit_onboarding({"score": 6})
            assert cat.agent_id == "2"


def test_a_plain_function_may_judge_too() -> None:
    task = StaticTask(name="t", units=[], onboarding=lambda answers: True)
    assert task.options.needs_onboarding


# Live tasks ----------------------------------------------------------------------------------


async def chat(assignment: Assignment) -> None:
    await assignment.broadcast({"type": "joined", "names": [a.worker for a in assignment.agents]})
    async for agent, update in assignment.updates():
        await assignment.broadcast({"from": agent.worker, "text": update["text"]})


async def test_two_people_talk_and_hand_in(router: str) -> None:
    over = Collected()

    async def run(assignment: Assignment) -> None:
        await chat(assignment)
        over([await agent.submission() for agent in assignment.agents])

    task = LiveTask(name="chat", assignments=[{"topic": "tea"}], run=run)
    async with serving(task, router), pair(router) as (ann, bob):
        await bob.wait_for("in_task")
        for someone in (ann, bob):
            assert (await someone.receive_update())["names"] == ["ann", "bob"]
        await ann.send({"text": "hello"})
        for someone in (ann, bob):
            update = await someone.receive_update()
            assert (update["from"], update["text"]) == ("ann", "hello")
        await ann.submit({"mark": 1})
        assert over.items == []
        await bob.submit({"mark": 2})
        assert await over.count(1) == [[{"mark": 1}, {"mark": 2}]]


async def test_a_reload_finds_what_was_said(router: str) -> None:
    task = LiveTask(name="chat", assignments=[{"topic": "tea"}], run=chat)
    async with serving(task, router), pair(router) as (ann, bob):
        await ann.send({"text": "hello"})
        while (await bob.receive_update()).get("text") != "hello":
            pass
        async with worker(router, "bob") as again:
            assert again.agent_id == bob.agent_id
            assert again.init_data["topic"] == "tea"
            past = again.init_data["past_live_updates"]
            assert [update.get("text") for update in past] == [None, "hello"]


async def test_a_partner_who_leaves_ends_the_function_and_the_other_hands_in(router: str) -> None:
    seen = Collected()
    handed_in = Collected()

    async def run(assignment: Assignment) -> None:
        ann, bob = assignment.agents
        assert (ann.has_ended, ann.status) == (False, None)
        with pytest.raises(PartnerLeft) as left:
            await ann.receive()
        assert left.value.agent is bob
        with pytest.raises(PartnerLeft):
            async for _ in bob.updates():
                pass
        with pytest.raises(AgentLeft):
            await bob.submission()
        await ann.send({"type": "ended"})
        seen((bob.has_left, bob.status, ann.has_left, ann.status))
        seen(await ann.submission())
        raise left.value

    task = LiveTask(name="chat", assignments=[{}], run=run, on_submission=handed_in)
    async with serving(task, router), worker(router, "ann") as ann:
        async with worker(router, "bob") as bob:
            await bob.wait_for("in_task")
        await ann.wait_for("completed")
        assert ann.outcome == "partner disconnect"
        await seen.count(1)
        await ann.register()  # as a reload
        assert ann.init_data["past_live_updates"][0]["type"] == "ended"
        await ann.submit("what I have")
        assert await seen.count(2) == [
            (True, "disconnect", False, "partner disconnect"),
            "what I have",
        ]
        (submission,) = await handed_in.count(1)
        assert (submission.worker, submission.status) == ("ann", "completed")


async def test_work_that_comes_after_the_function_is_not_lost(router: str) -> None:
    handed_in = Collected()

    async def run(assignment: Assignment) -> None:
        return

    task = LiveTask(name="t", assignments=[{}], run=run, on_submission=handed_in)
    async with serving(task, router), pair(router) as (ann, bob):
        await bob.wait_for("in_task")
        await ann.send({"text": "nobody reads this"})
        await ann.submit(1)
        await bob.submit(2)
        assert sorted(s.data for s in await handed_in.count(2)) == [1, 2]


async def test_the_author_may_end_an_agent(router: str) -> None:
    async def run(assignment: Assignment) -> None:
        slow, _ = assignment.agents
        with anyio.move_on_after(0.05):
            await slow.receive()
        slow.end("timeout")

    task = LiveTask(name="t", assignments=[{}], run=run)
    async with serving(task, router), pair(router) as (ann, bob):
        await ann.wait_for("disconnected")
        await bob.wait_for("completed")
        assert (ann.outcome, bob.outcome) == ("timeout", "partner disconnect")


# What authors do wrong -----------------------------------------------------------------------


async def test_a_function_that_raises_ends_its_own_unit_only(
    router: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(unit: Unit) -> None:
        if unit.data["n"] == 0:
            await unit.send({"bad": object()})
        await unit.submission()

    task = StaticTask(name="fragile", units=[{"n": 0}, {"n": 1}], run=run)
    async with serving(task, router):
        async with worker(router, "ann") as ann:
            await ann.wait_for("disconnected")
            assert ann.outcome == "expired"
        for words in ("task fragile", "unit 1.0", "1 (ann)", "not JSON", "Traceback"):
            assert words in caplog.text
        async with worker(router, "bob", live=False) as bob:
            assert bob.init_data == {"n": 1}  # the broken unit is not tried on somebody else
            await bob.submit(None)
            assert bob.state == "completed"


async def test_a_live_function_that_raises_leaves_those_alone_who_are_done(
    router: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(assignment: Assignment) -> None:
        await assignment.agents[0].submission()
        async with anyio.create_task_group():
            raise ZeroDivisionError("the author's mistake")

    task = LiveTask(name="t", assignments=[{}], run=run)
    async with serving(task, router), pair(router) as (ann, bob):
        await bob.wait_for("in_task")
        await ann.submit(1)
        await bob.wait_for("disconnected")
        assert (ann.outcome, bob.outcome) == ("completed", "expired")
        assert "the author's mistake" in caplog.text


async def test_leaving_is_no_failure_also_from_within_a_task_group(
    router: str, caplog: pytest.LogCaptureFixture
) -> None:
    over = Collected()

    async def wait_for(agent: Agent) -> None:
        try:
            await agent.submission()
        finally:
            over(agent.worker)

    async def run(assignment: Assignment) -> None:
        async with anyio.create_task_group() as tasks:
            for agent in assignment.agents:
                tasks.start_soon(wait_for, agent)

    task = LiveTask(name="t", assignments=[{}], run=run)
    async with serving(task, router), worker(router, "ann"):
        async with worker(router, "bob") as bob:
            await bob.wait_for("in_task")
        assert sorted(await over.count(2)) == ["ann", "bob"]
    assert caplog.text == ""


async def test_callbacks_that_raise_are_logged(
    router: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(submission: Submission) -> None:
        raise RuntimeError("no room on the disk")

    finished = Collected()

    async def run(unit: Unit) -> None:
        finished(await unit.submission())

    task = StaticTask(name="t", units=[{}], run=run, on_submission=broken)
    async with serving(task, router), worker(router, "ann", live=False) as ann:
        await ann.submit(1)
        await finished.count(1)
    assert "on_submission failed" in caplog.text
    assert "no room on the disk" in caplog.text


async def test_what_pages_and_routers_report_is_logged(
    router: str, caplog: pytest.LogCaptureFixture
) -> None:
    handed_in = Collected()
    caplog.set_level(logging.INFO, "statecore.adapters.task_server")
    task = StaticTask(name="t", units=[{}], on_submission=handed_in)
    async with serving(task, router) as server:
        async with worker(router, "ann", live=False) as ann:
            await ann.report_error({"text": "the button does nothing"})
            await ann.submit(1)
            await handed_in.count(1)
        server.end("1", "expired", reuse=True)
    for words in ("1 reports", "the button does nothing", "refused from task", "has ended already"):
        assert words in caplog.text


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (StaticTask(name="t", units=[{"x": {1, 2}}]), "number 1 of task 't' is not JSON"),
        (StaticTask(name="t", units=[1, float("nan")]), "number 2 of task 't' is not JSON"),
        (LiveTask(name="t", assignments=["tea"], run=chat), "expected: a dict"),  # type: ignore[list-item]
        (StaticTask(name="t", units=[], onboarding_data=b""), "onboarding_data of task 't'"),
        (
            StaticTask(name="t", units=["x" * 5_000_000]),
            "number 1 of task 't' has 5,000,002 bytes",
        ),
        (
            StaticTask(name="t", units=[], onboarding_data="x" * 5_000_000),
            "task 't': onboarding_data has 5,000,002 bytes",
        ),
    ],
)
async def test_data_that_no_page_can_get_is_refused_at_once(
    task: StaticTask | LiveTask, words: str
) -> None:
    with pytest.raises(TaskError, match=words):
        TaskServer(task, [])


async def test_a_unit_that_is_too_large_later_ends_the_work_and_says_so(
    router: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = StaticTask(name="t", units=[1, "x" * 5_000_000, 3], ahead=1)
    async with serving(task, router), worker(router, "ann", live=False) as ann:
        assert ann.init_data == 1
    assert "no more work is offered" in caplog.text
    assert "number 2 of task 't' has 5,000,002 bytes" in caplog.text


async def test_a_message_that_no_router_takes_is_an_error_of_its_author(router: str) -> None:
    said = Collected()

    async def run(unit: Unit) -> None:
        try:
            await unit.send({"text": "x" * 5_000_000})
        except TaskError as error:
            said(str(error))
        await unit.send({"text": "short"})

    async with (
        serving(StaticTask(name="t", units=[{}], run=run), router),
        worker(router, "ann") as ann,
    ):
        assert (await ann.receive_update())["text"] == "short"
    (text,) = said.items
    assert "the update for agent 1 is too large: 5,0" in text
    assert "expected: at most 4,128,768 bytes" in text


async def test_data_that_breaks_later_offers_no_more_work(
    router: str, caplog: pytest.LogCaptureFixture
) -> None:
    def units() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the file ends here")

    task = StaticTask(name="t", units=units(), ahead=1)
    async with serving(task, router):
        for name, agent_id in (("ann", "1"), ("bob", "2"), ("cat", None)):
            async with worker(router, name, live=False) as someone:
                assert someone.agent_id == agent_id
    assert "no more work is offered" in caplog.text
    assert "the file ends here" in caplog.text


async def test_updates_that_nobody_reads_are_bounded() -> None:
    server = TaskServer(StaticTask(name="t", units=[]), [])
    group = Group(is_live=False)
    agent = Agent(group, server, agent_id="1", unit_id="1.0", worker="ann", data=None)
    group.agents.append(agent)
    assert all(agent.take_update({"n": n}) for n in range(INBOX))
    assert not agent.take_update({"n": INBOX})
    assert [(await agent.receive())["n"] for _ in range(INBOX)] == list(range(INBOX))
    assert repr(agent) == "Agent('1', worker='ann')"


async def test_a_sender_waits_until_the_router_has_read(router: str) -> None:
    sent = Collected()

    async def run(unit: Unit) -> None:
        for number in range(4):
            await unit.send({"text": "x" * 3_000_000})
            sent(number)

    async with serving(StaticTask(name="t", units=[{}], run=run), router) as server:
        async with worker(router, "ann"):
            await sent.count(4)
        assert not server.driver.counters["refused", "outbox-full"]


# Routers -------------------------------------------------------------------------------------


async def test_one_task_behind_two_routers(router: str) -> None:
    task = LiveTask(name="chat", assignments=[{}], run=chat)
    with running_router() as other:
        async with (
            serving(task, router, other),
            worker(router, "ann") as ann,
            worker(other, "bob") as bob,
        ):
            await ann.send({"text": "hello over there"})
            while (await bob.receive_update()).get("text") != "hello over there":
                pass


async def test_a_wrong_token_is_said_at_once() -> None:
    with running_router(RouterOptions(system_token="right")) as url, anyio.fail_after(20):
        server = TaskServer(StaticTask(name="t", units=[]), [url], token="wrong")
        with pytest.raises(ChannelError, match="system token"):
            await server.run()


def test_a_program_can_catch_that_its_router_refuses_it() -> None:
    with (
        running_router(RouterOptions(system_token="right")) as url,
        pytest.raises(ChannelError, match="system token") as raised,
    ):
        run_task(StaticTask(name="t", units=[]), url, token="wrong")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


async def test_a_refusal_does_not_hide_another_failure() -> None:
    class Broken(Channel):
        async def run(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(super().run)
                try:
                    await anyio.sleep_forever()
                finally:
                    raise ZeroDivisionError("a mistake")

    with running_router(RouterOptions(system_token="right")) as url, anyio.fail_after(20):
        task = StaticTask(name="t", units=[])
        server = TaskServer(task, [url], token="wrong", make_channel=Broken)
        with pytest.raises(ExceptionGroup) as raised:
            await server.run()
    assert raised.group_contains(ChannelError)
    assert raised.group_contains(ZeroDivisionError)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:3000", "", "ftp://127.0.0.1/", "ws://", "ws://h:port/", "http://[::1"]
)
def test_an_address_where_no_router_can_be_is_refused_at_once(address: str) -> None:
    with pytest.raises(TaskError) as raised:
        run_task(StaticTask(name="t", units=[]), "ws://127.0.0.1:3000/", address)
    assert f"task 't': router {address!r}: " in str(raised.value)
    assert "expected: ws://HOST:PORT/" in str(raised.value)


def test_a_task_without_a_router_is_refused_at_once() -> None:
    with pytest.raises(TaskError, match="'t' has no router; expected: ws://HOST:PORT/"):
        run_task(StaticTask(name="t", units=[]))


PROGRAM = """
import sys
from statecore.adapters.task import StaticTask
from statecore.adapters.task_server import run_task

def handed_in(submission):
    print(submission.worker, submission.data, flush=True)

print("ready", flush=True)
run_task(StaticTask(name="t", units=[{"n": 1}], on_submission=handed_in), *sys.argv[1:])
print("over", flush=True)
"""


async def test_an_authors_program_runs_until_it_is_stopped(router: str, tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(PROGRAM)
    with anyio.fail_after(20):
        process = await anyio.open_process(
            [sys.executable, str(tmp_path / "task.py"), router], stderr=subprocess.STDOUT
        )
        async with process:
            assert process.stdout is not None
            async with worker(router, "ann", live=False) as ann:
                await ann.submit({"x": 1})
            output = b""
            while b"ann {" not in output:
                output += await process.stdout.receive()
            process.send_signal(signal.SIGINT)
            async for part in process.stdout:
                output += part
            assert await process.wait() == 0
    lines = output.decode().splitlines()
    address = router.replace("http://", "ws://")
    for said in (
        f"connected to {address}",
        "task t: submission 1, of agent 1",
        "ann {'x': 1}",
    ):
        assert lines.count(said) == 1, lines
    assert (lines[0], lines[-1]) == ("ready", "over")


async def test_a_program_with_logging_of_its_own_is_left_alone(router: str, tmp_path: Path) -> None:
    own = "import logging\nlogging.basicConfig(level=logging.WARNING)\n"
    (tmp_path / "task.py").write_text(own + PROGRAM)
    with anyio.fail_after(20):
        process = await anyio.open_process(
            [sys.executable, str(tmp_path / "task.py"), router], stderr=subprocess.STDOUT
        )
        async with process:
            assert process.stdout is not None
            async with worker(router, "ann", live=False) as ann:
                await ann.submit({"x": 1})
            output = b""
            while b"ann {" not in output:
                output += await process.stdout.receive()
            process.send_signal(signal.SIGINT)
            async for part in process.stdout:
                output += part
            assert await process.wait() == 0
    assert output.decode().splitlines() == ["ready", "ann {'x': 1}", "over"]


def test_what_a_task_is_is_said_by_its_kind() -> None:
    task = Task(name="t")
    for name in ("is_live", "work", "seats_each"):
        with pytest.raises(NotImplementedError):
            getattr(task, name)
    assert json.loads(StaticTask(name="t", units=[]).options.onboarding_data) == {}
