"""How long the next bytes of an answer may take, and what it means when they do not come."""

import asyncio
from typing import Final

from weir.llm.calls import Timeouts
from weir.llm.errors import UpstreamError, timed_out

AFTER_FINISH_S: Final = 2.0
"""How long a connection that stays open after the last finish reason is listened to: usage may follow it."""


class Waiting:
    """The time limit of one answer's reading, which depends on what was said.

    Until the first token there is the time for it, from the beginning of the call; then the longest silence between
    two events. Comments and empty blocks are no sign of life.
    """

    def __init__(self, timeouts: Timeouts, began: float, ends_at: float) -> None:
        self._timeouts = timeouts
        self._clock = asyncio.get_running_loop().time
        self._limit_s, self._since = timeouts.first_token_s, began
        self._ends_at = ends_at
        self._finished_at: float | None = None

    @property
    def deadline(self) -> float:
        """When the wait for the next bytes is over, in loop time."""
        if self._finished_at is not None:
            return self._finished_at + AFTER_FINISH_S
        return min(self._since + self._limit_s, self._ends_at)

    def said(self) -> None:
        """The model has said something; what the reader did with it took its own time."""
        self._limit_s = self._timeouts.idle_s
        self._since = self._clock()

    def finished(self) -> None:
        """The answer is whole."""
        if self._finished_at is None:
            self._finished_at = self._clock()

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self._clock() >= self.deadline

    @property
    def stopped(self) -> bool:
        """Whether it is the time for the whole answer that is over."""
        return self._finished_at is None and self._clock() >= self._ends_at

    def silence(self) -> UpstreamError:
        """The error of a silence that was too long."""
        return timed_out("fell silent", self._limit_s)
