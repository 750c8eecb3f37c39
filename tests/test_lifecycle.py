"""THE TABLE, exhaustively: every pair of state and trigger, and each rule of its theory by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import pytest

from statecore.errors import RemoteProtocolError
from statecore.lifecycle import (
    LIFECYCLE,
    LINK,
    PAGE_LIFECYCLE,
    STATUS_TRIGGERS,
    Action,
    LinkTrigger,
    PageTrigger,
    Trigger,
)
from statecore.machine import LifecycleMachine
from statecore.status import FINAL_STATES, LIVE_STATES, STATE_OF, LinkState, State, Status
from statecore.table import Lifecycle, Row

TABLES = (LIFECYCLE, LINK, PAGE_LIFECYCLE)
PAIRS = [(table, s, t) for table in TABLES for s, t in product(table.states, table.triggers)]
MACHINES = {table.name: LifecycleMachine(table) for table in TABLES}
T = Trigger


@dataclass(slots=True)
class Agent:
    state: str = "connecting"
    outcome: str = "as before"
    link: str = "absent"
    submitted: bool = False
    link_ended: bool = False
    told: bool = False


KINDS = [Agent(submitted=s, link_ended=e, told=t) for s, e, t in product((False, True), repeat=3)]


def fired(trigger: str, **before: object) -> tuple[str, str, str | None]:
    """The state, outcome and action after a trigger."""
    agent = replace(Agent(), **before)  # type: ignore[arg-type]
    row = MACHINES["agent"].fire(agent, trigger)
    return agent.state, agent.outcome, None if row is None else row.action


# Every pair --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "state", "trigger"), PAIRS, ids=lambda value: getattr(value, "name", str(value))
)
def test_the_machine_does_what_the_table_says(table: Lifecycle, state: str, trigger: str) -> None:
    for kind in KINDS:
        agent = replace(kind)
        setattr(agent, table.attribute, str(state))
        before = replace(agent)
        verdict = table.verdict(state, trigger)
        if verdict == "refused":
            with pytest.raises(RemoteProtocolError) as caught:
                MACHINES[table.name].fire(agent, trigger)
            assert table.refused[state, trigger] in str(caught.value)
            assert agent == before
            continue
        rows = table.rows_for(state, trigger)
        expected = next((r for r in rows if r.guard is None or r.guard(agent)), None)
        assert MACHINES[table.name].fire(agent, trigger) == expected
        if expected is not None:
            setattr(before, table.attribute, str(expected.dest or state))
            before.outcome = expected.outcome or before.outcome
        assert agent == before
        assert (verdict == "ignored") == (not rows)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_machine_has_the_edges_of_the_table_and_no_other(table: Lifecycle) -> None:
    machine = MACHINES[table.name].machine
    built = [
        (source, trigger, transition.dest, len(transition.conditions))
        for trigger, event in machine.events.items()
        for source, transitions in event.transitions.items()
        for transition in transitions
    ]
    listed = [
        (str(r.source), str(r.trigger), r.dest and str(r.dest), int(r.guard is not None))
        for r in table.rows
    ]
    assert sorted(built, key=str) == sorted(listed, key=str)
    assert list(machine.states) == [str(state) for state in table.states]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_reason_is_a_sentence_for_people(table: Lifecycle) -> None:
    for reason in [*table.ignored.values(), *table.refused.values()]:
        assert len(reason) > 10
        assert reason == reason.strip(" .")


def test_the_tables_have_their_sizes() -> None:
    """A change here is a change of the protocol: look at it twice."""
    assert [(len(t.rows), len(t.ignored), len(t.refused)) for t in TABLES] == [
        (110, 55, 3),
        (9, 11, 0),
        (114, 58, 3),
    ]


# The statuses ------------------------------------------------------------------------------------


def test_every_status_that_a_core_pushes_has_its_trigger() -> None:
    assert {str(status): str(trigger) for status, trigger in STATUS_TRIGGERS.items()} == {
        "none": "status_none",
        "accepted": "status_accepted",
        "onboarding": "status_onboarding",
        "waiting": "status_waiting",
        "in task": "status_in_task",
        "completed": "status_completed",
        "disconnect": "status_disconnect",
        "timeout": "status_timeout",
        "partner disconnect": "status_partner_disconnect",
        "expired": "status_expired",
        "returned": "status_returned",
        "approved": "status_approved",
        "soft_rejected": "status_soft_rejected",
        "rejected": "status_rejected",
    }
    assert set(STATUS_TRIGGERS) == set(Status) - {Status.MEPHISTO_DISCONNECT}


MOVING = [s for s in STATUS_TRIGGERS if s not in (Status.NONE, Status.ACCEPTED)]


@pytest.mark.parametrize(("state", "status"), list(product(sorted(LIVE_STATES), MOVING)))
def test_every_status_moves_every_live_state_to_the_state_it_means(
    state: State, status: Status
) -> None:
    """Statuses are coalesced and may skip steps; only a late "onboarding" finds it further."""
    after = fired(STATUS_TRIGGERS[status], state=str(state))
    if status is Status.ONBOARDING and state in (State.WAITING, State.IN_TASK):
        assert after == (state, "as before", None)
    else:
        assert after == (STATE_OF[status], status, None)


@pytest.mark.parametrize("state", State)
def test_none_and_accepted_move_nothing(state: State) -> None:
    assert fired(T.STATUS_NONE, state=str(state)) == (state, "as before", None)
    assert fired(T.STATUS_ACCEPTED, state=str(state)) == (state, "as before", None)


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
@pytest.mark.parametrize("trigger", [T.STATUS_ONBOARDING, T.STATUS_WAITING, T.STATUS_IN_TASK])
def test_a_late_push_brings_nobody_back_to_life(state: State, trigger: Trigger) -> None:
    assert fired(trigger, state=str(state)) == (state, "as before", None)


# The answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "moves"),
    [
        (T.DETAILS_ONBOARDING, {"connecting": "onboarding"}),
        (T.DETAILS_AGENT, {"connecting": "waiting", "onboarding": "waiting"}),
        (
            T.DETAILS_REFUSED,
            {"connecting": "failed", "onboarding": "failed", "waiting": "failed"},
        ),
        (T.REQUEST_EXPIRED, {"connecting": "failed"}),
    ],
)
def test_an_answer_moves_only_who_has_no_task_yet(trigger: str, moves: dict[str, str]) -> None:
    after = {str(state): fired(trigger, state=str(state))[0] for state in State}
    assert after == {str(state): moves.get(state, str(state)) for state in State}


def test_a_refusal_keeps_its_reason_as_the_outcome() -> None:
    agent = Agent()
    MACHINES["agent"].fire(agent, T.DETAILS_REFUSED, "no units available")
    assert (agent.state, agent.outcome) == ("failed", "no units available")


# The link ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_a_dead_link_ends_who_is_alive_and_nobody_else(state: State) -> None:
    expected = (
        ("disconnected", "disconnect", None) if state in LIVE_STATES else (state, "as before", None)
    )
    assert fired(T.LINK_DEAD, state=str(state)) == expected


def test_the_link_is_a_table_of_its_own() -> None:
    moves = {(str(r.source), str(r.trigger)): r.dest and str(r.dest) for r in LINK.rows}
    assert moves == {
        ("absent", "opened"): "up",
        ("up", "opened"): None,
        ("up", "closed"): "lost",
        ("up", "silent"): "dead",
        ("lost", "opened"): "up",
        ("lost", "grace_over"): "dead",
        ("dead", "opened"): "up",
        ("lost", "registered"): "absent",
        ("dead", "registered"): "absent",
    }
    assert dict(LINK.triggers) == {
        "opened": "page",
        "closed": "page",
        "grace_over": "timer",
        "silent": "timer",
        "registered": "core",
    }


@pytest.mark.parametrize("trigger", [LinkTrigger.GRACE_OVER, LinkTrigger.SILENT])
def test_an_agent_without_a_socket_is_never_missed(trigger: LinkTrigger) -> None:
    """S5, patience: a static page may sleep for an hour and come back."""
    agent = Agent(link=str(LinkState.ABSENT))
    assert MACHINES["link"].fire(agent, trigger) is None
    assert agent.link == "absent"


# Work --------------------------------------------------------------------------------------------

WORK = (T.SUBMIT_UNIT, T.SUBMIT_ONBOARDING, T.SUBMIT_METADATA)


@pytest.mark.parametrize(("state", "trigger"), list(product(State, WORK)))
def test_work_is_never_refused_for_the_state(state: State, trigger: Trigger) -> None:
    for kind in KINDS:
        action = fired(trigger, **{**_facts(kind), "state": str(state)})[2]
        repeat = trigger is T.SUBMIT_UNIT and kind.submitted and state is not State.CONNECTING
        assert action == (Action.ANSWER_ONLY if repeat else Action.FORWARD)


@pytest.mark.parametrize("state", State)
def test_a_first_submission_completes_who_may_work(state: State) -> None:
    after, outcome, _ = fired(T.SUBMIT_UNIT, state=str(state))
    if state in (State.CONNECTING, State.WAITING, State.IN_TASK):
        assert (after, outcome) == ("completed", "completed")
    else:
        assert (after, outcome) == (state, "as before")


def test_who_owes_a_submission_after_the_partner_left_may_pay_once() -> None:
    agent = Agent("completed", "partner disconnect")
    first = MACHINES["agent"].fire(agent, T.SUBMIT_UNIT)
    agent.submitted = True
    again = MACHINES["agent"].fire(agent, T.SUBMIT_UNIT)
    assert [row and row.action for row in (first, again)] == [Action.FORWARD, Action.ANSWER_ONLY]
    assert (agent.state, agent.outcome) == ("completed", "partner disconnect")
    MACHINES["agent"].fire(agent, T.STATUS_TIMEOUT)  # the core may still end it
    assert (agent.state, agent.outcome) == ("disconnected", "timeout")


@pytest.mark.parametrize(
    ("link_ended", "told", "after"),
    [
        (True, False, ("completed", "completed", Action.FORWARD)),
        (True, True, ("disconnected", "as before", Action.FORWARD)),
        (False, False, ("disconnected", "as before", Action.FORWARD)),
    ],
    ids=["before the report", "after the report", "ended by the core"],
)
def test_a_submission_that_races_a_disconnect_wins_until_it_is_reported(
    link_ended: bool, told: bool, after: tuple[str, str, str]
) -> None:
    assert fired(T.SUBMIT_UNIT, state="disconnected", link_ended=link_ended, told=told) == after


def test_a_live_update_is_held_forwarded_or_refused() -> None:
    actions = {}
    for state in State:
        rows = LIFECYCLE.rows_for(state, T.LIVE_UPDATE)
        actions[str(state)] = (
            str(rows[0].action) if rows else LIFECYCLE.verdict(state, T.LIVE_UPDATE)
        )
    assert actions == {
        "connecting": "hold",
        "onboarding": "forward",
        "waiting": "hold",
        "in_task": "forward",
        "completed": "refused",
        "disconnected": "refused",
        "failed": "refused",
    }


# Final is final ----------------------------------------------------------------------------------


def test_only_these_rows_leave_a_final_state() -> None:
    """S4: the core has the last word, and a submission may beat a disconnect."""
    leaving = {str(row) for row in LIFECYCLE.rows if row.source in FINAL_STATES and row.dest}
    ends = ("disconnect", "timeout", "expired", "returned")
    goods = ("completed", "partner_disconnect", "approved", "soft_rejected", "rejected")
    assert leaving == {
        *(f"completed --status_{end}--> disconnected" for end in ends),
        *(f"disconnected --status_{good}--> completed" for good in goods),
        "disconnected --submit_unit [disconnect_untold]--> completed",
    }


@pytest.mark.parametrize("trigger", Trigger)
def test_nothing_leads_out_of_failed(trigger: Trigger) -> None:
    for kind in KINDS:
        agent = replace(kind, state="failed")
        try:
            MACHINES["agent"].fire(agent, trigger)
        except RemoteProtocolError:
            assert trigger is T.LIVE_UPDATE
        assert agent == replace(kind, state="failed")


def test_every_state_can_be_reached_and_every_live_one_can_end() -> None:
    def reached(start: State) -> set[str]:
        found, ahead = set[str](), [str(start)]
        while ahead:
            state = ahead.pop()
            if state not in found:
                found.add(state)
                ahead += [str(r.dest) for r in LIFECYCLE.rows if r.source == state and r.dest]
        return found

    assert reached(State.CONNECTING) == {str(state) for state in State}
    for state in LIVE_STATES:
        assert {"completed", "disconnected"} <= reached(state)


def test_the_page_sees_one_thing_more() -> None:
    silent = [row for row in PAGE_LIFECYCLE.rows if row.trigger == PageTrigger.CORE_SILENT]
    assert set(silent) == {
        Row(s, PageTrigger.CORE_SILENT, State.DISCONNECTED, Status.MEPHISTO_DISCONNECT)
        for s in LIVE_STATES
    }
    assert [r for r in PAGE_LIFECYCLE.rows if r not in silent] == list(LIFECYCLE.rows)


def test_every_trigger_says_who_pulls_it() -> None:
    by_who: dict[str, list[str]] = {}
    for trigger, who in LIFECYCLE.triggers.items():
        by_who.setdefault(who, []).append(str(trigger))
    assert {who: sorted(triggers) for who, triggers in by_who.items()} == {
        "core": sorted(
            [
                "details_onboarding",
                "details_agent",
                "details_refused",
                *map(str, STATUS_TRIGGERS.values()),
            ]
        ),
        "timer": ["link_dead", "request_expired"],
        "page": ["live_update", "submit_metadata", "submit_onboarding", "submit_unit"],
    }


def _facts(agent: Agent) -> dict[str, object]:
    return {"submitted": agent.submitted, "link_ended": agent.link_ended, "told": agent.told}
