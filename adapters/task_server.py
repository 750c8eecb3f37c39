"""Runs a task: its author's functions on one side, its backend core on the other.

The core decides who works on what; here its effects become calls of the author's functions, each in
a task of its own, and what those do becomes events. A function that raises ends its own unit or
assignment, with all that there is to know in the log, and nothing else.
"""

from __future__ import annotations

import inspect
import itertools
import json
import logging
import signal
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from statecore.adapters.agents import (
    Agent,
    AgentDone,
    AgentLeft,
    Assignment,
    Group,
    TaskError,
    Unit,
    encode,
)
from statecore.adapters.channel import Channel, ChannelError
from statecore.adapters.driver import Driver
from statecore.adapters.task import LiveTask, StaticTask, Submission
from statecore.backend import BackendCore
from statecore.backend_events import (
    AddAssignment,
    AgentEnded,
    EndAgent,
    ErrorLogged,
    JudgeOnboarding,
    MetadataArrived,
    OnboardingSubmitted,
    Refused,
    Seated,
    SendUpdate,
    StartAssignment,
    StartUnit,
    Submitted,
    UpdateArrived,
    WorkerRefused,
)
from statecore.backend_moves import init_data_limit
from statecore.envelope import is_object
from statecore.errors import LocalProtocolError
from statecore.status import Status

__all__ = ["TaskServer", "run_task"]

logger = logging.getLogger(__name__)


