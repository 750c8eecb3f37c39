"""POSTs: questions that wait for the core's answer, and work that is taken at once.

1. A question (``/request_agent``, ``/submit_onboarding``) waits to its limit and then gets 200 with null
   ids and the truth as ``failure_reason``: on any other answer the npm page would load for ever.
2. Work (``/submit_task``, metadata, errors) gets its 2xx as soon as the outbox has it, and 503 when it
   cannot be kept. It is never refused for the agent's state.
3. A body that is not understood gets 4xx with the field and what is expected; nothing changes.
"""

from __future__ import annotations

import msgspec

from statecore.effects import CancelTimer, Count, Effect, Reply, Save, SetTimer
from statecore.envelope import Envelope, decode_json, encode_data, encode_envelope
from statecore.errors import ProtocolError, RemoteProtocolError
from statecore.events import Request, Route
from statecore.forms import Form, read_form
from statecore.lifecycle import Action, Trigger
from statecore.packets import SYSTEM_ID, PacketType
from statecore.requests import Pending
from statecore.router_state import RouterState
from statecore.seats import Seat

__all__ = ["http_request", "orphan_expired", "request_expired"]

_STATUS_CODES = {"not-json": 400, "too-large": 413, "outbox-full": 503}

AWAY = (
    "The task's server is not reachable at the moment. You have not been signed up and nothing "
    "is lost: please try again in a few minutes."
)
SILENT = (
    "The task's server did not answer in time. Please reload the page in a minute: if a place "
    "was kept for you, you will get it."
)
BUSY = "Too many people are asking for this task at the moment. Please try again in a minute."


class _Versions(msgspec.Struct):
    mephisto_task_version: str | None = None
    expected: str | None = None


def http_request(router: RouterState, request: Request, out: list[Effect]) -> None:
    """Take one POST; it gets its one reply now or when the core answers."""
    try:
        if request.route is Route.TASK_CONFIG:
            _task_config(router, request, out)
            return
        form = read_form(request, router.options.frame_limit)
        router.check_size(form.packet)
        if form.packet.packet_type == PacketType.REGISTER_AGENT:
            _ask(router, request, form, out)
        elif form.packet.packet_type == PacketType.SUBMIT_ONBOARDING:
            _onboarding(router, request, form, out)
        else:
            _work(router, request, form, out)
    except RemoteProtocolError as error:
        out.append(Count("refused", error.error_type))
        out.append(_refusal(request, error))


def request_expired(router: RouterState, post: str, out: list[Effect]) -> None:
    """A POST has waited to its limit: tell the worker the truth."""
    pending = router.requests.of_post(post)
    if pending is None:
        return
    router.requests.leave(pending, post)
    withdrawn = False
    if not pending.waiting:
        withdrawn = router.outbox.withdraw(pending.id)
        if withdrawn or pending.lost:
            router.requests.close(pending)
        else:
            out.append(SetTimer(("orphan", pending.id), router.options.request_wait))
        if pending.kind == PacketType.REGISTER_AGENT:
            pending.newborn.fire(Trigger.REQUEST_EXPIRED, "no answer in time")
    out.append(Count("request-expired"))
    out.append(_failure(post, AWAY if withdrawn or router.core is None else SILENT))


def orphan_expired(router: RouterState, request_id: str) -> None:
    """Nobody has waited for this answer for a whole limit: the next one asks anew."""
    pending = router.requests.find(request_id)
    if pending is not None and not pending.waiting:
        router.requests.close(pending)


def _ask(router: RouterState, request: Request, form: Form, out: list[Effect]) -> None:
    kind = form.packet.packet_type
    pending = router.requests.in_flight(kind, form.key)
    if pending is not None:
        if not pending.waiting:
            out.append(CancelTimer(("orphan", pending.id)))
            if pending.newborn.is_final:  # its page was told that it failed; this is a new try
                pending.newborn = Seat()
        router.requests.join(pending, request.id)
    elif _is_busy(router, form.packet):
        out.append(Count("refused", "too-many-requests"))
        out.append(_failure(request.id, BUSY))
        return
    else:
        is_work = kind == PacketType.SUBMIT_ONBOARDING
        if is_work:
            router.seat_named(form.key).fire(Trigger.SUBMIT_ONBOARDING)
            out.append(Save(encode_envelope(form.packet)))
        router.requests.ask(Pending(request.id, kind, form.key))
        router.outbox.add(form.packet, out, ("request", request.id) if is_work else None)
    out.append(SetTimer(("request", request.id), router.options.request_wait))


