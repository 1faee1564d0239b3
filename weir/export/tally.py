"""Counts the records that an export wrote, and those that it left out, by the reason."""

from collections import Counter
from enum import StrEnum


class Skip(StrEnum):
    """Why a record is not in an export; the values are words of the last line."""

    FILTERED = "not asked for by --where"
    MALFORMED = "malformed"
    REFUSED = "refused"
    MOVED = "put into another partition than their uid's"
    AGAIN = "submitted again"
    REPLAY = "replays"
    UNRATED = "without explicit feedback"
    LOW = "rated below --min-score"
    GONE = "corrected, but the correction is gone from the log"
    UNFINISHED = "without an end"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    BROKEN = "with a gap in the answer"
    TRUNCATED = "with an answer that was cut off"
    EMPTY = "with an empty answer"
    PREFIX = "that begin the answer themselves"
    ROLE = "with a role that fine-tuning does not know"
    CONTENT = "with content other than text and images"
    TOOLS = "with tools that are no functions"
    CALLS = "with tool calls that nothing answers"


class Tally:
    """The counts of one export."""

    def __init__(self) -> None:
        self.written = 0
        self.skipped: Counter[Skip] = Counter()

    def skip(self, why: Skip) -> None:
        """Count a record that is left out."""
        self.skipped[why] += 1

    def left_out(self) -> str:
        """The text ``; left out: 7 failed, 2 cancelled``, the most frequent first; empty if no record was."""
        reasons = ", ".join(f"{count} {why}" for why, count in self.skipped.most_common())
        return reasons and f"; left out: {reasons}"
