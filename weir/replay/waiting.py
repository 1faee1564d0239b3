"""How long a command waits for the workers that do its work."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from weir.ranges.errors import UnfinishedError

WANTED_S: Final = 2.0  # between two looks whether the run was cancelled


class WaitForWorkers:
    """The patience of one run, from now on.

    Args:
        patience_s: how long nothing may happen.
        still_wanted: raises if the run was cancelled.
    """

    def __init__(self, patience_s: float, still_wanted: Callable[[], Awaitable[None]]) -> None:
        self._patience_s, self._still_wanted = patience_s, still_wanted
        self._heard_at = self._asked_at = monotonic()

    def heard(self) -> None:
        """Start the patience again, after a sign of progress."""
        self._heard_at = monotonic()

    async def check(self, why: Callable[[], str]) -> None:
        """Whether to wait on; to be called at each look at what is waited for.

        Args:
            why: makes the message of the error, for a person.

        Raises:
            UnfinishedError: nothing has happened for too long.
            CancelledRunError: the run was cancelled.
            LogError: it cannot be read whether the run was cancelled.
        """
        now = monotonic()
        if now - self._heard_at > self._patience_s:
            raise UnfinishedError(why())
        if now - self._asked_at >= WANTED_S:
            self._asked_at = now
            await self._still_wanted()
