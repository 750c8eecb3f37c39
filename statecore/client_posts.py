"""A page's POSTs: what waits for an answer, and when a repeat is safe.

1. The server said that it took nothing (429, 503), or cannot have read it: any POST is repeated.
2. It may have been read and no answer came, or an answer that says nothing about it (another 5xx):
   only ``/submit_task`` is repeated, for the core stores a unit once. A registration could take two
   units, a second onboarding is never answered, metadata would be stored twice.
3. Every other answer is the last word.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeAlias, assert_never

import msgspec
from msgspec.structs import replace

from statecore.client_events import (
    Answered,
    Post,
    Register,
    ReportError,
    SubmitMetadata,
    SubmitOnboarding,
    SubmitUnit,
    Unanswered,
)
from statecore.envelope import encode_data
from statecore.errors import LocalProtocolError
from statecore.events import Route
from statecore.settings import ClientOptions

if TYPE_CHECKING:
    from statecore.packet_models import AgentDetailsData

__all__ = ["SEAT_ROUTES", "Posting", "Posts", "encode_plain", "read_details"]

Posting: TypeAlias = Register | SubmitOnboarding | SubmitUnit | SubmitMetadata | ReportError

# The routes that are answered with agent_details: one at a time, never the same question twice.
SEAT_ROUTES = frozenset({Route.REQUEST_AGENT, Route.SUBMIT_ONBOARDING})
_ONE_AT_A_TIME = SEAT_ROUTES | {Route.SUBMIT_TASK}
_NOTHING_TAKEN = frozenset({429, 503})


class _Pending(msgspec.Struct, frozen=True):
    """A POST on its way, and its content without time and agent id in it."""

    post: Post
    content: Hashable


class Posts:
    """The POSTs without an answer, bounded."""

    __slots__ = ("_options", "_pending")

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._pending: dict[str, _Pending] = {}

    def begin(self, action: Posting, agent_id: str) -> Post:
        """The POST that this action of the worker is.

        Raises:
            LocalProtocolError: the id is in use, the same question is open, too many are, or the
                body is not JSON. Nothing has changed.
        """
        post_id = action.post_id
        route, body = _question(action, agent_id)
        if post_id in self._pending:
            raise LocalProtocolError(
                f"POST {post_id!r} is on its way already",
                error_type="duplicate-post",
                field="post_id",
                expected="an id that was not used before",
            )
        if len(self._pending) >= self._options.pending_posts:
            raise LocalProtocolError(
                f"{len(self._pending)} POSTs are without an answer",
                error_type="too-many-posts",
                expected="wait for an answer first",
            )
        rivals = SEAT_ROUTES if route in SEAT_ROUTES else {route} & _ONE_AT_A_TIME
        for open_id, pending in self._pending.items():
            if pending.post.route in rivals:
                raise LocalProtocolError(
                    f"{pending.post.route} is without its answer (POST {open_id!r})",
                    error_type="in-flight",
                    expected="wait for its answer first",
                )
        content = encode_plain(_question(action, "")[1])
        stamped = encode_plain({**body, "client_timestamp": action.at or None})
        attachments = action.attachments if isinstance(action, SubmitUnit) else ()
        post = Post(post_id, route, stamped, attachments)
        self._pending[post_id] = _Pending(post, content)
        return post

    def route(self, post_id: str) -> Route | None:
        """The route of an open POST; ``None`` when it is not open (any more)."""
        pending = self._pending.get(post_id)
        return None if pending is None else pending.post.route

    def close(self, post_id: str) -> None:
        """A POST got what it wanted."""
        del self._pending[post_id]

    def again(self, event: Answered | Unanswered) -> Post | None:
        """The POST to send once more; ``None`` when this was the last word, which closes it."""
        pending = self._pending.pop(event.post_id)
        post, wait = pending.post, 0.0
        if isinstance(event, Answered):
            is_safe = event.status_code in _NOTHING_TAKEN
            is_open = event.status_code >= 500
            wait = event.retry_after or 0.0
        else:
            is_safe, is_open = not event.sent, True
        if not is_safe and not (is_open and post.route is Route.SUBMIT_TASK):
            return None
        if post.attempt + 1 >= self._options.post_tries:
            return None
        post = replace(post, attempt=post.attempt + 1, wait=wait)
        self._pending[event.post_id] = _Pending(post, pending.content)
        return post

    def copy(self) -> Posts:
        """An independent copy."""
        other = Posts(self._options)
        other._pending = self._pending.copy()
        return other

    def key(self, rename: Callable[[str], Hashable]) -> Hashable:
        """Canonical and hashable, without times."""
        return tuple(
            (rename(post_id), p.post.route, p.content, p.post.attachments, p.post.attempt)
            for post_id, p in self._pending.items()
        )


def _question(action: Posting, agent_id: str) -> tuple[Route, dict[str, object]]:
    """Where an action goes, and its body without the time."""
    match action:
        case Register(provider_data=data):
            return Route.REQUEST_AGENT, {"provider_data": data}
        case SubmitOnboarding(data=data):
            answers = {"USED_AGENT_ID": agent_id, "onboarding_data": data}
            return Route.SUBMIT_ONBOARDING, {"provider_data": answers}
        case SubmitUnit(data=data):
            return Route.SUBMIT_TASK, {"USED_AGENT_ID": agent_id, "final_data": data}
        case SubmitMetadata(data=data):
            return Route.SUBMIT_METADATA, {"USED_AGENT_ID": agent_id, "metadata": data}
        case ReportError(data=data):
            return Route.LOG_ERROR, {"USED_AGENT_ID": agent_id, "error_data": data}
        case _:
            assert_never(action)


def read_details(body: bytes) -> AgentDetailsData | None:
    """The data of an agent_details packet, or ``None`` when the body is none."""
    from statecore.packet_models import AgentDetails  # here, as its docstring asks

    try:
        return AgentDetails.model_validate(json.loads(body)).data
    except (ValueError, RecursionError):
        return None


def encode_plain(value: object) -> bytes:
    """Plain data as JSON.

    Raises:
        LocalProtocolError: it holds something that JSON has no word for.
    """
    try:
        return bytes(encode_data(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise LocalProtocolError(
            f"not JSON data: {error}",
            error_type="not-json",
            field="data",
            expected="objects with text keys, lists, texts, numbers, true, false and null",
        ) from None
