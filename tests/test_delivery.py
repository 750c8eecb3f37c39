from __future__ import annotations

import copy
from collections.abc import Callable, Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_steps import packet

from statecore.delivery import PING_EVERY, Entry, Mailbox, Outbox, weight
from statecore.effects import Effect, Ping, Send
from statecore.envelope import Envelope, encode_envelope
from statecore.router_state import Renamer

S1 = ("agent", "1")


def news(name: str) -> Envelope:
    return packet("client_bound_live_update", "1", {"update_id": name})


def said(value: str) -> Envelope:
    return packet("update_status", "1", {"status": value})


def unit(agent_id: str = "1") -> Envelope:
    return packet("submit_unit", agent_id, {"by": agent_id})


def live(name: str, agent_id: str = "1") -> Envelope:
    return packet("mephisto_bound_live_update", agent_id, {"update_id": name})


def asks(request_id: str) -> Envelope:
    return packet("register_agent", request_id, {"request_id": request_id})


def post(box: Mailbox, *packets: Envelope, limit: int = 1_000, size: int = 1 << 20) -> list[Effect]:
    out: list[Effect] = []
    for one in packets:
        box.add(one, packets=limit, size=size, out=out)
    return out


def connect(box: Mailbox | Outbox, name: str = "p", *, pings: bool = True) -> list[Effect]:
    out: list[Effect] = []
    box.connect(name, pings=pings, out=out)
    return out


def pong(box: Mailbox | Outbox, token: str) -> list[Effect]:
    out: list[Effect] = []
    box.ponged(token, out)
    return out


def ping(box: Mailbox | Outbox) -> list[Effect]:
    out: list[Effect] = []
    box.ping(out)
    return out


def down(name: str, *packets: Envelope) -> list[Effect]:
    return [Send(name, one) for one in packets]


def key_of(box: Mailbox | Outbox) -> Hashable:
    return box.key(Renamer(), Renamer())


# The flow to one peer (S3) ----------------------------------------------------------


def test_mailbox_keeps_the_order_when_there_is_no_socket() -> None:
    box = Mailbox()
    assert post(box, news("a"), said("in task"), news("b")) == []
    assert connect(box) == down("p", news("a"), said("in task"), news("b"))
    assert len(box) == 3


@pytest.mark.parametrize("pings", [True, False])
def test_mailbox_sends_again_only_what_was_not_proven_when_the_socket_changes(pings: bool) -> None:
    """docs/protocol.md section 4: an update to an agent whose socket has closed was dropped."""
    box = Mailbox()
    connect(box, "p", pings=pings)
    post(box, news("a"), news("b"))
    assert ping(box) == ([Ping("p", "2")] if pings else [])
    post(box, news("c"))
    pong(box, "2")
    box.disconnect()
    post(box, news("d"))
    again = [news("c"), news("d")] if pings else [news("d")]
    assert connect(box, "q", pings=pings) == down("q", *again)


def test_mailbox_proves_nothing_when_a_pong_has_a_foreign_token() -> None:
    box = Mailbox()
    connect(box)
    post(box, news("a"))
    assert pong(box, "1") == []  # nothing was asked
    ping(box)
    for token in ("2", "x", ""):
        pong(box, token)
    assert len(box) == 1
    pong(box, "1")
    assert (len(box), box.size) == (0, 0)


def test_mailbox_asks_once_when_a_ping_is_on_its_way() -> None:
    box = Mailbox()
    connect(box)
    assert ping(box) == []
    post(box, news("a"))
    assert ping(box) == [Ping("p", "1")]
    assert ping(box) == []


def test_mailbox_pings_by_itself_when_a_batch_is_full() -> None:
    box = Mailbox()
    connect(box)
    out = post(box, *(news(str(n)) for n in range(2 * PING_EVERY)))
    assert [e for e in out if isinstance(e, Ping)] == [Ping("p", str(PING_EVERY))]
    assert pong(box, str(PING_EVERY)) == [Ping("p", str(2 * PING_EVERY))]
    assert len(box) == PING_EVERY
    assert pong(box, str(2 * PING_EVERY)) == []
    assert len(box) == 0


def test_mailbox_forgets_a_ping_when_its_socket_is_gone() -> None:
    box = Mailbox()
    connect(box)
    post(box, news("a"))
    ping(box)
    box.disconnect()
    assert pong(box, "1") == []
    assert len(box) == 1


