"""Judges a closed window: a pure function of it, the windows before it, the present breaches, and the limits.

Each kind of insight has a *measure*: a value, the limits that it may not pass, and the *calm* values to which it must
return before the insight is cleared. Between the two the state stays: a value near a limit does not flap. A window with
too little data has no value for that kind: it neither raises nor clears.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from weir.events.insights import InsightSeverity, InsightType
from weir.insights.window import WindowFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightLimits:
    """The limits, and how much data a verdict needs. The settings give units and reasons."""

    baseline: int  # windows before, at most, that a window is compared with
    requests_min: int
    signals_min: int
    clear_ratio: float
    quality_min: float
    quality_drop: float
    error_rate_max: float
    errors_min: int
    latency_p95_max_ms: float
    latency_ratio: float
    latency_floor_ms: float
    cost_ratio: float
    cost_max_usd: float | None
    drought_ratio: float
    drought_expected: int
    normal_after: int  # windows in a row, of all there are, after which a breach counts as normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A closed window."""

    start_ms: int
    end_ms: int
    window: WindowFigures
    breached: frozenset[InsightType] = frozenset()  # breaches in it, including those not known to be over


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A breach that has been raised and not cleared."""

    previous: float | None  # the usual value before it


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowMeasure:
    """One kind of figure of a window that has enough data for it."""

    value: float
    count: int  # the number of measurements
    previous: float | None
    limits: tuple[float, ...]  # beyond which the value is a breach; the absolute limit is first, if there is one
    calm: tuple[float, ...]  # one for each limit
    absolute: bool  # whether the first limit is the absolute one
    critical: float | None  # beyond which the breach is critical
    sign: int = 1  # -1 where a smaller value is worse

    def beyond(self, limit: float) -> bool:
        """Whether the value is worse than a limit."""
        return self.sign * (self.value - limit) > 0

    @property
    def limit(self) -> float | None:
        """The limit that is passed first."""
        return self.sign * min(self.sign * limit for limit in self.limits) if self.limits else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A breach that begins, or is over."""

    kind: InsightType
    raised: bool
    value: float | None
    limit: float | None
    previous: float | None
    count: int
    severity: InsightSeverity = InsightSeverity.WARNING
    reason: str = ""  # why it is over, if not because of its value


def judge(
    closed: Closed, before: Sequence[Closed], active: Mapping[InsightType, Breach], limits: InsightLimits
) -> list[Verdict]:
    """The verdicts on a window.

    Args:
        closed: the window.
        before: the closed windows before it that are kept, oldest first.
        active: the breaches that have been raised and not cleared.
        limits: the limits.
    """
    verdicts = []
    for kind, (usual, measure) in _KINDS.items():
        breach = active.get(kind)
        previous = breach.previous if breach else usual(_baseline(kind, before, limits.baseline), limits)
        measured = measure(closed.window, previous, limits)
        verdict = None
        if measured is not None:
            verdict = _over(kind, measured, before, limits) if breach else _wrong(kind, measured)
        if verdict is not None:
            verdicts.append(verdict)
    return verdicts


def silent(active: Iterable[InsightType], windows: int) -> list[Verdict]:
    """The breaches that are over because no request came in so many windows."""
    reason = f"there was no request to it for {windows} windows"
    return [
        Verdict(kind=kind, raised=False, value=None, limit=None, previous=None, count=0, reason=reason)
        for kind in sorted(active)
    ]


def _wrong(kind: InsightType, measured: WindowMeasure) -> Verdict | None:
    if not any(measured.beyond(limit) for limit in measured.limits):
        return None
    critical = measured.critical is not None and measured.beyond(measured.critical)
    return Verdict(
        kind=kind,
        raised=True,
        value=measured.value,
        limit=measured.limit,
        previous=measured.previous,
        count=measured.count,
        severity=InsightSeverity.CRITICAL if critical else InsightSeverity.WARNING,
    )


def _over(
    kind: InsightType, measured: WindowMeasure, before: Sequence[Closed], limits: InsightLimits
) -> Verdict | None:
    reason = ""
    if any(measured.beyond(calm) for calm in measured.calm):
        always = len(before) >= limits.normal_after and all(kind in closed.breached for closed in before)
        if not always or (measured.absolute and measured.beyond(measured.calm[0])):
            return None
        reason = f"it has lasted for {limits.normal_after} windows: that is normal now"
    return Verdict(
        kind=kind,
        raised=False,
        value=measured.value,
        limit=measured.limit,
        previous=measured.previous,
        count=measured.count,
        reason=reason,
    )


