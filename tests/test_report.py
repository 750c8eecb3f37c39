from __future__ import annotations

import msgspec
from router_steps import (
    AT,
    POLL,
    alive_core,
    details,
    frame,
    onboarding,
    page,
    registration,
    reported,
    router,
    seat,
    seated,
    send,
    sent,
    status,
    submission,
    timer,
)

from statecore.effects import Ping, Send
from statecore.envelope import encode_envelope
from statecore.events import Closed, Frame, Ponged

LIMIT = 1 << 20


def test_report_is_empty_when_there_are_no_agents() -> None:
    """docs/protocol.md section 1: return_statuses, subject "mephisto", {agent id: status}."""
    assert router().receive(POLL) == (send("core", "return_statuses", "mephisto", {}, AT),)


def test_report_has_the_time_of_the_poll_that_it_answers() -> None:
    payload = '{"packet_type":"request_statuses","subject_id":"mephisto","server_timestamp":7.5}'
    core = router()
    (answer,) = core.receive(Frame("core", payload, 321.5))
    assert isinstance(answer, Send)
    assert answer.packet.client_timestamp == 7.5
    assert answer.packet.router_incoming_timestamp == 321.5
    assert core.state.core_heard_at == 321.5


def test_report_says_what_the_core_pushed_and_none_before_that() -> None:
    core = router()
    seated(core, "1")
    seated(core, "2", "in task", who="b-w")
    core.receive(submission("s1", "2"))
    assert reported(core) == {"1": "none", "2": "in task"}


def test_report_names_current_ids_only_when_an_agent_was_renamed() -> None:
    core = router()
    seated(core, "onboarding_1", "onboarding")
    core.receive(onboarding("o1"))
    core.receive(details("o1", "1"))
    assert reported(core) == {"1": "none"}
    core.receive(status("onboarding_1", "waiting"))
    assert reported(core) == {"1": "none"}


def test_report_says_disconnect_when_the_link_ended_the_agent_until_the_core_says_so_itself() -> (
    None
):
    """docs/protocol.md section 3: "disconnect" is believed and final."""
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("page"))
    core.receive(timer("grace", "1"))
    assert not seat(core).told
    for _ in range(2):
        assert reported(core) == {"1": "disconnect"}
        assert seat(core).told
    core.receive(status("1", "disconnect"))
    assert reported(core) == {}


def test_report_leaves_an_end_out_when_the_core_pushed_it() -> None:
    core = router()
    seated(core, "1", "completed")
    seated(core, "2", "in task", who="b-w")
    assert reported(core) == {"2": "in task"}


def test_report_has_all_ends_once_when_the_core_has_just_connected() -> None:
    """docs/protocol.md section 3: pushes are dropped while its socket is closed (S4)."""
    core = router()
    seated(core, "1", "partner disconnect")
    core.receive(Closed("core"))
    alive_core(core)
    assert reported(core) == {"1": "partner disconnect"}
    assert reported(core) == {}


def test_report_is_cut_into_packets_that_the_core_can_read() -> None:
    """docs/protocol.md section 3: it receives at most 1 MiB a message."""
    core = router()
    for number in range(2_000):
        core.state.seat_named("\x01" * 250 + str(number))  # six bytes each in JSON
    effects = core.receive(POLL)
    parts = [e.packet for e in effects if isinstance(e, Send)]
    assert len(parts) > 1
    assert all(len(encode_envelope(part)) < LIMIT for part in parts)
    assert sum(len(msgspec.json.decode(part.data)) for part in parts) == 2_000


def test_poll_asks_for_proof_of_what_was_sent() -> None:
    core = router()
    core.receive(registration("r1"))
    effects = core.receive(POLL)
    assert effects[0] == Ping("core", "1")
    core.receive(Ponged("core", "1"))
    assert core.receive(POLL)[0] != Ping("core", "1")
    assert core.state.outbox.size == 0


def test_new_agent_is_not_aged_when_the_core_has_named_it() -> None:
    core = router(held_polls=0)
    core.receive(status("1", "none"))
    for _ in range(3):
        assert reported(core) == {"1": "none"}
    page(core, "2")
    assert [kind for kind, _, _ in sent(core.receive(frame("page", "heartbeat", "2")), "page")] == [
        "heartbeat"
    ]
    assert "2" not in reported(core)


def test_report_never_takes_an_end_back_that_the_core_pushed_itself() -> None:
    """Upstream's core lets a disconnect overwrite even its own end."""
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("page"))
    core.receive(timer("grace", "1"))
    assert reported(core) == {"1": "disconnect"}
    core.receive(status("1", "timeout"))
    core.receive(Closed("core"))
    alive_core(core)
    assert reported(core) == {"1": "timeout"}


def test_disconnect_counts_as_told_only_while_the_connection_of_its_report_lives() -> None:
    core = router()
    seated(core, "1", "in task")
    page(core, "1")
    core.receive(Closed("page"))
    core.receive(timer("grace", "1"))
    core.receive(POLL)
    core.receive(Closed("core"))  # and the report, perhaps, with it
    core.receive(submission("s1"))
    assert (seat(core).state, seat(core).outcome) == ("completed", "completed")
    alive_core(core)
    assert reported(core) == {"1": "in task"}
    core.receive(status("1", "disconnect"))  # it had read the report after all
    assert seat(core).state == "disconnected"


def test_unknown_agent_has_its_two_polls_on_one_connection() -> None:
    """A report that went down with the connection was not left unanswered."""
    core = router(held_polls=2)
    page(core, "5")
    for _ in range(3):
        assert reported(core) == reported(core) == {"5": "none"}
        core.receive(Closed("core"))
        alive_core(core)
    assert core.agent("5") is not None
