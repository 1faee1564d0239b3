"""Judges whether a replay differs from its original, pair by pair, and how certain that is.

No distribution of times, costs or lengths is assumed: they have long tails, and a t-test would follow the few longest.
Each verdict stands for itself: of twenty verdicts without a true difference, one will be wrong.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from weir.replay.report.comparison import AnswerOutcome, Compared

ALPHA: Final = 0.05  # intervals hold the true median in 95 of 100 cases
PAIRS_MIN: Final = 6  # with five, even the interval from the least to the greatest holds it in 94 % only: 1 - 2 / 2**5
UNCLEAR: Final = "no clear difference"

COMPLETED, FAILED = "completed", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairMeasure:
    """A figure of an answer by which a replay is judged."""

    name: str  # the field of Outcome
    title: str
    unit: str  # ms, USD, tokens
    total: bool  # whether the sum over all requests is shown; otherwise the median
    less: str  # the verdict if the replay has less
    more: str

    def of(self, outcome: AnswerOutcome) -> float | None:
        """The figure of an outcome; None if it is not known."""
        value: float | None = getattr(outcome, self.name)
        return value


MEASURES: Final = (
    PairMeasure(name="latency_ms", title="latency p50", unit="ms", total=False, less="faster", more="slower"),
    PairMeasure(name="ttft_ms", title="TTFT p50", unit="ms", total=False, less="faster", more="slower"),
    PairMeasure(name="cost_usd", title="cost", unit="USD", total=True, less="cheaper", more="dearer"),
    PairMeasure(name="output_tokens", title="output tokens", unit="tokens", total=True, less="shorter", more="longer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedMeasure:
    """One measure, over the pairs that both completed and whose figures are both known."""

    measure: PairMeasure
    pairs: int
    original: float | None  # its median or total; None without pairs
    replay: float | None
    difference: float | None  # the median of replay less original
    low: float | None  # the interval that holds that median; None with too few pairs
    high: float | None
    verdict: str

    @property
    def ratio(self) -> float | None:
        """The replay's value divided by the original's."""
        return self.replay / self.original if self.original and self.replay is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedErrors:
    """Failures, over the pairs that the model ended both of: cancelled and expired requests are not its errors."""

    pairs: int
    original: int  # failed originals
    replay: int  # failed replays
    only_original: int  # failed, while the other side completed
    only_replay: int
    p: float  # the probability that these two differ at least so much without a true difference
    verdict: str


def judged(measure: PairMeasure, compared: Sequence[Compared]) -> JudgedMeasure:
    """Judge one measure over all pairs."""
    both = [(measure.of(each.original), measure.of(each.replay)) for each in compared if _both_completed(each)]
    pairs = [(left, right) for left, right in both if left is not None and right is not None]
    differences = sorted(right - left for left, right in pairs)
    over: Callable[[Sequence[float]], float] = math.fsum if measure.total else median
    interval = median_interval(differences)
    return JudgedMeasure(
        measure=measure,
        pairs=len(pairs),
        original=over([left for left, _ in pairs]) if pairs else None,
        replay=over([right for _, right in pairs]) if pairs else None,
        difference=median(differences) if pairs else None,
        low=interval and interval[0],
        high=interval and interval[1],
        verdict=_verdict(interval, measure) if _agree(measure, pairs, differences) else UNCLEAR,
    )


def _agree(measure: PairMeasure, pairs: Sequence[tuple[float, float]], differences: Sequence[float]) -> bool:
    """Whether a total changed as most of its pairs did: a few long answers may outweigh many short ones."""
    if not measure.total or not pairs:
        return True
    return (math.fsum(right for _, right in pairs) - math.fsum(left for left, _ in pairs)) * median(differences) >= 0


def judged_errors(compared: Sequence[Compared]) -> JudgedErrors:
    """Judge the failures of all pairs, by McNemar's exact test."""
    ends = [(each.original.status, each.replay.status) for each in compared]
    pairs = [pair for pair in ends if {*pair} <= {COMPLETED, FAILED}]
    only_original, only_replay = pairs.count((FAILED, COMPLETED)), pairs.count((COMPLETED, FAILED))
    both = pairs.count((FAILED, FAILED))
    p = mcnemar(only_original, only_replay)
    fewer_or_more = "fewer errors" if only_replay < only_original else "more errors"
    return JudgedErrors(
        pairs=len(pairs),
        original=both + only_original,
        replay=both + only_replay,
        only_original=only_original,
        only_replay=only_replay,
        p=p,
        verdict=fewer_or_more if p <= ALPHA else UNCLEAR,
    )


def median_interval(ordered: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % confidence interval of the median that these are a sample of; None for fewer than ``PAIRS_MIN``.

    It goes from the k-th least to the k-th greatest. The median lies below the k-th least where fewer than k of n are
    below the median, as likely as fewer than k heads in n throws of a coin; k is the greatest that keeps this within
    2.5 % at each side (Conover 1999, "Practical Nonparametric Statistics", section 3.2; Thompson 1936, "On confidence
    ranges for the median", Annals of Mathematical Statistics 7).
    """
    k, below = 0, 0.0
    for chance in _heads(len(ordered)):
        below += chance
        if below > ALPHA / 2:
            break
        k += 1
    return (ordered[k - 1], ordered[-k]) if k else None


def mcnemar(one: int, other: int) -> float:
    """The exact p-value, two-sided, of so many pairs that differ one way and so many that differ the other way.

    Without a true difference, a pair falls to either side like a coin (McNemar 1947, "Note on the sampling error of the
    difference between correlated proportions", Psychometrika 12). With fewer than ``PAIRS_MIN`` pairs that differ it
    cannot fall below 5 %.
    """
    tail = math.fsum(chance for chance, _ in zip(_heads(one + other), range(min(one, other) + 1), strict=False))
    return min(1.0, 2 * tail)


def _heads(throws: int) -> Iterator[float]:
    """The probability of 0, 1, 2, … heads. By logarithms: 2**-throws is too small for a float with many throws."""
    for heads in range(throws + 1):
        ways = math.lgamma(throws + 1) - math.lgamma(heads + 1) - math.lgamma(throws - heads + 1)
        yield math.exp(ways - throws * math.log(2))


def _verdict(interval: tuple[float, float] | None, measure: PairMeasure) -> str:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return UNCLEAR
    return measure.less if interval[1] < 0 else measure.more


def _both_completed(each: Compared) -> bool:
    """Whether both completed: the time until a failure, or until a client gave up, says little about a model."""
    return each.original.status == each.replay.status == COMPLETED
