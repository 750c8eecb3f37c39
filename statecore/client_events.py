"""What the program behind a page's side may do and is told: closed unions of frozen records.

The inputs of ``ClientCore`` are the worker's actions, what came of its POSTs and sockets, and the
common events of ``events.py``. Its effects are the common ones of ``effects.py``, two orders to the
transport (``Post``, ``OpenSocket``) and what the program should know. Ids and times come in as
arguments: ``at`` becomes the ``client_timestamp`` of what is posted, and is never compared.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from statecore.effects import Effect
from statecore.events import Event, Route

__all__ = [
    "Action",
    "AgentNamed",
    "AgentRefused",
    "Answered",
    "Attachment",
    "ClientEffect",
    "ClientEvent",
    "Complained",
    "Ended",
    "Ending",
    "Leave",
    "LinkChanged",
    "OpenFailed",
    "OpenSocket",
    "Post",
    "PostAccepted",
    "PostRefused",
    "Register",
    "ReportError",
    "SendUpdate",
    "StateChanged",
    "SubmitMetadata",
    "SubmitOnboarding",
    "SubmitUnit",
    "Unanswered",
    "UpdateArrived",
    "UpdateLost",
    "UpdateSettled",
]


class Attachment(msgspec.Struct, frozen=True):
    """A file that goes with a submission."""

    field_name: str
    file_name: str
    content: bytes
    media_type: str = "application/octet-stream"


# --- inputs: what the worker does ------------------------------------------------------------


class Register(msgspec.Struct, frozen=True):
    """Ask for an agent. Asked again, it is what a page does when it is reloaded.

    Args:
        post_id: a name for the POST that will not be used again; the same for the other actions.
        provider_data: at least ``worker_name`` and ``agent_registration_id``, or upstream's core
            never answers.
    """

    post_id: str
    provider_data: dict[str, Any]
    at: float = 0.0


class SendUpdate(msgspec.Struct, frozen=True):
    """Send live data to the task; ``update_id`` is what the core knows a repeat by."""

    data: dict[str, Any]
    update_id: str
    at: float = 0.0


class SubmitOnboarding(msgspec.Struct, frozen=True):
    """Hand in the onboarding's answers."""

    post_id: str
    data: Any
    at: float = 0.0


class SubmitUnit(msgspec.Struct, frozen=True):
    """Hand in the finished work, with files if there are any."""

    post_id: str
    data: Any
    attachments: tuple[Attachment, ...] = ()
    at: float = 0.0


class SubmitMetadata(msgspec.Struct, frozen=True):
    """Hand in ``{"tips": {...}}`` or ``{"feedback": {...}}``."""

    post_id: str
    data: dict[str, Any]
    at: float = 0.0


class ReportError(msgspec.Struct, frozen=True):
    """Tell the core's log that something went wrong here."""

    post_id: str
    data: Any
    at: float = 0.0


class Leave(msgspec.Struct, frozen=True):
    """Close the page: the socket goes, a POST on its way still gets its answer."""


Action: TypeAlias = (
    Register | SendUpdate | SubmitOnboarding | SubmitUnit | SubmitMetadata | ReportError | Leave
)


# --- inputs: what came of its orders ---------------------------------------------------------


class Answered(msgspec.Struct, frozen=True):
    """A POST got an HTTP answer; ``retry_after`` is that header's seconds, if it came."""

    post_id: str
    status_code: int
    body: bytes = b""
    retry_after: float | None = None

    @property
    def reason(self) -> str:
        """The answer in short, for people."""
        return f"answered {self.status_code}: {self.body[:500].decode(errors='replace')}"


class Unanswered(msgspec.Struct, frozen=True):
    """A POST got none.

    Args:
        sent: it may have been read by the server. Only when it cannot, a repeat is always safe.
        reason: for people.
    """

    post_id: str
    sent: bool
    reason: str = "no answer"


class OpenFailed(msgspec.Struct, frozen=True):
    """The socket that ``OpenSocket`` asked for could not be opened."""

    reason: str = ""


ClientEvent: TypeAlias = Event | Action | Answered | Unanswered | OpenFailed


# --- effects: orders to the transport --------------------------------------------------------


class Post(msgspec.Struct, frozen=True):
    """POST this JSON body; answer with ``Answered`` or ``Unanswered``.

    Args:
        body: a JSON object. With attachments it goes as a form: texts as they are, the
            rest as JSON.
        attempt: 0 for the first time; before a later one, back off.
        wait: seconds to wait at least, because the server said so.
    """

    post_id: str
    route: Route
    body: bytes
    attachments: tuple[Attachment, ...] = ()
    attempt: int = 0
    wait: float = 0.0


class OpenSocket(msgspec.Struct, frozen=True):
    """Open a socket; answer with ``Opened`` or ``OpenFailed``. Back off before a later attempt."""

    attempt: int


# --- effects: what the program is told -------------------------------------------------------


class Ending(StrEnum):
    """Why a page's socket stays closed for good."""

    LEFT = "left"
    REPLACED = "replaced by a newer tab"
    CORE_SILENT = "the core is silent"
    NOT_ALLOWED = "not allowed"
    SEAT_GONE = "the agent's id belongs to somebody else now"


class AgentNamed(msgspec.Struct, frozen=True):
    """There is an agent; after an onboarding or a reload this comes again.

    Args:
        data: the task's initial data as plain JSON values.
        is_onboarding: the worker is to do the onboarding first.
    """

    agent_id: str
    worker_id: str | None
    data: Any
    is_onboarding: bool


class AgentRefused(msgspec.Struct, frozen=True):
    """There is no agent, and this is what the worker should read."""

    reason: str


class StateChanged(msgspec.Struct, frozen=True):
    """The lifecycle moved, or the outcome (a wire status or a failure reason) changed inside it."""

    state: str
    outcome: str


class LinkChanged(msgspec.Struct, frozen=True):
    """The socket's own state: absent, up, lost or dead."""

    link: str


class UpdateArrived(msgspec.Struct, frozen=True):
    """Live data from the task, once."""

    data: dict[str, Any]


class UpdateSettled(msgspec.Struct, frozen=True):
    """A live update was delivered, as far as the transport can prove it."""

    update_id: str


class UpdateLost(msgspec.Struct, frozen=True):
    """A live update is not known to be delivered and will not be sent again."""

    update_id: str


class PostAccepted(msgspec.Struct, frozen=True):
    """A POST got its 2xx: what it carried reaches the core."""

    post_id: str


class PostRefused(msgspec.Struct, frozen=True):
    """A POST failed for good; ``status_code`` is ``None`` when there was no answer."""

    post_id: str
    status_code: int | None
    reason: str


class Complained(msgspec.Struct, frozen=True):
    """The router refused a packet of ours and says why."""

    data: Any


class Ended(msgspec.Struct, frozen=True):
    """The socket is closed and stays closed."""

    why: Ending


ClientEffect: TypeAlias = (
    Effect
    | Post
    | OpenSocket
    | AgentNamed
    | AgentRefused
    | StateChanged
    | LinkChanged
    | UpdateArrived
    | UpdateSettled
    | UpdateLost
    | PostAccepted
    | PostRefused
    | Complained
    | Ended
)
