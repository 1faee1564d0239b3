"""Limits on the cost of one answer.

SQL parsers go back and try again: each array literal around another doubles sqlglot's cost, so 16 take a second, and 32
would take a day. A count of the parser's steps, and of Weir's steps after it, bounds that; sizes alone do not.
"""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseLimits:
    """Limits on the text that is read and the lineage that is returned."""

    query_chars: int = 65_536  # of a fence or an argument; longer ones are not read
    answer_chars: int = 131_072  # of all text that is parsed for one answer
    queries: int = 32  # per answer
    depth: int = 24  # of brackets and CASEs within each other: Python's stack holds about 40 of the parser's
    columns: int = 5_000  # entries in the lineage of one query, inputs included; they are published, so: bytes
    cpu_s: float = 4.0  # of one answer; far above what the other limits let through, in case a parser has a worse case
    sql_chars: int = 16_384  # the most of a query's text that is returned


class TooComplexError(Exception):
    """A statement exceeds a limit on nesting, steps or columns."""


class Budget:
    """Steps of reading, refilled for each statement, within the processor time of one answer."""

    _CLOCK_EVERY = 64

    def __init__(self, cpu_s: float) -> None:
        self._until = time.thread_time() + cpu_s
        self._steps = 0
        self._look = self._CLOCK_EVERY

    def refill(self, steps: int) -> None:
        """Allow so many steps from now on."""
        self._steps = steps

    def spend(self, steps: int = 1) -> None:
        """Use up steps.

        Raises:
            TooComplexError: no steps, or no time, are left.
        """
        self._steps -= steps
        self._look -= 1
        if self._look <= 0:
            self._look = self._CLOCK_EVERY
            if time.thread_time() > self._until:
                raise TooComplexError("out of time")
        if self._steps < 0:
            raise TooComplexError("out of steps")
