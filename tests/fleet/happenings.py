"""The faults done to the system, with their times."""

import math
import sys
from dataclasses import dataclass


@dataclass(kw_only=True)
class Event:
    """One fault, or another event of a run."""

    name: str
    at_s: float  # since the load began
    in_flight: int
    note: str = ""


@dataclass(kw_only=True)
class Span:
    """A time span, in seconds since the epoch."""

    began: float = math.inf
    ended: float = math.inf

    def meets(self, began: float, ended: float, *, margin_s: float = 0.0) -> bool:
        """Whether it overlaps another time span."""
        return began < self.ended + margin_s and ended > self.began - margin_s


def say(text: str) -> None:
    """Print one line of progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
