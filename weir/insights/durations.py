"""The length of windows, and how long they and their insights are kept."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Lengths of time in milliseconds, and counts of windows. The settings have the reasons."""

    size_ms: int
    lateness_ms: int
    ahead_ms: int
    kept: int  # closed windows that are kept
    quiet: int  # windows without any record, after which a breach is over
    expiry_ms: int  # how long insights that are over are shown
