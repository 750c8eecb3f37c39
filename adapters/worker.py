"""``Worker``: what a program does with a worker, and what it waits for.

``ClientCore`` decides, ``ClientTransport`` brings; this is the part between them that a program
holds. Nothing here polls: whoever waits, waits for something to happen.
"""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx

from statecore.adapters.client_transport import ClientTransport
from statecore.adapters.driver import Clock, Driver
from statecore.client import ClientCore
from statecore.client_events import (
    AgentNamed,
    Attachment,
    Ending,
    Leave,
    OpenSocket,
    Post,
    PostAccepted,
    PostRefused,
    Register,
    ReportError,
    SendUpdate,
    SubmitMetadata,
    SubmitOnboarding,
    SubmitUnit,
    UpdateArrived,
)
from statecore.client_posts import Posting
from statecore.errors import StatecoreError

__all__ = ["PostFailedError", "Worker", "WorkerEndedError"]


class WorkerEndedError(StatecoreError):
    """What was waited for cannot come any more.

    Attributes:
        state, outcome: where the agent is, and why.
        ended: why its socket stays closed, or ``None``.
    """

    def __init__(self, wanted: str, state: str, outcome: str, ended: Ending | None) -> None:
        why = f" ({outcome})" if outcome else ""
        closed = f"; its socket is closed: {ended}" if ended is not None else ""
        super().__init__(f"waited for {wanted}, but the agent is {state}{why}{closed}")
        self.state = state
        self.outcome = outcome
        self.ended = ended


class PostFailedError(StatecoreError):
    """What was handed in was not taken.

    Attributes:
        status_code: the HTTP status, or ``None`` when there was no answer.
    """

    def __init__(self, reason: str, status_code: int | None) -> None:
        super().__init__(reason)
        self.status_code = status_code


class _Waiter:
    """A POST whose answer somebody waits for."""

    __slots__ = ("done", "refusal")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.refusal: PostRefused | None = None