def _is_busy(router: RouterState, packet: Envelope) -> bool:
    options = router.options
    return len(router.requests) >= options.pending_requests or not router.outbox.has_room(
        packet, options.outbox_bytes
    )


def _onboarding(router: RouterState, request: Request, form: Form, out: list[Effect]) -> None:
    seat = router.seats.find(form.key)
    asked = router.requests.in_flight(PacketType.SUBMIT_ONBOARDING, form.key)
    if seat is not None and seat.answer is not None and asked is None:
        # The core answers a second submit_onboarding with a status only: the POST would hang.
        answer = Envelope(PacketType.AGENT_DETAILS, SYSTEM_ID, seat.answer)
        out.append(Reply(request.id, 200, answer))
        return
    if seat is None:
        router.check_name(form.key)
    else:
        seat.heard = True
    _ask(router, request, form, out)


def _work(router: RouterState, request: Request, form: Form, out: list[Effect]) -> None:
    packet = form.packet
    router.check_room(packet)
    done = Reply(request.id, 200, bytes(encode_data({"status": "submitted"})))
    if packet.packet_type == PacketType.LOG_ERROR:
        out.append(Save(encode_envelope(packet)))
        router.outbox.add(packet, out)
        out.append(done)
        return
    if router.seats.find(form.key) is None:
        router.check_name(form.key)
    seat = router.seat_named(form.key)
    seat.heard = True
    # Work of an agent that has ended: no status will show that it was handled, a pong must do.
    by = None if seat.is_final else ("agent", packet.subject_id)
    is_unit = packet.packet_type == PacketType.SUBMIT_UNIT
    row = seat.fire(Trigger.SUBMIT_UNIT if is_unit else Trigger.SUBMIT_METADATA)
    assert row is not None  # rule 2: every state has a row for work
    if row.action == Action.FORWARD:
        out.append(Save(encode_envelope(packet)))
        router.outbox.add(packet, out, by)
    if is_unit:
        seat.submitted = True
    if row.dest is not None:
        seat.link_ended = False
        router.after_move(seat, out)
    out.append(done)


def _task_config(router: RouterState, request: Request, out: list[Effect]) -> None:
    versions = decode_json(_Versions, request.body)
    if versions.expected is not None and versions.mephisto_task_version != versions.expected:
        text = (
            f"the page uses mephisto-task {versions.mephisto_task_version}, the task expects "
            f"{versions.expected}: install mephisto-task@{versions.expected}"
        )
        data = encode_data({"error_type": "version-mismatch", "text": text})
        packet = Envelope(PacketType.LOG_ERROR, SYSTEM_ID, data, None, request.at)
        if router.outbox.has_room(packet, router.options.outbox_bytes):
            router.outbox.add(packet, out)
        else:  # a report may be lost; the page must still get its configuration
            out.append(Count("dropped", "version-mismatch"))
    out.append(Reply(request.id, 200, b"{}"))


def _failure(post: str, reason: str) -> Reply:
    data = {
        "request_id": post,
        "worker_id": None,
        "agent_id": None,
        "init_task_data": None,
        "failure_reason": reason,
    }
    return Reply(post, 200, Envelope(PacketType.AGENT_DETAILS, SYSTEM_ID, encode_data(data)))


def _refusal(request: Request, error: ProtocolError) -> Reply:
    told = {
        "error_type": error.error_type,
        "text": str(error),
        "field": error.field,
        "expected": error.expected,
    }
    code = _STATUS_CODES.get(error.error_type, 422)
    return Reply(request.id, code, bytes(encode_data(told)), retry_after=5 if code == 503 else None)
