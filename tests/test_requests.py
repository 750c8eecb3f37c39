from __future__ import annotations

import copy
from collections.abc import Hashable

import pytest
from router_steps import json_of

from statecore.effects import Reply
from statecore.lifecycle import Trigger
from statecore.requests import Pending, Requests, failure
from statecore.router_state import Renamer
from statecore.status import State


def key_of(requests: Requests) -> Hashable:
    return requests.key(Renamer())


def asked(*posts: str) -> tuple[Requests, Pending]:
    requests = Requests()
    pending = Pending(posts[0], "register_agent", "a-w")
    requests.ask(pending)
    for post in posts[1:]:
        requests.join(pending, post)
    return requests, pending


def test_question_is_found_by_id_by_what_it_asks_and_by_each_post() -> None:
    requests, pending = asked("r1", "r2")
    assert requests.find("r1") is requests.in_flight("register_agent", "a-w") is pending
    assert requests.of_post("r1") is requests.of_post("r2") is pending
    assert pending.waiting == ["r1", "r2"]
    assert list(requests) == [pending]
    assert len(requests) == 2


def test_nothing_is_found_when_nobody_asked() -> None:
    requests, _ = asked("r1", "r2")
    assert requests.find("r2") is None  # it joined: on the wire there is one question
    assert requests.in_flight("submit_onboarding", "a-w") is None
    assert requests.of_post("r3") is None


def test_orphan_stays_and_counts_when_its_last_post_left() -> None:
    requests, pending = asked("r1")
    requests.leave(pending, "r1")
    assert requests.of_post("r1") is None
    assert requests.in_flight("register_agent", "a-w") is pending
    assert len(requests) == 1
    requests.close(pending)
    assert (len(requests), key_of(requests)) == (0, key_of(Requests()))


def test_nothing_is_left_when_a_question_is_closed() -> None:
    requests, pending = asked("r1", "r2")
    requests.close(pending)
    assert key_of(requests) == key_of(Requests())
    assert requests.of_post("r2") is None
    assert requests.in_flight("register_agent", "a-w") is None


def test_copy_is_independent_and_like_deepcopy() -> None:
    requests, _ = asked("r1", "r2")
    other, deep = requests.copy(), copy.deepcopy(requests)
    before = key_of(requests)
    assert before == key_of(other) == key_of(deep)
    for one in (other, deep):
        pending = one.find("r1")
        assert pending is not None
        one.leave(pending, "r1")
        pending.lost = True
        pending.newborn.fire(Trigger.REQUEST_EXPIRED)
        one.ask(Pending("r3", "submit_onboarding", "onboarding_1"))
    assert key_of(other) == key_of(deep) != before
    assert key_of(requests) == before


@pytest.mark.parametrize("change", ["lost", "newborn", "waiting"])
def test_key_differs_when_anything_that_decides_differs(change: str) -> None:
    requests, pending = asked("r1", "r2")
    before = key_of(requests)
    if change == "lost":
        pending.lost = True
    elif change == "newborn":
        pending.newborn.fire(Trigger.REQUEST_EXPIRED)
        assert pending.newborn.state == State.FAILED
    else:
        requests.leave(pending, "r2")
    assert key_of(requests) != before


def test_failure_is_200_with_null_ids_and_the_reason() -> None:
    """docs/protocol.md section 2: any error status leaves the npm page loading for ever."""
    reply = failure("r1", "away")
    assert isinstance(reply, Reply)
    assert not isinstance(reply.body, bytes)
    assert (reply.request_id, reply.status_code, reply.retry_after) == ("r1", 200, None)
    assert (reply.body.packet_type, reply.body.subject_id) == ("agent_details", "mephisto")
    assert json_of(reply.body) == {
        "request_id": "r1",
        "worker_id": None,
        "agent_id": None,
        "init_task_data": None,
        "failure_reason": "away",
    }
