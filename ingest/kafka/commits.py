"""One commit that is under way: answered by the client's callback, given up after its deadline.

The callback runs in the loop's thread, or on the client's thread while the loop's thread waits; nothing here needs a lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka import errors as client


class CommitUnderWay:
    """deadline_s: after that it counts as failed. Its late answer then falls on an object that nobody asks any longer.

    refusal: set where the broker says that we may not, which no repetition mends.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._is_answered = False
        self._error: str | None = None
        self.refusal: client.AuthorizationError | None = None

    def answer(self, _offsets: Mapping[Any, Any], response: Any) -> None:
        """The client's callback: an exception where the commit failed."""
        if isinstance(response, client.AuthorizationError):
            self.refusal = response
        self.close(type(response).__name__ if isinstance(response, Exception) else None)

    def close(self, error: str | None) -> None:
        """It is over; error: why it failed, None if it did not."""
        self._is_answered = True
        self._error = error

    def is_over(self, now_s: float) -> bool:
        if not self._is_answered and now_s >= self._deadline_s:
            self.close("no answer in time")
        return self._is_answered

    def take_error(self) -> str | None:
        """Why it failed, once."""
        error, self._error = self._error, None
        return error
