"""docs/bring-your-own-io.md quotes what runs, and names all there is; the hand-made driver works."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any, get_args

import pytest
from by_hand import ByHand

from statecore import (
    Closed,
    Effect,
    Event,
    Frame,
    LocalProtocolError,
    Opened,
    Ponged,
    Principal,
    Reply,
    Request,
    Route,
    RouterCore,
    RouterOptions,
)

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "bring-your-own-io.md").read_text(encoding="utf-8")
QUOTES = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
EMBEDDING = ("by_hand.py", "fastapi_io.py", "fastapi_router.py")
SOURCES = {name: (DOCS / "examples" / name).read_text(encoding="utf-8") for name in EMBEDDING}


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: quote.strip().splitlines()[0][:50])
def test_quote_is_in_an_example(quote: str) -> None:
    assert any(quote in source for source in SOURCES.values()), "stale: quote the file as it is"


def test_page_quotes_enough_to_be_read_alone() -> None:
    assert len(QUOTES) >= 10


@pytest.mark.parametrize("record", [*get_args(Event), *get_args(Effect)], ids=lambda r: r.__name__)
def test_page_explains_every_event_and_effect_with_its_fields(record: Any) -> None:
    fields = ", ".join(record.__struct_fields__)
    assert f"| `{record.__name__}({fields})` |" in PAGE


def test_page_links_to_what_exists() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (DOCS / link).exists(), link


def test_routes_of_the_page_are_the_routes() -> None:
    for route in Route:
        assert route.value in PAGE


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_example_is_short_and_takes_no_adapter_but_the_driver(name: str) -> None:
    source = SOURCES[name]
    assert len(source.splitlines()) <= 200
    taken = set(re.findall(r"statecore\.adapters\.(\w+)", source))
    assert taken <= {"driver", "principal"}


# by_hand.py --------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A socket that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def send(self, text: str) -> None:
        packet = json.loads(text)
        assert isinstance(packet["router_outgoing_timestamp"], float)
        self.told.append((packet["packet_type"], packet["data"]))

    def ping(self, token: str) -> None:
        self.told.append(("ping", token))

    def close(self, code: int, reason: str) -> None:
        self.told.append(("close", code))


def packet(packet_type: str, subject_id: str, data: object = None) -> str:
    return json.dumps({"packet_type": packet_type, "subject_id": subject_id, "data": data})


def opened(hand: ByHand, name: str, **principal: Any) -> Recorder:
    hand.sockets[name] = socket = Recorder()
    hand.receive(Opened(name, Principal(**principal), pings=True))
    return socket


def register(hand: ByHand) -> list[Reply]:
    replies: list[Reply] = []
    hand.waiting["r1"] = replies.append
    provider = {"worker_name": "ada", "agent_registration_id": "hit-ada"}
    body = json.dumps({"provider_data": provider}).encode()
    hand.receive(Request("r1", Route.REQUEST_AGENT, body))
    return replies


def test_by_hand_goes_through_a_registration_and_a_chat() -> None:
    hand = ByHand(RouterCore(), Clock())
    core = opened(hand, "core", loopback=True)
    hand.receive(Frame("core", packet("alive", "mephisto", {})))
    replies = register(hand)
    assert [kind for kind, _ in core.told] == ["register_agent"]
    details = {"request_id": "r1", "agent_id": "1", "failure_reason": None}
    hand.receive(Frame("core", packet("agent_details", "channel", details)))
    assert [reply.status_code for reply in replies] == [200]
    assert hand.waiting == {}
    page = opened(hand, "page")
    hand.receive(Frame("page", packet("alive", "1")))
    hand.receive(Frame("core", packet("update_status", "1", {"status": "in task"})))
    hand.receive(Frame("page", packet("mephisto_bound_live_update", "1", {"a": 1})))
    hand.receive(Frame("core", packet("request_statuses", "mephisto", {})))
    assert page.told == [
        ("update_status", {"status": "none"}),
        ("update_status", {"status": "in task"}),
    ]
    assert core.told[1:] == [
        ("mephisto_bound_live_update", {"a": 1}),
        ("ping", "2"),
        ("return_statuses", {"1": "in task"}),
    ]
    hand.receive(Ponged("core", "2"))
    hand.receive(Frame("page", b"\x00"))
    assert page.told[-1] == ("close", 1003)
    assert hand.counters["refused", "binary-frame"] == 1


def test_by_hand_fires_timers_when_they_are_due_and_not_when_they_were_cancelled() -> None:
    clock = Clock()
    hand = ByHand(RouterCore(RouterOptions(grace=1.0, heartbeat_limit=300.0)), clock)
    opened(hand, "page")
    hand.receive(Frame("page", packet("alive", "1")))
    hand.receive(Closed("page"))
    del hand.sockets["page"]
    clock.now += 0.9
    assert hand.tick() == pytest.approx(0.1)
    opened(hand, "page-2")
    hand.receive(Frame("page-2", packet("alive", "1")))
    clock.now += 5.0
    assert hand.tick() > 1.0
    agent = hand.core.agent("1")
    assert agent is not None
    assert agent.link == "up"
    hand.receive(Closed("page-2"))
    clock.now += 1.0
    hand.tick()
    assert agent.link == "dead"


def test_by_hand_answers_a_post_that_waited_to_its_limit() -> None:
    clock = Clock()
    hand = ByHand(RouterCore(RouterOptions(request_wait=2.0)), clock)
    replies = register(hand)
    assert hand.tick() == pytest.approx(2.0)
    clock.now += 2.0
    hand.tick()
    assert [reply.status_code for reply in replies] == [200]


def test_by_hand_takes_events_from_many_threads() -> None:
    hand = ByHand(RouterCore(), Clock())
    core = opened(hand, "core", loopback=True)
    hand.receive(Frame("core", packet("alive", "mephisto", {})))
    start = threading.Barrier(8)

    def work(number: int) -> None:
        opened(hand, f"page-{number}")
        hand.receive(Frame(f"page-{number}", packet("alive", str(number))))
        hand.receive(Frame("core", packet("update_status", str(number), {"status": "in task"})))
        start.wait()
        for count in range(100):
            update = packet("mephisto_bound_live_update", str(number), {"n": count})
            hand.receive(Frame(f"page-{number}", update))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    updates = [data for kind, data in core.told if kind == "mephisto_bound_live_update"]
    assert len(updates) == 800


def test_by_hand_is_usable_after_a_call_that_was_wrong() -> None:
    hand = ByHand(RouterCore(), Clock())
    before = hand.core.key()
    with pytest.raises(LocalProtocolError, match="not open"):
        hand.receive(Frame("nobody", "{}"))
    assert hand.core.key() == before
    opened(hand, "page")
    with pytest.raises(LocalProtocolError, match="open already"):
        hand.receive(Opened("page"))
    hand.receive(Frame("page", packet("alive", "1")))
