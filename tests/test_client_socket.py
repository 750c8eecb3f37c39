from __future__ import annotations

import pytest
from pages import frame, live_page, page, status

from statecore.client import ClientCore
from statecore.client_events import (
    Ended,
    Ending,
    LinkChanged,
    OpenFailed,
    OpenSocket,
    SendUpdate,
    StateChanged,
    UpdateLost,
    UpdateSettled,
)
from statecore.effects import CancelTimer, Close, Count, Ping, Send, SetTimer
from statecore.envelope import Envelope
from statecore.errors import LocalProtocolError
from statecore.events import Closed, Opened, Ponged, TimerFired
from statecore.settings import ClientOptions

HEARTBEAT = TimerFired(("heartbeat", ""))
SWEEP = TimerFired(("core", ""))


def sent_updates(effects: object) -> list[bytes]:
    assert isinstance(effects, tuple)
    return [
        bytes(effect.packet.data)
        for effect in effects
        if isinstance(effect, Send) and effect.packet.packet_type == "mephisto_bound_live_update"
    ]


def beat(core: ClientCore, last_mephisto_ping: object) -> tuple[object, ...]:
    return frame(core, "heartbeat", {"last_mephisto_ping": last_mephisto_ping, "status": "in task"})


# --- open, alive, heartbeats -------------------------------------------------------------------


def test_a_socket_says_alive_at_once_and_a_heartbeat_soon() -> None:
    core = page()
    assert core.receive(Opened("socket")) == (
        LinkChanged("up"),
        Send("socket", Envelope("alive", "7")),
        SetTimer(("heartbeat", ""), 0.5),
        SetTimer(("core", ""), 5.0),
    )
    assert core.receive(HEARTBEAT) == (
        Send("socket", Envelope("heartbeat", "7")),
        SetTimer(("heartbeat", ""), 6.0),
    )
    assert core.link == "up"


def test_a_socket_that_nobody_asked_for_is_closed() -> None:
    core = live_page()
    before = core.key()
    assert core.receive(Opened("second")) == (Close("second", 1000, "not wanted any more"),)
    assert core.key() == before


def test_a_lost_socket_is_opened_again_and_each_try_says_which_it_is() -> None:
    core = live_page()
    assert core.receive(Closed("socket")) == (
        CancelTimer(("heartbeat", "")),
        LinkChanged("lost"),
        OpenSocket(1),
    )
    assert core.receive(OpenFailed("refused")) == (OpenSocket(2),)
    core.receive(Opened("second"))
    assert core.receive(Closed("second"))[-1] == OpenSocket(3)  # it brought no frame
    core.receive(Opened("third"))
    frame(core, "update_status", {"status": "in task"}, connection="third")
    assert core.receive(Closed("third"))[-1] == OpenSocket(1)


def test_what_is_not_about_the_open_socket_changes_nothing() -> None:
    core = live_page()
    before = core.key()
    for event in (OpenFailed(), Closed("old"), Ponged("old", "1"), Ponged("socket", "9")):
        assert core.receive(event) == ()
    assert core.key() == before


def test_heartbeats_without_answers_replace_the_socket() -> None:
    core = live_page(options=ClientOptions(missed_answers=2))
    core.receive(HEARTBEAT)
    core.receive(HEARTBEAT)
    assert core.receive(HEARTBEAT) == (
        Close("socket", 1001, "no answers"),
        CancelTimer(("heartbeat", "")),
        LinkChanged("lost"),
        OpenSocket(1),
    )
    assert core.receive(HEARTBEAT) == (Count("stray-timer"),)


def test_answers_keep_the_socket() -> None:
    core = live_page(options=ClientOptions(missed_answers=1))
    for ping in range(1_000, 1_010):
        assert core.receive(HEARTBEAT)[0] == Send("socket", Envelope("heartbeat", "7"))
        beat(core, ping)


# --- closed for good ---------------------------------------------------------------------------


def test_a_newer_tab_takes_over_and_this_one_stays_closed() -> None:
    core = live_page()
    assert core.receive(Closed("socket", 4001)) == (
        CancelTimer(("heartbeat", "")),
        LinkChanged("lost"),
        LinkChanged("dead"),
        CancelTimer(("core", "")),
        Ended(Ending.REPLACED),
    )
    assert core.state == "in_task"
    assert core.receive(OpenFailed()) == ()


def test_a_core_last_heard_at_0_means_replaced_too() -> None:
    core = live_page()
    effects = beat(core, 0)
    assert effects[0] == Close("socket", 1000, "replaced by a newer tab")
    assert effects[-1] == Ended(Ending.REPLACED)
    assert core.receive(Closed("socket", 1000)) == ()


def test_a_socket_that_is_not_allowed_is_not_tried_again() -> None:
    core = live_page()
    assert core.receive(Closed("socket", 4003))[-1] == Ended(Ending.NOT_ALLOWED)
    assert core.state == "in_task"


def test_a_seat_that_a_new_core_gave_away_is_disconnected() -> None:
    core = live_page()
    core.receive(SendUpdate({}, "u"))
    effects = core.receive(Closed("socket", 4009))
    assert StateChanged("disconnected", "disconnect") in effects
    assert UpdateLost("u") in effects
    assert effects[-1] == Ended(Ending.SEAT_GONE)


# --- is the core there? ------------------------------------------------------------------------


