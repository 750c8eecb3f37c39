from __future__ import annotations

import copy
from typing import Any

import pytest
from router_steps import BROWSER, packet, send

from statecore.effects import CancelTimer, Close, Count, Effect, Reply, SetTimer
from statecore.envelope import encode_data
from statecore.errors import RemoteProtocolError
from statecore.requests import Pending
from statecore.router_state import Connection, Renamer, RouterState, refusal
from statecore.seats import Seat
from statecore.settings import RouterOptions
from statecore.status import LinkState


def state(**options: Any) -> RouterState:
    return RouterState(RouterOptions(**options), 100.0)


def opened(router: RouterState, name: str) -> Connection:
    router.connections[name] = Connection(name, BROWSER, True)
    return router.connections[name]


ERROR = RemoteProtocolError("no such field", error_type="bad-field", field="f", expected="another")
TOLD = {
    "error_type": "bad-field",
    "text": "no such field; expected: another",
    "field": "f",
    "expected": "another",
}


def test_renamer_numbers_names_by_first_appearance() -> None:
    rename = Renamer()
    assert [rename(name) for name in ("b", "a", "", "b", "c")] == [1, 2, 0, 1, 3]


def test_peer_is_told_the_field_and_what_is_expected_when_it_is_refused() -> None:
    out: list[Effect] = []
    state().refuse("p", ERROR, out)
    assert out == [Count("refused", "bad-field"), send("p", "log_error", "mephisto", TOLD)]


@pytest.mark.parametrize(
    ("error_type", "code", "retry_after"),
    [
        ("bad-field", 422, None),
        ("not-json", 400, None),
        ("too-large", 413, None),
        ("outbox-full", 503, 5),
        ("too-early", 503, 5),
    ],
)
def test_post_is_refused_with_the_code_of_its_error(
    error_type: str, code: int, retry_after: int | None
) -> None:
    error = RemoteProtocolError("t", error_type=error_type, field="f", expected="e")
    told = {"error_type": error_type, "text": "t; expected: e", "field": "f", "expected": "e"}
    assert refusal("r1", error) == Reply("r1", code, bytes(encode_data(told)), retry_after)


@pytest.mark.parametrize(
    ("name", "error_type"),
    [("", "missing-field"), ("mephisto", "bad-field"), ("x" * 257, "bad-field")],
)
def test_name_is_refused_when_it_is_no_agents(name: str, error_type: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        state().check_name(name)
    assert caught.value.error_type == error_type


def test_name_is_refused_when_too_many_are_unknown_already() -> None:
    router = state(unknown_agents=1)
    router.check_name("1")
    router.seat_named("1")
    with pytest.raises(RemoteProtocolError) as caught:
        router.check_name("2")
    assert caught.value.error_type == "unknown-agent"
    router.known(router.seat_named("1"))
    router.check_name("2")


def test_seat_is_made_once_when_it_is_named_twice() -> None:
    router = state()
    seat = router.seat_named("1")
    assert router.seat_named("1") is seat
    assert router.seats.is_unknown(seat)


def test_status_packet_goes_by_the_name_that_the_page_uses() -> None:
    """docs/protocol.md section 1: update_status with {status}."""
    router = state()
    seat = Seat("1")
    assert router.status_packet(seat) == packet("update_status", "1", {"status": "none"})
    seat.named_by = "onboarding_1"
    assert router.status_packet(seat).subject_id == "onboarding_1"


def test_socket_speaks_for_its_seat_until_it_is_closed() -> None:
    router = state()
    seat = router.seat_named("1")
    out: list[Effect] = []
    connection = opened(router, "p")
    router.bind(connection, seat, "1", out)
    assert (seat.connection, connection.agent_id, seat.heard) == ("p", "1", True)
    assert out == [send("p", "update_status", "1", {"status": "none"})]
    out.clear()
    router.link_closed(seat, out)
    assert out == [SetTimer(("grace", "1"), 10.0)]
    assert (seat.connection, connection.agent_id, seat.link) == (None, "", LinkState.LOST)
    out.clear()
    router.bind(opened(router, "q"), seat, "1", out)
    assert out[0] == CancelTimer(("grace", "1"))


def test_newest_socket_wins_when_there_are_two() -> None:
    """docs/protocol.md section 5: a last ping of 0 makes the npm page give up."""
    router = state()
    seat = router.seat_named("1")
    router.bind(opened(router, "p"), seat, "1", [])
    out: list[Effect] = []
    router.bind(opened(router, "q"), seat, "1", out)
    assert out[:2] == [
        send("p", "heartbeat", "1", {"last_mephisto_ping": 0, "status": "none"}),
        Close("p", 4001, "another tab speaks for this agent now"),
    ]
    assert (router.connections["p"].replaced, router.connections["p"].agent_id) == (True, "")


def test_closing_twice_sets_no_second_timer() -> None:
    router = state()
    seat = router.seat_named("1")
    out: list[Effect] = []
    router.link_closed(seat, out)  # it never had a socket
    assert out == []


def test_room_is_what_neither_outbox_nor_held_packets_take() -> None:
    router = state(outbox_bytes=1_000)
    one = packet("submit_unit", "1", "x" * 300)
    assert router.has_room(one)
    router.held_bytes = 500
    assert not router.has_room(one)


def test_onboarding_leaves_the_outbox_when_the_core_shows_that_it_has_it() -> None:
    router = state()
    router.onboarding_handled("onboarding_1")  # nobody asked
    router.requests.ask(Pending("o1", "submit_onboarding", "onboarding_1"))
    router.outbox.connect("core", pings=True, out=[])
    router.outbox.add(packet("submit_onboarding", "onboarding_1"), [], ("request", "o1"))
    router.onboarding_handled("onboarding_1")
    assert router.outbox.size == 0


def test_copy_is_independent_and_like_deepcopy() -> None:
    router = state()
    seat = router.seat_named("1")
    router.bind(opened(router, "p"), seat, "1", [])
    router.requests.ask(Pending("r1", "register_agent", "a-w"))
    router.held_posts["s1"] = "1"
    other, deep = router.copy(), copy.deepcopy(router)
    before = router.key()
    assert before == other.key() == deep.key()
    for one in (other, deep):
        one.core = "core"
        one.report_all = True
        one.connections["p"].replaced = True
        one.held_posts.clear()
        one.seat_named("2")
    assert other.key() == deep.key() != before
    assert router.key() == before
    assert router.held_posts == {"s1": "1"}
