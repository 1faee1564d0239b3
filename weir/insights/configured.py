"""Converts the settings of insights to the records that the windows use."""

from weir.insights.durations import Durations
from weir.insights.judging import InsightLimits
from weir.settings import Settings


def spans(settings: Settings) -> Durations:
    """The lengths of time, from the settings."""
    return Durations(
        size_ms=int(settings.insight_window_s * 1000),
        lateness_ms=int(settings.insight_lateness_s * 1000),
        ahead_ms=int(settings.insight_ahead_s * 1000),
        kept=settings.insight_windows_kept,
        quiet=settings.insight_quiet_windows,
        expiry_ms=int(settings.table_expiry_s * 1000),
    )


def limits(settings: Settings) -> InsightLimits:
    """The limits, from the settings."""
    return InsightLimits(
        baseline=settings.insight_baseline_windows,
        requests_min=settings.insight_requests_min,
        signals_min=settings.insight_signals_min,
        clear_ratio=settings.insight_clear_ratio,
        quality_min=settings.insight_quality_min,
        quality_drop=settings.insight_quality_drop,
        error_rate_max=settings.insight_error_rate_max,
        errors_min=settings.insight_errors_min,
        latency_p95_max_ms=settings.insight_latency_p95_max_ms,
        latency_ratio=settings.insight_latency_ratio,
        latency_floor_ms=settings.insight_latency_floor_ms,
        cost_ratio=settings.insight_cost_ratio,
        cost_max_usd=settings.insight_cost_max_usd,
        drought_ratio=settings.insight_drought_ratio,
        drought_expected=settings.insight_drought_expected,
        normal_after=settings.insight_windows_kept,
    )


def tick_s(settings: Settings) -> float:
    """Seconds between two looks at the clock: a window without news closes that much later."""
    return min(5.0, settings.insight_window_s / 4)
