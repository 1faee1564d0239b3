"""What was done to the system, and when."""

import math
import sys
from dataclasses import dataclass


@dataclass(kw_only=True)
class Event:
    """Something that was done."""

    name: str
    at_s: float  # since the load began
    in_flight: int
    note: str = ""


@dataclass(kw_only=True)
class Span:
    """From when to when, in seconds since the epoch."""

    began: float = math.inf
    ended: float = math.inf

    def meets(self, began: float, ended: float, *, margin_s: float = 0.0) -> bool:
        """Whether anything of it lies within another one."""
        return began < self.ended + margin_s and ended > self.began - margin_s


def say(text: str) -> None:
    """One line of progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
