"""Limits how long the next bytes of an answer may take, and says which error a longer silence is."""

import asyncio
from typing import Final

from weir.llm.calls import Timeouts
from weir.llm.errors import UpstreamError, timed_out

AFTER_FINISH_S: Final = 2.0
"""How long to listen on a connection that stays open after the last finish reason: usage may follow it."""


class ReadDeadline:
    """The time limit for the next bytes of one answer, which depends on the content so far.

    Until the first token the limit for the first token counts, from the beginning of the call; then the longest silence
    between two events. Comments and empty blocks are no sign of life.
    """

    def __init__(self, timeouts: Timeouts, began: float, ends_at: float) -> None:
        self._timeouts = timeouts
        self._clock = asyncio.get_running_loop().time
        self._limit_s, self._since = timeouts.first_token_s, began
        self._ends_at = ends_at
        self._finished_at: float | None = None

    @property
    def deadline(self) -> float:
        """When the wait for the next bytes ends, in loop time."""
        if self._finished_at is not None:
            return self._finished_at + AFTER_FINISH_S
        return min(self._since + self._limit_s, self._ends_at)

    def said(self) -> None:
        """Note that the model has sent content; time that the reader spent on it does not count as silence."""
        self._limit_s = self._timeouts.idle_s
        self._since = self._clock()

    def finished(self) -> None:
        """Note that the answer is whole."""
        if self._finished_at is None:
            self._finished_at = self._clock()

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self._clock() >= self.deadline

    @property
    def stopped(self) -> bool:
        """Whether the time limit of the whole answer has passed."""
        return self._finished_at is None and self._clock() >= self._ends_at

    def silence(self) -> UpstreamError:
        """The error for a silence that was too long."""
        return timed_out("fell silent", self._limit_s)
