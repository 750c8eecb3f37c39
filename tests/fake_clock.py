"""A clock for the driver's timers that moves only when a test says so."""

from __future__ import annotations

import anyio

__all__ = ["FakeClock"]


class FakeClock:
    """Stands still until ``advance``; passes the same tests as the system's clock."""

    def __init__(self, start: float = 1_000.0) -> None:
        self.time = start
        self._moved: anyio.Event | None = None

    def now(self) -> float:
        return self.time

    async def wait(self, event: anyio.Event, deadline: float) -> None:
        async with anyio.create_task_group() as group:

            async def relay() -> None:
                await event.wait()
                group.cancel_scope.cancel()

            group.start_soon(relay)
            while self.time < deadline:
                if self._moved is None:
                    self._moved = anyio.Event()
                await self._moved.wait()
            group.cancel_scope.cancel()

    async def advance(self, seconds: float) -> None:
        """Jump, and let everything that this makes due happen."""
        self.time += seconds
        if self._moved is not None:
            self._moved.set()
            self._moved = None
        await anyio.wait_all_tasks_blocked()
