"""What one client of the fault bench did and saw, with all other readers of its request."""

import asyncio
import time
from dataclasses import dataclass, field

from tests.chaos.mailboxes import Mailbox
from tests.chaos.plan import Manner
from tests.fleet.seen import Seen
from tests.fleet.stream import Reading


@dataclass(kw_only=True)
class Whole:
    """One answer in one piece: a text, or the code of the error that it ended with."""

    text: str | None = None
    finish: str | None = None
    error: str | None = None


@dataclass(kw_only=True)
class Watched(Seen[Manner]):
    """One request with its readers."""

    # set when a worker or a broker has confirmed the request
    known: asyncio.Event = field(default_factory=asyncio.Event)
    readings: list[Reading] = field(default_factory=list)  # of streams; the first one is the asking client's
    wholes: list[Whole] = field(default_factory=list)
    mailbox: Mailbox | None = None
    sent: int = 0  # how often it was sent
    cancelled: str | None = None  # the end that the cancelling client got
    conflicts: int = 0  # refusals of another body under its name
    resumed: int = 0  # readings that were continued over another connection
    left: int = 0  # times that a client hung up on purpose
    absent_s: float = 0.0  # the longest time without a worker for the asking client
    _gone_at: float | None = None

    def comes(self) -> None:
        """Note that a worker serves it."""
        if self._gone_at is not None:
            self.absent_s = max(self.absent_s, time.monotonic() - self._gone_at)

    def goes(self) -> None:
        """Note that no worker serves it any more."""
        self._gone_at = time.monotonic()
