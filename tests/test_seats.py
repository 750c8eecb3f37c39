from __future__ import annotations

import copy
from collections.abc import Hashable

import msgspec
import pytest
from router_steps import packet

from statecore.effects import Effect
from statecore.lifecycle import LinkTrigger, Trigger
from statecore.router_state import Renamer
from statecore.seats import Held, Seat, Seats
from statecore.status import LinkState, State, Status


def key_of(seats: Seats) -> Hashable:
    return seats.key(Renamer(), Renamer())


def known(*agent_ids: str) -> Seats:
    seats = Seats()
    for agent_id in agent_ids:
        seats.add(Seat(agent_id, f"of {agent_id}"))
    return seats


def ended(agent_id: str, trigger: Trigger = Trigger.STATUS_TIMEOUT) -> Seat:
    seat = Seat(agent_id, f"of {agent_id}")
    seat.fire(trigger)
    return seat


# One seat ----------------------------------------------------------


def test_seat_is_connecting_without_a_link_when_it_is_new() -> None:
    seat = Seat("1")
    assert (seat.state, seat.link, seat.outcome) == (State.CONNECTING, LinkState.ABSENT, "")
    assert not seat.is_final


def test_seat_moves_by_the_table_only() -> None:
    seat = Seat("1")
    assert seat.fire(Trigger.DETAILS_AGENT) is not None
    assert seat.fire_link(LinkTrigger.OPENED) is not None
    assert (seat.state, seat.link) == (State.WAITING, LinkState.UP)
    assert seat.fire(Trigger.STATUS_ONBOARDING) is None


@pytest.mark.parametrize(
    ("trigger", "shown"),
    [
        (Trigger.STATUS_IN_TASK, "none"),  # the status that was pushed counts while it lives
        (Trigger.STATUS_PARTNER_DISCONNECT, "partner disconnect"),
        (Trigger.SUBMIT_UNIT, "completed"),
        (Trigger.LINK_DEAD, "disconnect"),
        (Trigger.DETAILS_REFUSED, "none"),  # a reason is no status
    ],
)
def test_page_is_shown_the_last_push_or_how_it_ended(trigger: Trigger, shown: str) -> None:
    seat = Seat("1")
    seat.fire(trigger, "no place")
    assert seat.shown == shown


def test_report_is_the_cores_last_word_or_that_the_link_ended_it() -> None:
    seat = Seat("1", pushed=Status.IN_TASK)
    assert seat.reported == "in task"
    seat.fire(Trigger.SUBMIT_UNIT)
    assert seat.reported == "in task"
    seat.link_ended = True
    assert seat.reported == "disconnect"


@pytest.mark.parametrize("pushed", list(Status))
def test_core_knows_the_end_only_when_it_pushed_a_final_status(pushed: Status) -> None:
    live = {Status.NONE, Status.ACCEPTED, Status.ONBOARDING, Status.WAITING, Status.IN_TASK}
    assert Seat("1", pushed=pushed).core_knows_the_end is (pushed not in live)


# All seats ----------------------------------------------------------


def test_seat_is_found_by_id_alias_and_registration() -> None:
    seats = known("onboarding_1", "2")
    seat = seats.find("onboarding_1")
    assert seat is not None
    seats.rename(seat, "1")
    seats.add(seat)
    assert seats.find("1") is seats.find("onboarding_1") is seats.current("1") is seat
    assert seats.current("onboarding_1") is None
    assert seats.of_registration("of onboarding_1") is seat
    assert (seats.is_alias("onboarding_1"), seats.is_alias("1")) == (True, False)
    assert [s.agent_id for s in seats] == ["2", "1"]
    assert len(seats) == 2


def test_nobody_is_found_when_the_name_is_empty_or_strange() -> None:
    seats = known("1")
    assert seats.find("") is seats.find("9") is seats.of_registration("") is None


def test_alias_leaves_its_old_owner_when_it_becomes_an_id_again() -> None:
    seats = known("onboarding_1")
    first = seats.find("onboarding_1")
    assert first is not None
    seats.rename(first, "1")
    again = Seat("onboarding_1", "b")
    seats.add(again)
    assert seats.find("onboarding_1") is again
    assert first.former == ()
    seats.rename(again, "2")
    seats.add(first)
    seats.drop(first)
    assert seats.find("onboarding_1") is again


def test_seat_has_its_old_name_back_when_it_is_renamed_to_its_alias() -> None:
    seats = known("1")
    seat = seats.find("1")
    assert seat is not None
    seats.rename(seat, "2")
    seats.rename(seat, "1")
    assert seat.former == ("2",)
    assert seats.find("2") is seats.current("1") is seat


