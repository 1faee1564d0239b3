"""Formats the figures of a report, the same on a terminal and on a page."""

import math
from typing import Final, NamedTuple

from weir.envelope import seconds_of, utc_iso
from weir.replay.report.judging import COMPLETED, FAILED, PAIRS_MIN, JudgedErrors, JudgedMeasure
from weir.replay.report.report import ReplayReport, Times

NONE: Final = "-"  # for an unknown value
NAMED_MAX: Final = 3  # models; more are only counted
MINUS: Final = "\N{MINUS SIGN}"
TIMES: Final = "\N{MULTIPLICATION SIGN}"


def figure(value: float | None, unit: str) -> str:
    """A value with its unit: ``840 ms``, ``12.3 s``, ``$0.0021``, ``12,345``."""
    if value is None:
        return NONE
    sign = MINUS if value < 0 else ""
    return sign + {"ms": _ms, "USD": _usd}.get(unit, _count)(abs(value))


def signed(value: float | None, unit: str) -> str:
    """A difference: ``+120 ms``."""
    text = figure(value, unit)
    return f"+{text}" if value is not None and value > 0 else text


def share(value: float | None) -> str:
    """A share from 0 to 1 as ``12.5 %``."""
    return NONE if value is None else f"{100 * value:.1f} %"


def likeness(value: float | None) -> str:
    """A similarity, 0 to 1."""
    return NONE if value is None else f"{value:.2f}"


def change(ratio: float | None) -> str:
    """The change from the original's: ``-21.0 %``, or ``x3.2`` from twice as much on."""
    if ratio is None:
        return NONE
    if ratio >= 2:
        return f"{TIMES}{ratio:.1f}"
    text = f"{100 * abs(ratio - 1):.1f} %"
    return text if text == "0.0 %" else f"{'+' if ratio > 1 else MINUS}{text}"


def interval(each: JudgedMeasure) -> str:
    """The interval that holds the median difference, or how many pairs it needs."""
    if each.low is None or each.high is None:
        return f"needs {PAIRS_MIN} pairs"
    return f"{signed(each.low, each.measure.unit)} … {signed(each.high, each.measure.unit)}"


def probability(errors: JudgedErrors) -> str:
    """The p-value, or how many pairs it needs to be possibly small."""
    differ = errors.only_original + errors.only_replay
    if differ < PAIRS_MIN:
        return f"needs {PAIRS_MIN} that differ"
    return "p < 0.001" if errors.p < 0.001 else f"p = {errors.p:.3f}"


def span(report: ReplayReport) -> str:
    """The time range of the originals."""
    begin, end = report.facts.from_time, report.facts.to_time
    return f"{_when(begin) if begin else 'the beginning'} to {_when(end) if end else 'the end'}"


def replayed(report: ReplayReport) -> str:
    """The time range in which they were sent again."""
    end = report.facts.ended_at
    return f"{_when(report.facts.started_at)} to {_when(end) if end else 'now'}"


def models(report: ReplayReport) -> str:
    """The models of both sides: ``a, b → c``, or their number, if the list would be long."""
    before = {each.original.model for each in report.requests} or {NONE}
    after = {each.replay.model for each in report.requests} or {report.facts.model or NONE}
    if before == after and len(before) > NAMED_MAX:
        return f"{len(before):,} models, each again"
    return f"{_named(before)} → {_named(after)}"


def _named(models: set[str]) -> str:
    return ", ".join(sorted(models)) if len(models) <= NAMED_MAX else f"{len(models):,} models"


def similarity(report: ReplayReport) -> str:
    """The similarity of the texts, in a sentence."""
    alike = report.likenesses
    figures = f"{likeness(alike.mean)} in the mean, {likeness(alike.p10)} at p10"
    return f"Similarity (ROUGE-L): {figures}; {alike.identical:,} of {alike.pairs:,} texts are identical"


class Row(NamedTuple):
    """A line of the totals."""

    title: str
    original: str
    replay: str
    remark: str = ""


def totals(report: ReplayReport) -> list[Row]:
    """Both sides of all pairs, line by line."""
    then, now = report.original, report.replay
    return [
        *(_row(status, then.statuses.get(status, 0), now.statuses.get(status, 0)) for status in statuses(report)),
        Row("error rate", share(then.error_rate), share(now.error_rate)),
        *_times("latency", then.latency_ms, now.latency_ms),
        *_times("TTFT", then.ttft_ms, now.ttft_ms),
        _row("input tokens", then.input_tokens, now.input_tokens)._replace(remark=_without(report, "input_tokens")),
        _row("output tokens", then.output_tokens, now.output_tokens)._replace(remark=_without(report, "output_tokens")),
        _row("cost", then.cost_usd, now.cost_usd, "USD")._replace(remark=_without(report, "cost_usd")),
    ]


def statuses(report: ReplayReport) -> list[str]:
    """The statuses that occur on either side, good ones first."""
    found = {*report.original.statuses, *report.replay.statuses}
    return [*(status for status in _STATUSES if status in found), *sorted(found - {*_STATUSES})]


_STATUSES: Final = (COMPLETED, FAILED, "cancelled", "expired", "running", "unknown")


def _times(title: str, then: Times | None, now: Times | None) -> list[Row]:
    return [
        _row(f"{title} {kind}", getattr(then, kind, None), getattr(now, kind, None), "ms")
        for kind in ("p50", "p95", "mean")
    ]


def _row(title: str, then: float | None, now: float | None, unit: str = "") -> Row:
    return Row(title, figure(then, unit), figure(now, unit))


def _without(report: ReplayReport, name: str) -> str:
    left_out = report.unknown[name]
    return f"{left_out:,} left out, not known" if left_out else ""


def _when(time: str) -> str:
    """A time as ``2026-01-31 12:00:00 UTC``; unchanged if it is not a time."""
    seconds = seconds_of(time)
    return time if seconds is None else f"{utc_iso(seconds)[:19].replace('T', ' ')} UTC"


def _ms(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:,.1f} s"
    return f"{value:,.0f} ms" if value >= 10 or value == 0 else f"{value:.1f} ms"


def _usd(value: float) -> str:
    """Cents for an amount of some dollars, and two digits for less than a cent."""
    digits = 2 if value >= 1 or value == 0 else max(2, 1 - math.floor(math.log10(value)))
    return f"${value:,.{digits}f}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
