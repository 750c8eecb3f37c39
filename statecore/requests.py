"""POSTs that wait for the core: who waits for which answer, and what is in flight.

The core is never asked twice for one thing (S1): a second POST with the same registration, or for the
same onboarding, joins the first, and both get the one answer. When the last POST has waited to its limit,
the question may still be in flight. It stays here as an *orphan* for one more limit, so that a reload
joins it rather than asks again; unless the core's connection dropped meanwhile, for then its answer is
probably lost and asking anew is a clean reconnect.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace

from statecore.effects import Reply
from statecore.envelope import Envelope, encode_data
from statecore.packets import SYSTEM_ID, PacketType
from statecore.seats import Seat

__all__ = ["Pending", "Requests", "failure"]


@dataclass(slots=True)
class Pending:
    """One question to the core.

    Args:
        id: the request id on the wire: the first POST's.
        kind: the packet type that asks.
        key: the registration id or the onboarding agent's id.
        newborn: of a registration, the life that begins with it and has no agent id yet; an asker
            that has a seat already is found by ``key`` when the answer comes.
        waiting: the POSTs to answer, in order.
        lost: the core's connection dropped after it was sent.
    """

    id: str
    kind: str
    key: str
    newborn: Seat = field(default_factory=Seat)
    waiting: list[str] = field(default_factory=list)
    lost: bool = False


class Requests:
    """All questions in flight, found by request id, by what they ask and by each POST."""

    __slots__ = ("_by_id", "_by_key", "_by_post")

    def __init__(self) -> None:
        self._by_id: dict[str, Pending] = {}
        self._by_key: dict[tuple[str, str], str] = {}
        self._by_post: dict[str, str] = {}

    def __iter__(self) -> Iterator[Pending]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        """How many POSTs wait, and orphans too: what the bound counts."""
        return max(len(self._by_post), len(self._by_id))

    def find(self, request_id: str) -> Pending | None:
        """The question with this id on the wire."""
        return self._by_id.get(request_id)

    def in_flight(self, kind: str, key: str) -> Pending | None:
        """The question that asks the same."""
        return self._by_id.get(self._by_key.get((kind, key), ""))

    def of_post(self, post: str) -> Pending | None:
        """The question whose answer this POST waits for."""
        return self._by_id.get(self._by_post.get(post, ""))

    def ask(self, pending: Pending) -> None:
        """A new question; its first POST is its id."""
        self._by_id[pending.id] = pending
        self._by_key[pending.kind, pending.key] = pending.id
        self.join(pending, pending.id)

    def join(self, pending: Pending, post: str) -> None:
        """One more POST waits for the same answer."""
        pending.waiting.append(post)
        self._by_post[post] = pending.id

    def leave(self, pending: Pending, post: str) -> None:
        """This POST was answered otherwise: it has waited to its limit."""
        pending.waiting.remove(post)
        del self._by_post[post]

    def close(self, pending: Pending) -> None:
        """The question is answered or given up."""
        del self._by_id[pending.id]
        del self._by_key[pending.kind, pending.key]
        for post in pending.waiting:
            del self._by_post[post]

    def copy(self) -> Requests:
        """An independent copy."""
        other = Requests()
        other._by_id = {
            name: replace(pending, newborn=pending.newborn.copy(), waiting=pending.waiting.copy())
            for name, pending in self._by_id.items()
        }
        other._by_key = self._by_key.copy()
        other._by_post = self._by_post.copy()
        return other

    def key(self, rename: Callable[[str], Hashable]) -> Hashable:
        """Canonical and hashable."""
        return tuple(
            (
                rename(p.id),
                p.kind,
                rename(p.key),
                p.newborn.state,
                tuple(rename(post) for post in p.waiting),
                p.lost,
            )
            for p in self._by_id.values()
        )


def failure(post: str, reason: str) -> Reply:
    """An answer without an agent and with the truth: on any other the npm page loads for ever."""
    data = {
        "request_id": post,
        "worker_id": None,
        "agent_id": None,
        "init_task_data": None,
        "failure_reason": reason,
    }
    return Reply(post, 200, Envelope(PacketType.AGENT_DETAILS, SYSTEM_ID, encode_data(data)))