class Worker:
    """One worker; made by ``open_worker``.

    Attributes:
        core: the page's side, to read: its state, outcome and link.
        init_data: the task's initial data.
        is_onboarding: the agent is to do the onboarding first.
    """

    def __init__(
        self,
        core: ClientCore,
        provider_data: dict[str, Any],
        *,
        on_effect: Callable[[object], None] | None,
        wall_clock: Callable[[], float],
        clock: Clock | None,
        updates_waiting: int,
    ) -> None:
        self.core = core
        self.init_data: Any = None
        self.is_onboarding = False
        self._provider_data = provider_data
        self._on_effect = on_effect
        self._wall_clock = wall_clock
        self.driver = Driver(
            core,
            wall_clock=wall_clock,
            on_effect=self._perform,
            stamp="client_timestamp",
            clock=clock,
        )
        self._transport: ClientTransport | None = None
        self._updates_waiting = updates_waiting
        self._updates: deque[dict[str, Any]] = deque()
        self._waiters: dict[str, _Waiter] = {}
        self._changed = anyio.Event()
        self._post_ids = (f"post-{number}" for number in itertools.count(1))

    @property
    def agent_id(self) -> str | None:
        """The agent's id as the core last said it."""
        return self.core.agent_id

    @property
    def state(self) -> str:
        """Which of the seven states the agent is in."""
        return self.core.state

    @property
    def outcome(self) -> str:
        """The exact status, or the reason, behind the state."""
        return self.core.outcome

    # --- what a worker does ------------------------------------------------------------------

    async def register(self) -> None:
        """Ask for an agent. ``open_worker`` does so; again, it is what reloading a page is.

        Raises:
            PostFailedError: there was no answer, or one that is none. That there is no agent for this
                worker is an answer: the state is then ``failed`` and the outcome says why.
        """
        post_id = next(self._post_ids)
        await self._post(Register(post_id, self._provider_data, self._wall_clock()))

    async def submit_onboarding(self, data: Any) -> None:
        """Hand in the onboarding; the state then says whether it was passed.

        Raises:
            PostFailedError: it was not taken.
        """
        await self._post(SubmitOnboarding(next(self._post_ids), data, self._wall_clock()))

    async def submit(self, data: Any, attachments: tuple[Attachment, ...] = ()) -> None:
        """Hand in the work; returns when it will reach the core.

        Raises:
            PostFailedError: it was not taken.
        """
        at = self._wall_clock()
        await self._post(SubmitUnit(next(self._post_ids), data, attachments, at))

    async def submit_metadata(self, data: dict[str, Any]) -> None:
        """Hand in tips or feedback.

        Raises:
            PostFailedError: it was not taken.
        """
        await self._post(SubmitMetadata(next(self._post_ids), data, self._wall_clock()))

    async def report_error(self, data: Any) -> None:
        """Write something to the core's log.

        Raises:
            PostFailedError: it was not taken.
        """
        await self._post(ReportError(next(self._post_ids), data, self._wall_clock()))

    async def send(self, data: dict[str, Any], *, update_id: str | None = None) -> str:
        """Send a live update; waits while too many are not delivered yet.

        Returns:
            The update's id.

        Raises:
            LocalProtocolError: the agent has ended, or the data is not JSON or too large.
        """
        update_id = update_id or uuid.uuid4().hex
        while self.core.room <= 0 and not self._is_over:
            await self._changed.wait()
        self.driver.receive(SendUpdate(data, update_id, self._wall_clock()))
        return update_id

    # --- what a worker waits for -------------------------------------------------------------

    async def receive_update(self) -> dict[str, Any]:
        """The next live update.

        Raises:
            WorkerEndedError: all were read, and the agent has ended.
        """
        while not self._updates:
            if self._is_over:
                raise self._ended("a live update")
            await self._changed.wait()
        update = self._updates.popleft()
        self._tell()  # there is room for another
        return update

    def __aiter__(self) -> Worker:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """The next live update; iteration ends with the agent."""
        try:
            return await self.receive_update()
        except WorkerEndedError:
            raise StopAsyncIteration from None

    async def wait_for(self, *states: str) -> str:
        """Wait until the agent is in one of these states; returns which.

        Raises:
            WorkerEndedError: it ended in another.
        """
        while self.state not in states:
            if self._is_over:
                raise self._ended(" or ".join(states))
            await self._changed.wait()
        return self.state

    async def wait_until(self, holds: Callable[[Worker], bool]) -> None:
        """Wait until this holds; it is asked again after everything that happens."""
        while not holds(self):
            await self._changed.wait()

    # --- the inside --------------------------------------------------------------------------

    @property
    def _is_over(self) -> bool:
        return self.core.is_over or self.core.ended is not None

    def _ended(self, wanted: str) -> WorkerEndedError:
        return WorkerEndedError(wanted, self.state, self.outcome, self.core.ended)

    async def _post(self, action: Posting) -> None:
        waiter = self._waiters[action.post_id] = _Waiter()
        try:
            self.driver.receive(action)
            await waiter.done.wait()
        finally:
            del self._waiters[action.post_id]
        if waiter.refusal is not None:
            raise PostFailedError(waiter.refusal.reason, waiter.refusal.status_code)

    def _perform(self, effect: object) -> None:
        """The effects that are not of the common union: two orders, the rest is news."""
        match effect:
            case Post():
                assert self._transport is not None
                self._transport.post(effect)
            case OpenSocket():
                assert self._transport is not None
                self._transport.open_socket(effect)
            case UpdateArrived(data=data):
                self._updates.append(data)
            case AgentNamed(data=data, is_onboarding=is_onboarding):
                self.init_data = data
                self.is_onboarding = is_onboarding
            case PostAccepted(post_id=post_id) | PostRefused(post_id=post_id):
                waiter = self._waiters.get(post_id)
                if waiter is not None:
                    waiter.refusal = effect if isinstance(effect, PostRefused) else None
                    waiter.done.set()
            case _:
                pass  # news for those who wait, and for ``on_effect``
        if self._on_effect is not None:
            self._on_effect(effect)
        self._tell()

    def _tell(self) -> None:
        """Wake all who wait for something to happen."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _room_to_read(self) -> None:
        """A program that does not read its updates leaves them in the socket: the router waits."""
        while len(self._updates) >= self._updates_waiting:
            await self._changed.wait()

    @asynccontextmanager
    async def running(
        self,
        http: httpx.AsyncClient,
        url: httpx.URL,
        headers: dict[str, str],
        backoff: Callable[[int], float],
    ) -> AsyncGenerator[None]:
        """Run the core and its transport; at the end the page is left."""
        error: Exception | None = None
        async with anyio.create_task_group() as tasks:
            self._transport = ClientTransport(
                self.driver,
                tasks,
                http,
                url=url,
                headers=headers,
                backoff=backoff,
                frame_limit=self.core.options.frame_limit,
                room_to_read=self._room_to_read,
            )
            await tasks.start(self.driver.run)
            try:
                yield
            except Exception as raised:  # the program's own: out of the group as it is, unwrapped
                error = raised
            finally:
                self.driver.receive(Leave())
                tasks.cancel_scope.cancel()
        if error is not None:
            raise error
