"""A place in a topic as people write it: a time, how long ago, or offsets.

| written | means |
|---|---|
| ``2026-11-20T08:00:00Z``, ``2026-11-20`` | a time, ISO 8601; UTC where it names no zone |
| ``-2h``, ``-1d12h``, ``-90s`` | so long before now; days, hours, minutes, seconds |
| ``now`` | the clock, when the command starts |
| ``earliest``, ``latest`` | where the log starts, where it ends |
| ``0:1200,3:88`` | offsets of partitions 0 and 3; of the others nothing (as a start), or all (as an end) |
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
    """A time."""

    seconds: float  # since the epoch


@dataclass(frozen=True, slots=True)
class Offsets:
    """An offset of each of these partitions."""

    of: Mapping[int, int]


When = Edge | Time | Offsets


def written(when: When) -> str:
    """The same place, so that it means the same later; the end of the log is now."""
    if isinstance(when, Offsets):
        return ",".join(f"{partition}:{offset}" for partition, offset in when.of.items())
    return utc_iso(when.seconds) if isinstance(when, Time) else when.value


def told(seconds: float) -> str | None:
    """The time of a record; None where no calendar has it, for whoever writes to Kafka sets it."""
    try:
        return utc_iso(seconds)
    except (ValueError, OverflowError, OSError):
        return None


def parse(text: str, *, now: float, option: str) -> When:
    """What was written.

    Args:
        text: what.
        now: the clock, in seconds since the epoch.
        option: where it was written, for the error.

    Raises:
        UsageError: it is none of these.
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
            f"{option}: {text[:80]!r} is no time: write it as 2026-11-20T08:00:00Z, -2h, earliest, latest, now, or "
            "as offsets (0:1200,1:88)"
        )
    return Time(seconds)