def test_unknown_seat_is_known_under_its_new_name_when_it_is_renamed() -> None:
    seats = known("onboarding_1")
    seat = seats.find("onboarding_1")
    assert seat is not None
    seats.unknown["onboarding_1"] = None
    assert seats.is_unknown(seat)
    seats.rename(seat, "1")
    assert not seats.is_unknown(seat)
    assert seats.unknown == {}


def test_nothing_is_left_when_a_seat_is_dropped() -> None:
    seats = known("onboarding_1")
    seat = seats.find("onboarding_1")
    assert seat is not None
    seats.rename(seat, "1")
    seats.unknown["1"] = None
    seat.fire(Trigger.STATUS_TIMEOUT)
    seats.finished(seat, 10)
    seats.drop(seat)
    assert key_of(seats) == key_of(Seats())
    assert seats.of_registration("of onboarding_1") is None


def test_registration_stays_with_its_new_seat_when_the_old_one_is_dropped() -> None:
    seats = known("1")
    old = seats.find("1")
    assert old is not None
    new = Seat("2", "of 1")
    seats.add(new)
    seats.drop(old)
    assert seats.of_registration("of 1") is new


# Ends that are remembered (S8, S10) ----------------------------------------------------------


def test_oldest_ends_are_given_back_when_there_are_too_many() -> None:
    seats = Seats()
    for agent_id in ("1", "2", "3"):
        seat = ended(agent_id)
        seats.add(seat)
        over = seats.finished(seat, 2)
    assert [s.agent_id for s in over] == ["1"]


def test_older_generation_goes_first_when_there_are_too_many_ends() -> None:
    seats = Seats()
    for agent_id in ("1", "2"):
        seat = ended(agent_id)
        seats.add(seat)
        seats.finished(seat, 9)
    seats.retire()
    again = seats.find("1")
    assert again is not None
    assert [s.agent_id for s in seats.finished(again, 1)] == ["2"]


def test_seat_without_a_place_is_not_remembered_when_it_ends() -> None:
    seats = known("1")
    assert seats.finished(ended(""), 0) == []
    assert seats.finished(ended("1"), 0) == []  # an old agent whose id is another's now


def test_ends_are_kept_for_one_period_at_least_and_two_at_most() -> None:
    seats = Seats()
    for agent_id in ("1", "2"):
        seats.add(ended(agent_id))
    one, two = seats
    seats.finished(one, 9)
    assert seats.retire() == []
    seats.finished(two, 9)
    assert seats.retire() == [one]
    assert seats.retire() == [two]


def test_end_stays_when_its_socket_is_open() -> None:
    seats = Seats()
    seat = ended("1")
    seats.add(seat)
    seats.finished(seat, 9)
    seat.connection = "p"
    assert [seats.retire() for _ in range(3)] == [[], [], []]
    seat.connection = None
    assert seats.retire() == [seat]


# copy() and key() ----------------------------------------------------------


def full() -> Seats:
    seats = known("onboarding_1", "2", "3")
    first = seats.find("onboarding_1")
    assert first is not None
    seats.rename(first, "1")
    first.held.append(Held(packet("mephisto_bound_live_update", "1"), 1))
    first.answer = msgspec.Raw(b"{}")
    out: list[Effect] = []
    first.mailbox.add(packet("update_status", "1"), packets=9, size=9_999, out=out)
    first.connection = "p"
    seats.add(ended("4"))
    four = seats.find("4")
    assert four is not None
    seats.finished(four, 9)
    seats.unknown["3"] = None
    return seats


def test_copy_is_independent_and_like_deepcopy() -> None:
    seats = full()
    other, deep = seats.copy(), copy.deepcopy(seats)
    before = key_of(seats)
    assert before == key_of(other) == key_of(deep)
    for one in (other, deep):
        seat = one.find("1")
        assert seat is not None
        seat.held.clear()
        seat.mailbox.clear()
        seat.fire(Trigger.STATUS_IN_TASK)
        one.rename(seat, "5")
        one.retire()
        del one.unknown["3"]
    assert key_of(other) == key_of(deep) != before
    assert key_of(seats) == before


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "x"},
        {"pushed": Status.WAITING},
        {"submitted": True},
        {"link_ended": True},
        {"told": True},
        {"connection": "p"},
        {"named_by": "2"},
        {"heard": True},
        {"silent": 1},
        {"polls": 1},
        {"answer": msgspec.Raw(b"{}")},
        {"registration": "other"},
        {"held": [Held(packet("mephisto_bound_live_update", "1"))]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_key_differs_when_anything_that_decides_differs(change: dict[str, object]) -> None:
    one, two = Seats(), Seats()
    one.add(Seat("1"))
    seat = Seat("1", **change)  # type: ignore[arg-type]
    two.add(seat)
    assert key_of(one) != key_of(two)