class TaskServer:
    """Runs one task behind one or more routers.

    Args:
        task: what is run.
        routers: their addresses.
        token: their system token.
        new_id: makes ids for live updates; they must never repeat.
        make_channel: makes the way to one router; a test gives its own.

    Raises:
        TaskError: the task's data is wrong, or an address.
    """

    def __init__(
        self,
        task: StaticTask | LiveTask,
        routers: Sequence[str],
        *,
        token: str | None = None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        make_channel: Callable[..., Channel] = Channel,
    ) -> None:
        self.task = task
        try:
            self.core = BackendCore(task.options)
        except LocalProtocolError as error:
            raise TaskError(f"task {task.name!r}: {error}") from None
        self._submissions = 0
        self._refusal: str | None = None
        self.driver = Driver(self.core, on_effect=self._perform, stamp="server_timestamp")
        try:
            channels = [make_channel(self.driver, url, token=token) for url in routers]
        except LocalProtocolError as error:
            raise TaskError(f"task {task.name!r}: router {error}") from None
        self._channels = {channel.name: channel for channel in channels}
        self._new_id = new_id
        self._agents: dict[str, Agent] = {}
        self._tasks: TaskGroup | None = None
        self._work: Iterator[tuple[int, Any]] = enumerate(task.work, 1)
        self._draw(task.ahead)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; reports ``started`` when every router is connected.

        Raises:
            ChannelError: a router has refused this program for good.
        """
        with _without_groups():
            async with anyio.create_task_group() as self._tasks:
                await self._tasks.start(self.driver.run)
                async with anyio.create_task_group() as connecting:
                    for channel in self._channels.values():
                        connecting.start_soon(self._tasks.start, channel.run)
                logger.debug("task %s: connected to %s", self.task.name, ", ".join(self._channels))
                task_status.started()

    # What the author's functions do (task.Post) ------------------------------------------------

    async def send(self, agent_id: str, data: msgspec.Raw, update_id: str | None) -> str:
        """Send a live update, when there is room for it.

        Raises:
            TaskError: it is larger than a router takes.
        """
        while not self.core.has_room(agent_id):
            agent = self.core.agent(agent_id)
            assert agent is not None
            await self._channels[agent.connection].changed()
        update_id = update_id or self._new_id()
        self._refusal = None
        # Authors' functions run in tasks of their own, so the core answers at once.
        self.driver.receive(SendUpdate(agent_id, data, update_id))
        if self._refusal is not None:
            raise TaskError(self._refusal)
        return update_id

    def end(self, agent_id: str, status: str, *, reuse: bool) -> None:
        """End an agent that has not ended."""
        self.driver.receive(EndAgent(agent_id, status, reuse))

    # What the core orders ------------------------------------------------------------------------

    def _perform(self, effect: object) -> None:
        match effect:
            case UpdateArrived(agent_id=agent_id, data=data):
                self._update(agent_id, data)
            case StartUnit(agent=seated):
                group = Group(is_live=False)
                agent = self._seat(group, seated)
                self._start(group, partial(self._run_unit, Unit(agent)))
            case StartAssignment(assignment_id=name, agents=all_seated, data=data):
                group = Group(is_live=True)
                for seated in all_seated:
                    self._seat(group, seated)
                assignment = Assignment(group, name, _decode(data))
                self._start(group, partial(self._run_assignment, assignment))
            case OnboardingSubmitted(agent_id=agent_id, worker_name=worker, data=data):
                self._soon(self._judge, agent_id, worker, _decode(data))
            case Submitted():
                self._submitted(effect)
            case AgentEnded(agent_id=agent_id, status=status, has_left=has_left):
                logger.info("task %s: agent %s ended: %s", self.task.name, agent_id, status)
                if (ended := self._agents.get(agent_id)) is not None:
                    ended.take_end(status, has_left=has_left)
            case MetadataArrived(agent_id=agent_id, data=data):
                if self.task.on_metadata is not None:
                    self._call("on_metadata", self.task.on_metadata, agent_id, _decode(data))
            case WorkerRefused(worker_name=worker, reason=reason):
                logger.info("task %s: worker %r not let in: %s", self.task.name, worker, reason)
            case ErrorLogged(subject_id=subject, data=data):
                logger.warning(
                    "task %s: %s reports: %s", self.task.name, subject, bytes(data)[:2_000].decode()
                )
            case Refused(source=source, text=text):
                self._refusal = text
                logger.warning("task %s: refused from %s: %s", self.task.name, source, text)
            case _:
                raise TypeError(f"the core's effect {effect!r} is not known here")

    def _seat(self, group: Group, seated: Seated) -> Agent:
        agent = Agent(
            group,
            self,
            agent_id=seated.agent_id,
            unit_id=seated.unit_id,
            worker=seated.worker_name,
            data=_decode(seated.data),
        )
        group.agents.append(agent)
        self._agents[agent.agent_id] = agent
        return agent

    def _update(self, agent_id: str, data: msgspec.Raw) -> None:
        agent = self._agents.get(agent_id)
        if agent is None or not agent.take_update(_decode(data)):
            self.driver.counters["dropped", "live-update"] += 1
            logger.debug("task %s: nobody reads agent %s's update", self.task.name, agent_id)

    def _submitted(self, effect: Submitted) -> None:
        data = _decode(effect.data)
        self._submissions += 1
        logger.info(
            "task %s: submission %d, of agent %s",
            self.task.name,
            self._submissions,
            effect.agent_id,
        )
        if (agent := self._agents.get(effect.agent_id)) is not None:
            agent.take_submission(data)
        if self.task.on_submission is not None:
            known = self.core.agent(effect.agent_id)
            assert known is not None
            submission = Submission(
                effect.unit_id, effect.agent_id, known.worker, data, effect.status
            )
            self._call("on_submission", self.task.on_submission, submission)

    # The author's functions ----------------------------------------------------------------------

    def _start(self, group: Group, run: Callable[[], Awaitable[None]]) -> None:
        try:
            self._draw(1)
        except Exception:  # the author's data may raise anything, and the server lives on
            logger.exception("task %s: no more work is offered", self.task.name)
            self._work = iter(())
        self._soon(self._run, group, run)

    def _soon(self, function: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        assert self._tasks is not None, "effects of agents come from routers, which come later"
        self._tasks.start_soon(function, *args)

    async def _run_unit(self, unit: Unit) -> None:
        assert isinstance(self.task, StaticTask)
        await self.task.run(unit)

    async def _run_assignment(self, assignment: Assignment) -> None:
        assert isinstance(self.task, LiveTask)
        await self.task.run(assignment)

    async def _run(self, group: Group, run: Callable[[], Awaitable[None]]) -> None:
        """Run an author's function to its end, whatever that is."""
        try:
            await run()
        except Exception as error:  # the author's code may raise anything, and the server lives on
            if _says_only_that_agents_ended(error):
                logger.info("task %s: %s", self.task.name, error)
            else:
                self._failed(group)
        finally:
            for agent in group.agents:
                self._agents.pop(agent.agent_id, None)

    def _failed(self, group: Group) -> None:
        """The author's function raised: the agents get the outcome that blames nobody."""
        logger.exception(
            "task %s: the function for unit %s with agents %s failed; they are told that the "
            "task was withdrawn",
            self.task.name,
            ", ".join(agent.unit_id for agent in group.agents),
            ", ".join(f"{agent.agent_id} ({agent.worker})" for agent in group.agents),
        )
        for agent in group.agents:
            if not agent.has_ended:
                self.end(agent.agent_id, Status.EXPIRED, reuse=False)

    async def _judge(self, agent_id: str, worker: str, answers: Any) -> None:
        assert self.task.onboarding is not None
        passed: bool | None = None
        try:
            verdict = self.task.onboarding(answers)
            passed = bool(await verdict if inspect.isawaitable(verdict) else verdict)
        except Exception:  # the author's code may raise anything, and the server lives on
            logger.exception(
                "task %s: the onboarding of worker %r (agent %s) could not be judged",
                self.task.name,
                worker,
                agent_id,
            )
        self.driver.receive(JudgeOnboarding(agent_id, passed))

    def _call(self, name: str, function: Callable[..., object], *args: object) -> None:
        try:
            function(*args)
        except Exception:  # the author's code may raise anything, and the server lives on
            logger.exception("task %s: %s failed for %r", self.task.name, name, args)

    def _draw(self, count: int) -> None:
        """Offer so many more units or assignments, as long as there are any."""
        limit = init_data_limit(self.core.options)
        for number, data in itertools.islice(self._work, count):
            raw = encode(data, f"number {number} of task {self.task.name!r}")
            if self.task.is_live and not is_object(raw):
                raise TaskError(
                    f"number {number} of task {self.task.name!r} is {data!r}; "
                    "expected: a dict, because a live page also gets its past updates in it"
                )
            if len(bytes(raw)) > limit:
                raise TaskError(
                    f"number {number} of task {self.task.name!r} has {len(bytes(raw)):,} bytes; "
                    f"expected: at most {limit:,}, which a router takes"
                )
            self.driver.receive(AddAssignment(str(number), raw, self.task.seats_each))