# The mailbox's own ----------------------------------------------------------


def test_mailbox_puts_the_status_first_when_none_waits() -> None:
    """docs/protocol.md section 4: not the current status first and old ones after it."""
    box = Mailbox()
    post(box, news("a"))
    box.welcome(said("in task"))
    assert connect(box) == down("p", said("in task"), news("a"))
    ping(box)
    pong(box, "1")
    assert (len(box), box.size) == (0, 0)


def test_mailbox_puts_the_status_in_the_place_of_the_newest_when_some_wait() -> None:
    box = Mailbox()
    post(box, said("waiting"), news("a"), said("in task"), news("b"))
    box.welcome(said("completed"))
    assert connect(box) == down("p", news("a"), said("completed"), news("b"))


def test_mailbox_has_only_the_status_when_nothing_waits() -> None:
    box = Mailbox()
    box.welcome(said("none"))
    assert connect(box) == down("p", said("none"))
    assert post(box, news("a")) == down("p", news("a"))
    ping(box)
    assert [entry.offset for entry in box.sent] == [1, 2]


def test_mailbox_welcomes_with_one_status_when_the_last_welcome_was_not_proven() -> None:
    box = Mailbox()
    for value in ("waiting", "in task"):
        box.welcome(said(value))
        assert connect(box) == down("p", said(value))


@pytest.mark.parametrize("connected", [True, False])
def test_mailbox_drops_the_oldest_when_it_has_too_many_packets(connected: bool) -> None:
    box = Mailbox()
    if connected:
        connect(box)
    post(box, news("a"), news("b"), limit=2)
    out: list[Effect] = []
    assert box.add(news("c"), packets=2, size=1 << 20, out=out) == 1
    box.disconnect()
    assert connect(box, "q") == down("q", news("b"), news("c"))


def test_mailbox_drops_the_oldest_when_it_is_too_heavy_but_never_the_newest() -> None:
    box = Mailbox()
    heavy = news("x" * 1_000)
    for _ in range(3):
        post(box, heavy, size=weight(heavy))
        assert (len(box), box.size) == (1, weight(heavy))
    post(box, news("y" * 2_000), size=weight(heavy))
    assert connect(box) == down("p", news("y" * 2_000))


def test_mailbox_has_nothing_when_it_was_cleared() -> None:
    box = Mailbox()
    connect(box)
    post(box, news("a"))
    box.clear()
    assert (len(box), box.size) == (0, 0)


# The outbox (S2, S8) ----------------------------------------------------------


def filled(*, pings: bool = True) -> Outbox:
    box = Outbox()
    connect(box, "core", pings=pings)
    out: list[Effect] = []
    box.add(asks("r1"), out)
    box.add(live("u1"), out)
    box.add(unit(), out, S1)
    box.add(live("u2"), out)
    assert out == down("core", asks("r1"), live("u1"), unit(), live("u2"))
    return box


def test_outbox_sends_all_again_but_registrations_when_the_core_comes_back() -> None:
    """docs/protocol.md section 3: two in flight take two units."""
    box = filled()
    box.disconnect()
    assert connect(box, "core") == down("core", live("u1"), unit(), live("u2"))


def test_outbox_sends_again_only_unhandled_work_when_a_pong_proved_the_rest() -> None:
    box = filled()
    ping(box)
    pong(box, "4")
    box.disconnect()
    assert connect(box, "core") == down("core", unit())


def test_outbox_sends_again_only_unhandled_work_when_the_transport_has_no_pings() -> None:
    box = filled(pings=False)
    box.disconnect()
    assert connect(box, "core", pings=False) == down("core", unit())
    assert ping(box) == []


def test_outbox_sends_registrations_when_they_waited_for_the_core() -> None:
    box = Outbox()
    box.add(asks("r1"), [])
    assert box.unsent() == {"r1"}
    assert connect(box, "core") == down("core", asks("r1"))
    assert box.unsent() == set()


def test_outbox_takes_a_registration_back_only_when_it_was_not_sent() -> None:
    box = Outbox()
    box.add(asks("r1"), [])
    box.add(unit("r1"), [], ("agent", "r1"))
    assert box.withdraw("r1") is True
    assert box.withdraw("r1") is False
    assert box.size == weight(unit("r1"))
    connect(box, "core")
    box.add(asks("r2"), [])
    assert box.withdraw("r2") is False