def _baseline(kind: InsightType, before: Sequence[Closed], windows: int) -> WindowFigures:
    """The last windows before that had no breach of this kind, merged."""
    together = WindowFigures()
    for closed in [one for one in before if kind not in one.breached][-windows:]:
        together.merge(closed.window)
    return together


# -- the kinds: the usual value, and the measure of a window beside it


def _usual_score(before: WindowFigures, limits: InsightLimits) -> float | None:
    return before.score if before.signals >= limits.signals_min else None


def _quality(window: WindowFigures, previous: float | None, limits: InsightLimits) -> WindowMeasure | None:
    value = window.score
    if value is None or window.signals < limits.signals_min:
        return None
    back = (1 - limits.clear_ratio) * limits.quality_drop
    bounds = (limits.quality_min, *(() if previous is None else (previous - limits.quality_drop,)))
    return WindowMeasure(
        value=value,
        count=window.signals,
        previous=previous,
        limits=bounds,
        calm=tuple(limit + back for limit in bounds),
        absolute=True,
        critical=limits.quality_min - limits.quality_drop,
        sign=-1,
    )


def _usual_error_rate(before: WindowFigures, limits: InsightLimits) -> float | None:
    return before.error_rate if before.answered >= limits.requests_min else None


def _errors(window: WindowFigures, previous: float | None, limits: InsightLimits) -> WindowMeasure | None:
    if window.error_rate is None or window.answered < limits.requests_min:
        return None
    if window.failed < limits.errors_min and window.error_rate > limits.error_rate_max:
        return None
    return _more(window.error_rate, window.answered, previous, (limits.error_rate_max, None), limits)


def _usual_latency(before: WindowFigures, limits: InsightLimits) -> float | None:
    return before.latency_p95_ms if before.latency.count >= limits.requests_min else None


def _latency(window: WindowFigures, previous: float | None, limits: InsightLimits) -> WindowMeasure | None:
    value, count = window.latency_p95_ms, window.latency.count
    if value is None or count < limits.requests_min:
        return None
    relative = None if previous is None else max(previous * limits.latency_ratio, limits.latency_floor_ms)
    return _more(value, count, previous, (limits.latency_p95_max_ms, relative), limits)


def _usual_cost(before: WindowFigures, limits: InsightLimits) -> float | None:
    return before.cost_per_request_usd if before.priced >= limits.requests_min else None


def _cost(window: WindowFigures, previous: float | None, limits: InsightLimits) -> WindowMeasure | None:
    value = window.cost_per_request_usd
    if value is None or window.priced < limits.requests_min:
        return None
    relative = previous * limits.cost_ratio if previous else None  # zero times the ratio would be no limit
    return _more(value, window.priced, previous, (limits.cost_max_usd, relative), limits)


def _usual_feedback(before: WindowFigures, limits: InsightLimits) -> float | None:
    enough = before.feedback >= limits.drought_expected and before.completed >= limits.requests_min
    return before.feedback_rate if enough else None


def _feedback(window: WindowFigures, previous: float | None, limits: InsightLimits) -> WindowMeasure | None:
    value = window.feedback_rate
    if value is None or previous is None or previous * window.completed < limits.drought_expected:
        return None
    limit = previous * limits.drought_ratio
    calm = limit + (1 - limits.clear_ratio) * (previous - limit)
    return WindowMeasure(
        value=value,
        count=window.completed,
        previous=previous,
        limits=(limit,),
        calm=(calm,),
        absolute=False,
        critical=None,
        sign=-1,
    )


def _more(
    value: float, count: int, previous: float | None, either: tuple[float | None, float | None], limits: InsightLimits
) -> WindowMeasure:
    """The measure of a value that is worse the larger it is; ``either`` is the absolute limit and the relative one."""
    bounds = tuple(limit for limit in either if limit is not None)
    return WindowMeasure(
        value=value,
        count=count,
        previous=previous,
        limits=bounds,
        calm=tuple(limit * limits.clear_ratio for limit in bounds),
        absolute=either[0] is not None,
        critical=2 * min(bounds) if bounds else None,
    )


_Usual = Callable[[WindowFigures, InsightLimits], float | None]
_Measuring = Callable[[WindowFigures, float | None, InsightLimits], WindowMeasure | None]

_KINDS: Final[Mapping[InsightType, tuple[_Usual, _Measuring]]] = {
    InsightType.QUALITY_DROP: (_usual_score, _quality),
    InsightType.ERROR_RATE: (_usual_error_rate, _errors),
    InsightType.LATENCY: (_usual_latency, _latency),
    InsightType.COST: (_usual_cost, _cost),
    InsightType.FEEDBACK_DROUGHT: (_usual_feedback, _feedback),
}
