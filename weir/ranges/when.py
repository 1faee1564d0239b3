"""Parses a place in a topic as people write it: a time, how long ago, or offsets.

| written | means |
|---|---|
| ``2026-11-20T08:00:00Z``, ``2026-11-20`` | a time, ISO 8601; UTC where it names no zone |
| ``-2h``, ``-1d12h``, ``-90s`` | so long before now; days, hours, minutes, seconds |
| ``now`` | the present time, when the command starts |
| ``earliest``, ``latest`` | where the log starts, where it ends |
| ``0:1200,3:88`` | offsets of partitions 0 and 3; of the others no records (as a start), or all (as an end) |
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from weir.envelope import seconds_of, utc_iso
from weir.ranges.errors import UsageError

_AGO: Final = re.compile(r"-(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?")
_UNITS_S: Final = (86_400, 3_600, 60, 1)
_OFFSETS: Final = re.compile(r"\d{1,9}:\d{1,18}(,\d{1,9}:\d{1,18})*")


class Edge(Enum):
    """An end of the log."""

    EARLIEST = "earliest"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Time:
    """A point in time."""

    seconds: float  # since the epoch


@dataclass(frozen=True, slots=True)
class Offsets:
    """An offset for each of some partitions."""

    of: Mapping[int, int]


When = Edge | Time | Offsets


def written(when: When) -> str:
    """The place as text that means the same later; the end of the log is now."""
    if isinstance(when, Offsets):
        return ",".join(f"{partition}:{offset}" for partition, offset in when.of.items())
    return utc_iso(when.seconds) if isinstance(when, Time) else when.value


def record_time(seconds: float) -> str | None:
    """The time of a record as ISO 8601; None if no calendar has it, for a client of Kafka may set any time."""
    try:
        return utc_iso(seconds)
    except (ValueError, OverflowError, OSError):
        return None


def parse(text: str, *, now: float, option: str) -> When:
    """Parse a place.

    Args:
        text: the text to parse.
        now: the present time, in seconds since the epoch.
        option: the option that holds it, for the error.

    Raises:
        UsageError: the text is none of these.
    """
    text = text.strip()
    if text in {edge.value for edge in Edge}:
        return Edge(text)
    if text == "now":
        return Time(now)
    if _OFFSETS.fullmatch(text):
        pairs = (pair.split(":") for pair in text.split(","))
        return Offsets({int(partition): int(offset) for partition, offset in pairs})
    ago = _AGO.fullmatch(text)
    if ago is not None and any(ago.groups()):
        seconds: float | None = now - sum(int(n or 0) * unit for n, unit in zip(ago.groups(), _UNITS_S, strict=True))
    else:
        seconds = seconds_of(text)
    if seconds is not None and seconds < 0:
        raise UsageError(f"{option}: {text[:80]!r} is before 1970")
    if seconds is None:
        raise UsageError(
            f"{option}: {text[:80]!r} is not a time: write it as 2026-11-20T08:00:00Z, -2h, earliest, latest, now, or "
            "as offsets (0:1200,1:88)"
        )
    return Time(seconds)
