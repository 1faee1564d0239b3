"""Arithmetic of the benchmark: percentiles, and a median with its spread over the rounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of the values do not exceed, interpolated; 0 without values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    at = (len(ordered) - 1) * share
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over the rounds, and how far apart they are."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(median(values), min(values), max(values))

    def show(self, digits: int = 2) -> str:
        """The spread as ``1.02 (0.98…1.10)``; without brackets if all values are equal."""
        middle, least, most = (f"{value:.{digits}f}" for value in (self.median, self.least, self.most))
        return middle if least == most else f"{middle} ({least}…{most})"
