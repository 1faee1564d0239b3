"""How long windows are, and for how long what is known of them is kept."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Lengths of time in milliseconds, and counts of windows. The settings tell the reasons."""

    size_ms: int
    lateness_ms: int
    ahead_ms: int
    kept: int  # closed windows that are kept
    quiet: int  # windows without anything, after which what is wrong is over
    expiry_ms: int  # insights that are over are shown for so long