def test_news_of_the_core_keeps_the_page_alive() -> None:
    core = live_page()
    for ping in range(1_000, 1_040):
        beat(core, ping)
        assert core.receive(SWEEP) == (SetTimer(("core", ""), 5.0),)
    assert core.state == "in_task"


@pytest.mark.parametrize("ping", [1_600_000_000_000, None, True, "1700000000000"])
def test_no_news_for_too_long_is_the_end(ping: object) -> None:
    core = live_page()
    beat(core, 1_600_000_000_000)
    assert core.receive(SWEEP) == (SetTimer(("core", ""), 5.0),)
    for _ in range(3):
        beat(core, ping)
        assert core.receive(SWEEP) == (SetTimer(("core", ""), 5.0),)
    beat(core, ping)
    assert core.receive(SWEEP) == (
        StateChanged("disconnected", "mephisto disconnect"),
        Close("socket", 1000, "the core is silent"),
        CancelTimer(("heartbeat", "")),
        LinkChanged("lost"),
        LinkChanged("dead"),
        CancelTimer(("core", "")),
        Ended(Ending.CORE_SILENT),
    )
    assert core.receive(SWEEP) == (Count("stray-timer"),)


def test_the_silence_is_counted_without_a_socket_too() -> None:
    core = live_page()
    core.receive(Closed("socket"))
    for _ in range(3):
        core.receive(SWEEP)
    assert core.receive(SWEEP)[-1] == Ended(Ending.CORE_SILENT)
    assert core.receive(OpenFailed()) == ()


def test_an_answer_without_a_ping_is_counted() -> None:
    assert frame(live_page(), "heartbeat", {}) == (Count("bad-data"),)
    assert frame(live_page(), "heartbeat", None) == (Count("bad-data"),)


# --- what was sent -----------------------------------------------------------------------------


def test_updates_wait_for_the_socket_and_leave_in_order() -> None:
    core = page()
    for n in range(3):
        assert core.receive(SendUpdate({}, f"u{n}")) == ()
    assert sent_updates(core.receive(Opened("socket", pings=True))) == [
        b'{"update_id":"u0"}',
        b'{"update_id":"u1"}',
        b'{"update_id":"u2"}',
    ]


def test_what_no_pong_proved_is_sent_again_before_anything_new() -> None:
    core = live_page()
    core.receive(SendUpdate({}, "u1"))
    [*_, ping] = core.receive(HEARTBEAT)
    assert ping == Ping("socket", "1")
    core.receive(SendUpdate({}, "u2"))
    assert core.receive(Ponged("socket", "1")) == (UpdateSettled("u1"),)
    core.receive(Closed("socket"))
    core.receive(SendUpdate({}, "u3"))
    assert sent_updates(core.receive(Opened("second", pings=True))) == [
        b'{"update_id":"u2"}',
        b'{"update_id":"u3"}',
    ]


def test_without_pings_handing_over_is_all_the_proof_there_is() -> None:
    core = page()
    core.receive(SendUpdate({}, "u1"))
    assert core.receive(Opened("socket", pings=False))[-1] == UpdateSettled("u1")
    assert core.receive(SendUpdate({}, "u2"))[-1] == UpdateSettled("u2")


def test_a_burst_asks_for_proof_by_itself() -> None:
    core = live_page()
    effects = [core.receive(SendUpdate({}, f"u{n}")) for n in range(16)]
    assert effects[-1][-1] == Ping("socket", "16")
    assert core.receive(Ponged("socket", "16")) == tuple(UpdateSettled(f"u{n}") for n in range(16))


@pytest.mark.parametrize(
    "options",
    [
        ClientOptions(updates_kept=2),
        ClientOptions(updates_bytes=12_000),  # two fit with what is around them, three do not
    ],
    ids=["by number", "by bytes"],
)
def test_at_the_bound_the_program_must_wait(options: ClientOptions) -> None:
    core = live_page(options=options)
    data = {"text": "x" * 5_000}
    core.receive(SendUpdate(data, "u1"))
    core.receive(SendUpdate(data, "u2"))
    before = core.key()
    with pytest.raises(LocalProtocolError) as caught:
        core.receive(SendUpdate(data, "u3"))
    assert caught.value.error_type == "too-many-updates"
    assert core.key() == before
    core.receive(HEARTBEAT)
    core.receive(Ponged("socket", "2"))
    assert core.room == options.updates_kept
    assert len(sent_updates(core.receive(SendUpdate(data, "u3")))) == 1


@pytest.mark.parametrize("code", [1003, 1007, 1009])
def test_what_the_router_would_not_read_is_not_sent_again(code: int) -> None:
    core = live_page()
    core.receive(SendUpdate({}, "u1"))
    assert core.receive(Closed("socket", code)) == (
        UpdateLost("u1"),
        CancelTimer(("heartbeat", "")),
        LinkChanged("lost"),
        OpenSocket(1),
    )
    assert sent_updates(core.receive(Opened("second", pings=True))) == []


def test_what_an_ended_agent_said_is_not_said_again() -> None:
    core = live_page()
    core.receive(SendUpdate({}, "u1"))
    status(core, "completed")
    effects = core.receive(Closed("socket"))
    assert UpdateLost("u1") in effects
    assert effects[-1] == OpenSocket(1)  # it may still learn how it was judged


def test_the_router_reads_what_an_ended_agent_said_before() -> None:
    core = live_page()
    core.receive(SendUpdate({}, "u1"))
    core.receive(HEARTBEAT)
    status(core, "completed")
    assert core.receive(Ponged("socket", "1")) == (UpdateSettled("u1"),)
