"""A table of many rows becomes the few arrows of a picture, and none of its moves is lost."""

from __future__ import annotations

from statecore.diagrams.graph import Graph, lifecycle_graph
from statecore.diagrams.overview import ALL_LIVE, Arrow, Kind, arrows, live_states, spine, stays
from statecore.lifecycle import LIFECYCLE, LINK, PAGE_LIFECYCLE
from statecore.table import Lifecycle, Row

AGENT, SOCKET = lifecycle_graph(LIFECYCLE), lifecycle_graph(LINK)

GOOD = (
    "status_completed",
    "status_partner_disconnect",
    "status_approved",
    "status_soft_rejected",
    "status_rejected",
)
ENDS = ("status_disconnect", "status_timeout", "status_expired", "status_returned")


def test_the_happy_path_is_the_spine() -> None:
    assert live_states(AGENT) == ("connecting", "onboarding", "waiting", "in_task")
    assert spine(AGENT) == ("connecting", "onboarding", "waiting", "in_task", "completed")
    assert spine(SOCKET) == ("absent", "up", "lost", "dead")


def test_110_rows_are_15_arrows() -> None:
    refused, onboarding = "details_refused", ("details_onboarding", "status_onboarding")
    waiting, task = (
        (("core", ("details_agent", "status_waiting")),),
        (("core", ("status_in_task",)),),
    )
    submit = (("page", ("submit_unit",)),)
    good, ends = ("core", GOOD), (("core", ENDS), ("timer", ("link_dead",)))
    untold = ("page", ("submit_unit [disconnect_untold]",))
    assert arrows(AGENT) == (
        Arrow(
            "connecting", "onboarding", Kind.SPINE, (("core", onboarding),), (("core", onboarding),)
        ),
        Arrow("onboarding", "waiting", Kind.SPINE, waiting, waiting),
        Arrow("waiting", "in_task", Kind.SPINE, task, task, (("core", ("status_waiting",)),)),
        Arrow("in_task", "completed", Kind.SPINE, submit, submit),
        Arrow(ALL_LIVE, "completed", Kind.FROM_ALL, (good,), (good,)),
        Arrow(ALL_LIVE, "disconnected", Kind.FROM_ALL, ends, ends),
        Arrow(
            "connecting",
            "failed",
            Kind.OTHER,
            (("core", (refused,)), ("timer", ("request_expired",))),
            (("core", (refused,)), ("timer", ("request_expired",))),
        ),
        Arrow("onboarding", "failed", Kind.OTHER, (("core", (refused,)),), ()),
        Arrow("waiting", "failed", Kind.OTHER, (("core", (refused,)),), ()),
        Arrow(
            "disconnected", "completed", Kind.OTHER, (good, untold), (untold,), (("core", ENDS),)
        ),
        Arrow("connecting", "waiting", Kind.SHORTCUT, waiting, ()),
        Arrow("connecting", "in_task", Kind.SHORTCUT, task, ()),
        Arrow("connecting", "completed", Kind.SHORTCUT, submit, ()),
        Arrow("onboarding", "in_task", Kind.SHORTCUT, task, ()),
        Arrow("waiting", "completed", Kind.SHORTCUT, submit, ()),
    )


def test_no_move_is_lost() -> None:
    for table in (LIFECYCLE, LINK, PAGE_LIFECYCLE):
        graph = lifecycle_graph(table)
        assert _drawn(graph) == {
            (str(row.source), str(row.dest), str(row).split("--")[1])
            for row in table.rows
            if row.dest is not None
        }


def _drawn(graph: Graph) -> set[tuple[str, str, str]]:
    found = set()
    for arrow in arrows(graph):
        sources = live_states(graph) if arrow.source == ALL_LIVE else (arrow.source,)
        for source in sources:
            found |= {(source, arrow.dest, key) for _, keys in arrow.pulled for key in keys}
            found |= {(arrow.dest, source, key) for _, keys in arrow.back for key in keys}
    return found


def test_what_stays_is_listed_by_state() -> None:
    work = ("live_update", "submit_unit [has_submitted]", "submit_onboarding", "submit_metadata")
    assert stays(AGENT, "in_task") == (
        ("core", ("details_agent", "status_in_task")),
        ("page", work),
    )
    assert stays(SOCKET, "up") == (("page", ("opened",)),)
    assert stays(SOCKET, "lost") == ()


def test_a_row_that_enters_its_own_state_anew_is_an_arrow() -> None:
    """Unlike an internal row it leaves and comes back, so it is drawn."""
    table = Lifecycle(
        name="lamp",
        initial="on",
        states=("on", "out"),
        final=frozenset({"out"}),
        triggers={"press": "page", "break": "timer"},
        rows=(Row("on", "press", "on"), Row("on", "break", "out")),
        ignored={("out", "press"): "it is out", ("out", "break"): "it is out"},
    )
    press, end = (("page", ("press",)),), (("timer", ("break",)),)
    assert arrows(lifecycle_graph(table)) == (
        Arrow("on", "out", Kind.SPINE, end, end),
        Arrow("on", "on", Kind.OTHER, press, press),
    )
    assert stays(lifecycle_graph(table), "on") == ()