def test_outbox_settles_work_when_the_core_showed_that_it_handled_it() -> None:
    box = filled()
    box.handled(S1)
    box.handled(S1)
    box.disconnect()
    assert connect(box, "core") == down("core", live("u1"), live("u2"))


@pytest.mark.parametrize("pings", [True, False])
def test_outbox_settles_work_by_a_pong_when_nothing_more_will_show_it(pings: bool) -> None:
    box = filled(pings=pings)
    box.proof_is_enough(S1)
    box.proof_is_enough(("agent", "7"))
    assert [entry.offset for entry in box.sent] == ([1, 2, 3, 4] if pings else [])
    ping(box)
    pong(box, "4")
    assert (len(box), box.size, box.unhandled) == (0, 0, {})


def test_outbox_settles_work_by_a_pong_when_it_has_not_been_sent_yet() -> None:
    box = Outbox()
    box.add(unit(), [], S1)
    box.proof_is_enough(S1)
    connect(box, "core")
    ping(box)
    pong(box, "1")
    assert box.size == 0


def test_outbox_forgets_all_of_an_agent_when_its_id_is_given_away() -> None:
    box = filled()
    box.add(live("u3", "2"), [])
    box.add(asks("1"), [])
    error = packet("log_error", "1", {"text": "oops"})
    box.add(error, [])
    box.forget("1")
    kept = (asks("r1"), live("u3", "2"), asks("1"), error)
    assert box.size == sum(map(weight, kept))
    box.disconnect()
    assert connect(box, "core") == down("core", live("u3", "2"), error)


def test_outbox_has_room_up_to_its_bound() -> None:
    box = Outbox()
    room = weight(unit()) + weight(live("u"))
    assert box.has_room(unit(), room)
    box.add(unit(), [], S1)
    assert box.has_room(live("u"), room)
    assert not box.has_room(live("u"), room - 1)


@given(st.text(max_size=50), st.floats() | st.none())
def test_weight_is_no_less_than_the_wire_when_a_packet_is_sent(
    subject: str, stamp: float | None
) -> None:
    kind = "mephisto_bound_live_update"
    wire = Envelope(kind, subject, packet(kind, "", {"a": 1}).data, stamp, stamp, stamp, stamp)
    assert len(encode_envelope(wire)) <= weight(wire)


# copy() and key() ----------------------------------------------------------


@pytest.mark.parametrize("make", [filled, Outbox], ids=["filled", "empty"])
def test_outbox_copy_is_independent_and_like_deepcopy(make: Callable[[], Outbox]) -> None:
    box = make()
    other, deep = box.copy(), copy.deepcopy(box)
    assert key_of(box) == key_of(other) == key_of(deep)
    before = key_of(box)
    for one in (other, deep):
        one.add(unit("9"), [], ("agent", "9"))
        one.handled(S1)
        one.disconnect()
        connect(one, "x")
        ping(one)
    assert key_of(other) == key_of(deep) != before
    assert key_of(box) == before


def test_mailbox_copy_is_independent_and_like_deepcopy() -> None:
    box = Mailbox()
    post(box, said("waiting"), news("a"))
    connect(box)
    ping(box)
    other, deep = box.copy(), copy.deepcopy(box)
    assert key_of(box) == key_of(other) == key_of(deep)
    before = key_of(box)
    for one in (other, deep):
        pong(one, "2")
        post(one, news("b"))
    assert key_of(other) == key_of(deep) != before
    assert key_of(box) == before


def test_key_is_relative_when_the_same_waits_at_other_offsets() -> None:
    one, two = Mailbox(), Mailbox()
    connect(two, pings=False)
    post(two, news("z"))
    two.disconnect()
    for box in (one, two):
        connect(box)
        post(box, news("a"))
        ping(box)
    assert key_of(one) == key_of(two)


def test_key_leaves_request_ids_out_when_a_question_waits() -> None:
    one, two = Outbox(), Outbox()
    one.add(asks("r1"), [])
    two.add(asks("q8"), [])
    assert key_of(one) == key_of(two)


def test_entry_is_as_heavy_as_its_packet() -> None:
    assert Entry(1, unit()).size == weight(unit())
