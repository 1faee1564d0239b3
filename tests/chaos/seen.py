"""What one client of the fault bench did and saw, with all who read along."""

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
    """One request."""

    known: asyncio.Event = field(default_factory=asyncio.Event)  # a worker or a broker has said that it has it
    readings: list[Reading] = field(default_factory=list)  # of streams; the first one is the asker's
    wholes: list[Whole] = field(default_factory=list)
    mailbox: Mailbox | None = None
    sent: int = 0  # so often
    cancelled: str | None = None  # what the one who cancelled it was told
    conflicts: int = 0  # refusals of another body under its name
    resumed: int = 0  # readings that went on over another connection
    left: int = 0  # times that a client hung up on purpose
    absent_s: float = 0.0  # the longest time for which no worker served its asker
    _gone_at: float | None = None

    def comes(self) -> None:
        """A worker serves it."""
        if self._gone_at is not None:
            self.absent_s = max(self.absent_s, time.monotonic() - self._gone_at)

    def goes(self) -> None:
        """Not any more."""
        self._gone_at = time.monotonic()
