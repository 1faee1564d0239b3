"""A worker's counts of the events of windows, and of insights."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """The counts of a worker since it started."""

    folded: Counter[str] = field(default_factory=Counter)  # records that were added to a window, by source
    ticks: Counter[str] = field(default_factory=Counter)  # read, by source
    redelivered: int = 0  # records that had been folded before
    repeated: int = 0  # events that had been folded from another offset
    late: int = 0
    ahead: int = 0
    malformed: int = 0
    closed: int = 0  # windows
    raised: Counter[str] = field(default_factory=Counter)  # by type of insight
    cleared: Counter[str] = field(default_factory=Counter)
    found: int = 0  # insights that were in the log before, after a crash
    refused: int = 0  # insights that the log refused

    def events(self) -> dict[str, int]:
        """The number of events by outcome."""
        counts = {"redelivered": self.redelivered, "repeated": self.repeated, "late": self.late}
        return {"folded": self.folded.total(), **counts, "ahead": self.ahead, "malformed": self.malformed}
