"""The driver: every effect performed, in order; timers; requests; connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, get_args

import anyio
import msgspec
import pytest
from fake_clock import FakeClock

from statecore.adapters import driver as driver_module
from statecore.adapters.driver import Driver, SystemClock
from statecore.effects import (
    CancelTimer,
    Close,
    Count,
    Effect,
    Ping,
    Reply,
    Save,
    Send,
    SetTimer,
)
from statecore.envelope import Envelope
from statecore.errors import LocalProtocolError
from statecore.events import Closed, Frame, Opened, Ponged, Principal, Request, Route, TimerFired

pytestmark = pytest.mark.anyio

PACKET = Envelope("update_status", "a1", msgspec.Raw(b'{"status":"waiting"}'))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class ScriptedCore:
    """Returns what the script says for an event, and remembers what it received."""

    def __init__(self, script: Callable[[Any], Iterable[object]] = lambda event: ()) -> None:
        self.script = script
        self.received: list[object] = []
        self.first: tuple[object, ...] = ()

    def start(self) -> Iterable[object]:
        return self.first

    def receive(self, event: Any, /) -> Iterable[object]:
        self.received.append(event)
        return self.script(event)


class RecordingConnection:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def send(self, payload: str) -> None:
        self.sent.append(("send", payload))

    def ping(self, token: str) -> None:
        self.sent.append(("ping", token))

    def close(self, code: int, reason: str) -> None:
        self.sent.append(("close", code, reason))


def connected(core: ScriptedCore, **options: Any) -> tuple[Driver, RecordingConnection]:
    driver = Driver(core, wall_clock=lambda: 7.5, **options)
    connection = RecordingConnection()
    driver.connect("c1", connection, Principal(loopback=True), pings=True)
    core.received.clear()
    return driver, connection


async def test_common_effects_are_exactly_the_union() -> None:
    assert set(driver_module._COMMON) == set(get_args(Effect))


async def test_connect_tells_the_core_who_came_and_when() -> None:
    core = ScriptedCore()
    driver = Driver(core, wall_clock=lambda: 7.5)
    driver.connect("c1", RecordingConnection(), Principal(origin="http://x"), pings=True)
    assert core.received == [Opened("c1", Principal(origin="http://x"), 7.5, True)]


async def test_disconnect_tells_the_core_once() -> None:
    core = ScriptedCore()
    driver, _ = connected(core)
    driver.disconnect("c1")
    driver.disconnect("c1")
    driver.disconnect("never connected")
    assert core.received == [Closed("c1")]


async def test_effects_for_a_connection_are_performed_in_order() -> None:
    core = ScriptedCore(
        lambda event: (Send("c1", PACKET), Ping("c1", "t"), Close("c1", 4001, "replaced"))
    )
    driver, connection = connected(ScriptedCore())
    driver.core = core
    driver.receive(Frame("c1", "x"))
    (send, ping, close) = connection.sent
    assert msgspec.json.decode(send[1]) == {
        "packet_type": "update_status",
        "subject_id": "a1",
        "data": {"status": "waiting"},
        "client_timestamp": None,
        "router_incoming_timestamp": None,
        "router_outgoing_timestamp": 7.5,
        "server_timestamp": None,
    }
    assert ping == ("ping", "t")
    assert close == ("close", 4001, "replaced")


async def test_effects_for_a_connection_that_is_gone_do_nothing() -> None:
    core = ScriptedCore(lambda event: (Send("c9", PACKET), Ping("c9", "t"), Close("c9", 1000, "")))
    driver, connection = connected(core)
    driver.receive(Frame("c1", "x"))
    assert connection.sent == []
    assert core.received == [Frame("c1", "x")]


async def test_send_stamps_the_field_of_its_side() -> None:
    core = ScriptedCore(lambda event: (Send("c1", PACKET),) if event == "go" else ())
    driver, connection = connected(core, stamp="server_timestamp")
    driver.receive("go")
    packet = msgspec.json.decode(connection.sent[0][1])
    assert (packet["server_timestamp"], packet["router_outgoing_timestamp"]) == (7.5, None)


async def test_close_all_closes_every_connection() -> None:
    driver, connection = connected(ScriptedCore())
    other = RecordingConnection()
    driver.connect("c2", other, Principal(), pings=False)
    driver.close_all(1001, "going away")
    assert connection.sent == other.sent == [("close", 1001, "going away")]


async def test_save_and_count_are_performed() -> None:
    saved: list[bytes] = []
    core = ScriptedCore(lambda event: (Save(b"r"), Count("packets", "alive")))
    driver = Driver(core, on_save=saved.append)
    driver.receive("one")
    driver.receive("two")
    assert saved == [b"r", b"r"]
    assert driver.counters == {("packets", "alive"): 2}


async def test_save_without_a_store_is_passed_by() -> None:
    driver = Driver(ScriptedCore(lambda event: (Save(b"r"), Count("after"))))
    driver.receive("one")
    assert driver.counters == {("after", ""): 1}


async def test_other_effects_go_to_on_effect_and_its_events_wait_their_turn() -> None:
    order: list[object] = []

    def script(event: object) -> Iterable[object]:
        order.append(event)
        return ("ask", "tell") if event == "first" else ()

    def on_effect(effect: object) -> None:
        order.append(("performed", effect))
        driver.receive(("answer to", effect))

    driver = Driver(ScriptedCore(script), on_effect=on_effect)
    driver.receive("first")
    assert order == [
        "first",
        ("performed", "ask"),
        ("performed", "tell"),
        ("answer to", "ask"),
        ("answer to", "tell"),
    ]


async def test_other_effects_without_on_effect_are_a_mistake_and_the_driver_goes_on() -> None:
    core = ScriptedCore(lambda event: ("odd",) if event == "bad" else (Count("good"),))
    driver = Driver(core)
    with pytest.raises(LocalProtocolError, match="nobody performs the effect str"):
        driver.receive("bad")
    driver.receive("good")
    assert driver.counters == {("good", ""): 1}


async def test_request_waits_for_its_own_reply() -> None:
    replies = {
        "answer r2": (Reply("r2", 200, b"{}"),),
        "answer r1": (Reply("r1", 503, b"{}", 4), Reply("unknown", 200, b"{}")),
    }
    core = ScriptedCore(lambda event: replies.get(event, ()) if isinstance(event, str) else ())
    driver = Driver(core)
    answers: dict[str, Reply] = {}

    async def ask(name: str) -> None:
        answers[name] = await driver.request(Request(name, Route.SUBMIT_TASK, b"{}"))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(ask, "r1")
            group.start_soon(ask, "r2")
            await anyio.wait_all_tasks_blocked()
            driver.receive("answer r2")
            await anyio.wait_all_tasks_blocked()
            assert answers == {"r2": Reply("r2", 200, b"{}")}
            driver.receive("answer r1")
    assert answers["r1"] == Reply("r1", 503, b"{}", 4)


async def test_request_answered_at_once_does_not_wait() -> None:
    driver = Driver(ScriptedCore(lambda event: (Reply(event.id, 200, b"{}"),)))
    request = Request("r1", Route.LOG_ERROR, b"{}")
    assert await driver.request(request) == Reply("r1", 200, b"{}")
    # And it is forgotten, so nothing grows.
    assert await driver.request(request) == Reply("r1", 200, b"{}")


async def test_request_with_an_id_in_use_is_refused() -> None:
    driver = Driver(ScriptedCore())
    async with anyio.create_task_group() as group:
        group.start_soon(driver.request, Request("r1", Route.LOG_ERROR, b"{}"))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LocalProtocolError, match="already waiting"):
            await driver.request(Request("r1", Route.LOG_ERROR, b"{}"))
        group.cancel_scope.cancel()


async def test_request_cancelled_forgets_and_a_late_reply_is_harmless() -> None:
    core = ScriptedCore(lambda event: (Reply("r1", 200, b"{}"),) if event == "late" else ())
    driver = Driver(core)
    async with anyio.create_task_group() as group:
        group.start_soon(driver.request, Request("r1", Route.LOG_ERROR, b"{}"))
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    driver.receive("late")
    assert driver._waiters == {}


async def test_run_performs_the_first_effects_before_it_reports_started() -> None:
    core = ScriptedCore(lambda event: (Count("fed"),))
    core.first = (Count("first"), "feed")
    driver = Driver(core, on_effect=lambda effect: driver.receive(effect))
    async with anyio.create_task_group() as group:
        await group.start(driver.run)
        assert driver.counters == {("first", ""): 1, ("fed", ""): 1}
        group.cancel_scope.cancel()


async def test_timers_fire_in_order_of_time_and_once() -> None:
    clock, core = FakeClock(), ScriptedCore()
    core.first = (SetTimer(("request", "r1"), 60.0), SetTimer(("sweep", ""), 5.0))
    driver = Driver(core, clock=clock)
    async with anyio.create_task_group() as group:
        await group.start(driver.run)
        await clock.advance(4.9)
        assert core.received == []
        await clock.advance(0.1)
        assert core.received == [TimerFired(("sweep", ""))]
        await clock.advance(100)
        assert core.received == [TimerFired(("sweep", "")), TimerFired(("request", "r1"))]
        await clock.advance(1_000)
        assert len(core.received) == 2
        group.cancel_scope.cancel()


async def test_timers_set_anew_start_anew_and_cancelled_never_fire() -> None:
    clock = FakeClock()
    effects: dict[str, tuple[object, ...]] = {
        "renew": (SetTimer(("grace", "a"), 10.0),),
        "cancel": (CancelTimer(("grace", "b")), CancelTimer(("grace", "unknown"))),
    }
    core = ScriptedCore(lambda event: effects.get(event, ()) if isinstance(event, str) else ())
    core.first = (SetTimer(("grace", "a"), 10.0), SetTimer(("grace", "b"), 10.0))
    driver = Driver(core, clock=clock)
    async with anyio.create_task_group() as group:
        await group.start(driver.run)
        await clock.advance(9)
        driver.receive("renew")
        driver.receive("cancel")
        await clock.advance(9)
        assert core.received == ["renew", "cancel"]
        await clock.advance(1)
        assert core.received[2:] == [TimerFired(("grace", "a"))]
        group.cancel_scope.cancel()


async def test_timer_fired_early_fires_once_and_one_that_is_not_set_never() -> None:
    clock, core = FakeClock(), ScriptedCore()
    core.first = (SetTimer(("request", "r1"), 5.0),)
    driver = Driver(core, clock=clock)
    async with anyio.create_task_group() as group:
        await group.start(driver.run)
        for request_id in ("r1", "r1", "r2"):
            driver.fire_early(("request", request_id))
        assert core.received == [TimerFired(("request", "r1"))]
        await clock.advance(5.0)
        assert core.received == [TimerFired(("request", "r1"))]
        group.cancel_scope.cancel()


async def test_timers_that_become_the_first_to_be_due_wake_the_task() -> None:
    clock = FakeClock()
    core = ScriptedCore(lambda event: (SetTimer(("soon", ""), 1.0),) if event == "set" else ())
    core.first = (SetTimer(("late", ""), 50.0),)
    driver = Driver(core, clock=clock)
    async with anyio.create_task_group() as group:
        await group.start(driver.run)
        await anyio.wait_all_tasks_blocked()
        driver.receive("set")
        await anyio.wait_all_tasks_blocked()
        await clock.advance(1)
        assert core.received == ["set", TimerFired(("soon", ""))]
        group.cancel_scope.cancel()


async def test_timers_that_are_cancelled_do_not_pile_up() -> None:
    driver = Driver(
        ScriptedCore(lambda event: (SetTimer(("r", event), 60.0), CancelTimer(("r", event)))),
        clock=FakeClock(),
    )
    for number in range(1_000):
        driver.receive(str(number))
    assert len(driver._timers._heap) <= 65


@pytest.mark.parametrize("is_set", [True, False])
async def test_both_clocks_wait_for_the_event_or_the_deadline(is_set: bool) -> None:
    for clock in (SystemClock(), FakeClock()):
        event = anyio.Event()
        if is_set:
            event.set()
        with anyio.fail_after(5):
            await clock.wait(event, clock.now() + (1_000.0 if is_set else 0.0))


async def test_timers_fire_on_the_event_loops_own_clock() -> None:
    fired = anyio.Event()

    def script(event: object) -> Iterable[object]:
        fired.set()
        return ()

    core = ScriptedCore(script)
    core.first = (SetTimer(("now", ""), 0.001),)
    driver = Driver(core)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            await group.start(driver.run)
            await fired.wait()
            group.cancel_scope.cancel()
    assert core.received == [TimerFired(("now", ""))]


async def test_ponged_goes_to_the_core_like_any_event() -> None:
    core = ScriptedCore()
    driver, _ = connected(core)
    driver.receive(Ponged("c1", "t"))
    assert core.received == [Ponged("c1", "t")]