def run_task(task: StaticTask | LiveTask, *routers: str, token: str | None = None) -> None:
    """Run a task until Ctrl-C: the last line of an author's program.

    It says on stderr what happens, unless the program has set up its logging.

    Raises:
        TaskError: the task's data is wrong, or an address, or there is none.
        ChannelError: a router has refused this program for good.
    """
    if not routers:
        raise TaskError(
            f"task {task.name!r} has no router; expected: ws://HOST:PORT/, or several of them"
        )
    server = TaskServer(task, routers, token=token)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # The machine tells of every callback at that level; that is of use to nobody here.
    logging.getLogger("transitions").setLevel(logging.WARNING)
    with _without_groups():
        anyio.run(_until_signal, server)


async def _until_signal(server: TaskServer) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run)
            async for _ in signals:
                tasks.cancel_scope.cancel()
                return


@contextmanager
def _without_groups() -> Generator[None]:
    """Raise ``ChannelError`` as itself, not in the groups of the tasks that it ended."""
    refusal: BaseException
    try:
        yield
        return
    except ChannelError as error:
        refusal = error
    except ExceptionGroup as group:
        refused, rest = group.split(ChannelError)
        if refused is None or rest is not None:
            raise
        refusal = refused
        while isinstance(refusal, BaseExceptionGroup):
            refusal = refusal.exceptions[0]
    # The text says it all; the way through the tasks of this module would hide it.
    raise refusal.with_traceback(None) from None


def _decode(data: msgspec.Raw) -> Any:
    # Not msgspec: browsers can send lone surrogates, which it refuses and Python's json takes.
    return json.loads(bytes(data))


def _says_only_that_agents_ended(error: Exception) -> bool:
    """``AgentLeft`` or ``AgentDone``, alone or from within the author's task groups."""
    if isinstance(error, ExceptionGroup):
        return error.split((AgentLeft, AgentDone))[1] is None
    return isinstance(error, AgentLeft | AgentDone)
