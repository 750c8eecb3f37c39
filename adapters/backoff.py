"""How long to wait before trying again: exponential, with full jitter.

Many pages lose their sockets at one moment when a router restarts. Each waits a random part of a
growing limit, so that they do not all come back at one moment too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Seconds to wait before each attempt.

    Args:
        first: the most that is waited before attempt 1, doubled with each attempt after it.
        limit: the most that is ever waited.
        random: a number from 0 to 1; a test gives its own.
    """

    first: float = 0.25
    limit: float = 5.0
    random: Callable[[], float] = random.random

    def __call__(self, attempt: int) -> float:
        """The wait before this attempt; none before attempt 0."""
        if attempt <= 0:
            return 0.0
        # Beyond 2**32 it is the limit anyway, and a float has an end.
        return self.random() * min(self.limit, self.first * 2.0 ** min(attempt - 1, 32))
