"""Every limit and time of the engine, with its default, in one place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BackendOptions", "ClientOptions", "RouterOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterOptions:
    """What an operator may set. Times in seconds, sizes in bytes unless a word says otherwise.

    Args:
        system_token: what the core must present to be the core; ``None`` takes a core from
            loopback without ``Origin`` and without a forwarding header.
        grace: how long an agent that had a socket may be without one. Upstream's pages reconnect
            within 6 s.
        heartbeat_limit: how long a socket may be silent. Upstream's pages send every 6 s.
        request_wait: how long a POST waits for the core's answer.
        held_polls: how many polls of the core a live update is held that may become legal, and how
            many an agent that the router does not know may stay unknown.
        held_updates: how many live updates of one agent are held.
        mailbox_packets, mailbox_bytes: what waits for one agent's page; the oldest goes first.
        outbox_bytes: what waits for the core; at the bound a POST gets 503 and a frame is refused.
        core_limit: the largest packet to the core; upstream's core closes its connection above it.
        error_limit: the largest log_error; a larger one blocks upstream's core for seconds.
        frame_limit: the largest frame that is read at all, from anybody.
        pending_requests: how many POSTs may wait for the core at once.
        unknown_agents: how many agents that only a page has named are kept.
        finished_kept: how long the end of an agent is remembered at least.
        finished_agents: how many ended agents are remembered at most.
    """

    system_token: str | None = None
    grace: float = 10.0
    heartbeat_limit: float = 15.0
    request_wait: float = 60.0
    held_polls: int = 2
    held_updates: int = 100
    mailbox_packets: int = 1_000
    mailbox_bytes: int = 1 << 20
    outbox_bytes: int = 100 << 20
    core_limit: int = 1 << 20
    error_limit: int = 64 << 10
    frame_limit: int = 4 << 20
    pending_requests: int = 10_000
    unknown_agents: int = 10_000
    finished_kept: float = 3_600.0
    finished_agents: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """What a task run is like. Times in seconds.

    Args:
        is_live: an assignment starts when all its seats are taken, and its agents work together.
            Otherwise each seat is a unit of its own that starts at once.
        needs_onboarding: a worker must pass the onboarding before the first unit.
        onboarding_data: what the page gets as ``init_task_data`` of an onboarding, as JSON.
        max_units_per_worker: how many units one worker may take, those given back not counted;
            0 for no limit.
        allowed_concurrent: how many units one worker may have at once; 0 for no limit.
        reuse_units: a unit whose agent left without a submission is given to somebody else: for
            static units always, for live ones while their assignment has not started.
        first_poll, poll: when the statuses are asked for, after a channel opens and from then on.
            The poll is the backend's heartbeat: pages give up after 20 s without one.
        seen_updates, seen_after_end: how many update ids of one agent are remembered, to drop
            repeats, while it works and afterwards.
        seen_metadata: how much metadata of one agent is remembered, to drop repeats.
        seen_refusals: how many registrations without success are remembered, so that a router's
            copy of one gets the same answer.
        past_updates, past_bytes: the live updates of one agent that are kept for a page that is
            reloaded; the oldest go first.
        outbox_bytes: what waits for one router, or to be proven read by it; at the bound live
            updates are refused, and the program must wait.
        router_limit: the largest packet that is sent; it must be below every router's own limit
            of a frame, or that router closes the connection at each attempt.
        frame_limit: the largest frame that is read.
    """

    is_live: bool = False
    needs_onboarding: bool = False
    onboarding_data: bytes = b"{}"
    max_units_per_worker: int = 0
    allowed_concurrent: int = 0
    reuse_units: bool = True
    first_poll: float = 0.3
    poll: float = 4.0
    seen_updates: int = 10_000
    seen_after_end: int = 100
    seen_metadata: int = 100
    seen_refusals: int = 1_000
    past_updates: int = 10_000
    past_bytes: int = 1 << 20
    outbox_bytes: int = 16 << 20
    router_limit: int = (4 << 20) - (64 << 10)
    frame_limit: int = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """What the program behind a page's side may set. Times in seconds, sizes in bytes.

    Args:
        live: open a socket as soon as there is an agent; a static page never does.
        first_heartbeat, heartbeat_every: when the page says that it lives, counted
            from a socket's opening.
        missed_answers: so many heartbeats without an answer, and the socket is taken for dead.
        core_silence: how long the core may be silent before the page gives up.
        core_sweeps: in how many steps that time is measured; more steps are more exact.
        post_tries: how often a POST is tried that is safe to repeat.
        pending_posts: how many POSTs may be without an answer at once.
        updates_kept, updates_bytes: the live updates that wait to be sent, or to be known as
            delivered; at the bound the program must wait.
        update_limit: the largest live update; with its envelope it must fit the core's 1 MiB.
        seen_updates: how many update ids are remembered, so that a repeat is not shown.
        frame_limit: the largest frame that is read.
    """

    live: bool = True
    first_heartbeat: float = 0.5
    heartbeat_every: float = 6.0
    missed_answers: int = 5
    core_silence: float = 20.0
    core_sweeps: int = 4
    post_tries: int = 6
    pending_posts: int = 100
    updates_kept: int = 1_000
    updates_bytes: int = 16 << 20
    update_limit: int = (1 << 20) - (4 << 10)
    seen_updates: int = 10_000
    frame_limit: int = 64 << 20
