"""POSTs: questions that wait for the core's answer, and work that is taken at once.

1. A question (``/request_agent``, ``/submit_onboarding``) waits to its limit and then gets 200 with null
   ids and the truth as ``failure_reason``: on any other answer the npm page would load for ever.
2. Work (``/submit_task``, metadata, errors) gets its 2xx as soon as the outbox has it, and 503 when it
   cannot be kept. It is never refused for the agent's state. Of an agent that the core has not named
   (a restart) it waits until the core does.
3. A body that is not understood gets 4xx with the field and what is expected; nothing changes.
"""

from __future__ import annotations

import msgspec

from statecore.effects import CancelTimer, Count, Effect, Reply, Save, SetTimer
from statecore.envelope import Envelope, decode_json, encode_data, encode_envelope
from statecore.errors import RemoteProtocolError
from statecore.events import Request, Route
from statecore.forms import Form, read_form
from statecore.lifecycle import Trigger
from statecore.moves import check_room, check_size, done, take_work, work_expired
from statecore.packets import SYSTEM_ID, PacketType
from statecore.requests import Pending, failure
from statecore.router_state import RouterState, refusal
from statecore.seats import Seat

__all__ = ["http_request", "orphan_expired", "request_expired"]

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
        check_size(router, form.packet)
        if form.packet.packet_type == PacketType.REGISTER_AGENT:
            _ask(router, request, form, out)
        elif form.packet.packet_type == PacketType.SUBMIT_ONBOARDING:
            _onboarding(router, request, form, out)
        else:
            _work(router, request, form, out)
    except RemoteProtocolError as error:
        out.append(Count("refused", error.error_type))
        out.append(refusal(request.id, error))


def request_expired(router: RouterState, post: str, out: list[Effect]) -> None:
    """A POST has waited to its limit: tell the worker the truth."""
    pending = router.requests.of_post(post)
    if pending is None:
        work_expired(router, post, out)
        return
    router.requests.leave(pending, post)
    if pending.lost:
        # Nothing may ever come. Who joined it is told as well, so that the next one asks anew.
        for joined in list(pending.waiting):
            router.requests.leave(pending, joined)
            out.append(CancelTimer(("request", joined)))
            out.append(failure(joined, SILENT))
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
    # One that was sent before the core's connection dropped may have got its place.
    is_unsent = withdrawn or (router.core is None and not pending.lost)
    out.append(failure(post, AWAY if is_unsent else SILENT))


def orphan_expired(router: RouterState, request_id: str, out: list[Effect]) -> None:
    """Nobody has waited for this answer for a whole limit: the next one asks anew."""
    pending = router.requests.find(request_id)
    if pending is None or pending.waiting:
        return
    if pending.kind == PacketType.SUBMIT_ONBOARDING and router.core is None:
        # It is work and still in the outbox. Asked anew, the core would answer neither.
        out.append(SetTimer(("orphan", pending.id), router.options.request_wait))
        return
    router.requests.close(pending)
    router.outbox.proof_is_enough(("request", pending.id))


def _ask(router: RouterState, request: Request, form: Form, out: list[Effect]) -> None:
    kind = form.packet.packet_type
    pending = router.requests.in_flight(kind, form.key)
    if len(router.requests) >= router.options.pending_requests or not (
        pending or router.has_room(form.packet)
    ):
        out.append(Count("refused", "too-many-requests"))
        out.append(failure(request.id, BUSY))
        return
    if pending is not None:
        if not pending.waiting:
            out.append(CancelTimer(("orphan", pending.id)))
            if pending.newborn.is_final:  # its page was told that it failed; this is a new try
                pending.newborn = Seat()
        router.requests.join(pending, request.id)
    else:
        is_work = kind == PacketType.SUBMIT_ONBOARDING
        if is_work:
            seat = router.seat_named(form.key)
            seat.fire(Trigger.SUBMIT_ONBOARDING)
            seat.heard = True
            out.append(Save(encode_envelope(form.packet)))
        router.requests.ask(Pending(request.id, kind, form.key))
        router.outbox.add(form.packet, out, ("request", request.id) if is_work else None)
    out.append(SetTimer(("request", request.id), router.options.request_wait))


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
    _ask(router, request, form, out)


def _work(router: RouterState, request: Request, form: Form, out: list[Effect]) -> None:
    packet = form.packet
    check_room(router, packet)
    if packet.packet_type == PacketType.LOG_ERROR:
        out.append(Save(encode_envelope(packet)))
        router.outbox.add(packet, out)
        out.append(done(request.id))
        return
    if router.seats.find(form.key) is None:
        router.check_name(form.key)
    seat = router.seat_named(form.key)
    take_work(router, seat, packet, request.id, out)
    seat.heard = True


def _task_config(router: RouterState, request: Request, out: list[Effect]) -> None:
    versions = decode_json(_Versions, request.body)
    used, expected = versions.mephisto_task_version, versions.expected
    if expected is not None and used != expected:
        text = (
            f"the page uses mephisto-task {str(used)[:64]}, the task expects "
            f"{expected}: install mephisto-task@{expected}"
        )
        data = encode_data({"error_type": "version-mismatch", "text": text})
        packet = Envelope(PacketType.LOG_ERROR, SYSTEM_ID, data, None, request.at)
        if router.has_room(packet):
            router.outbox.add(packet, out)
        else:  # a report may be lost; the page must still get its configuration
            out.append(Count("dropped", "version-mismatch"))
    out.append(Reply(request.id, 200, b"{}"))
