"""A quantile sketch like DDSketch: counts in buckets that grow by a tenth, so that a quantile is at most 5 % off.

Two sketches are merged by adding counts, so the order of the times makes no difference.
"""

import math
from collections.abc import Iterable

ERROR = 0.05  # relative, of any quantile
GROWTH = (1 + ERROR) / (1 - ERROR)
LEAST_MS, MOST_MS = 1.0, 3_600_000.0  # times beyond count as these: 153 buckets at most

_LOG_GROWTH = math.log(GROWTH)


class Sketch:
    """A sketch of times in milliseconds."""

    __slots__ = ("counts",)

    def __init__(self, pairs: Iterable[int] = ()) -> None:
        """Begins with the list that ``flat`` returned, or empty."""
        numbers = iter(pairs)
        self.counts: dict[int, int] = dict(zip(numbers, numbers, strict=True))

    def add(self, time_ms: float) -> None:
        """Count one time."""
        bucket = math.ceil(math.log(min(max(time_ms, LEAST_MS), MOST_MS)) / _LOG_GROWTH)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.counts == other.counts

    def merge(self, other: "Sketch") -> None:
        """Add the counts of another sketch."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    @property
    def count(self) -> int:
        """The number of times counted."""
        return sum(self.counts.values())

    def quantile_ms(self, share: float) -> float | None:
        """The time that this share of all (0 to 1) did not exceed, within ``ERROR``; None if there is none."""
        left = max(1, math.ceil(share * self.count))
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return 2 * GROWTH**bucket / (GROWTH + 1)
        return None

    def flat(self) -> list[int]:
        """The sketch as a list: bucket, count, bucket, count, …, in order."""
        return [number for bucket in sorted(self.counts) for number in (bucket, self.counts[bucket])]
