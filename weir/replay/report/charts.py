"""Small charts of a report as inline SVG. Their colours come from the style sheet, so they are light or dark."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from weir.replay.report import figures
from weir.replay.report.comparison import Compared
from weir.replay.report.figures import figure
from weir.replay.report.judging import COMPLETED, JudgedMeasure
from weir.replay.report.report import ReplayReport

BINS: Final = 20  # of similarity
POINTS_MAX: Final = 1_500  # more would be one blot, and make the page slow

_WIDTH, _HEIGHT = 380, 300  # of a chart, in its own units; the page scales it
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 362, 14, 254  # of the area within its axes


class _Axis(NamedTuple):
    """Maps values to places on an axis."""

    least: float
    most: float
    begin: float
    end: float

    def place(self, value: float) -> float:
        """The place of a value, in the chart's units."""
        return self.begin + (value - self.least) / (self.most - self.least) * (self.end - self.begin)


def similarity_histogram(report: ReplayReport) -> str:
    """A histogram of the pairs by similarity."""
    values = [each.similarity for each in report.requests if each.similarity is not None]
    if not values:
        return _nothing("No two answers to compare")
    counts = [0] * BINS
    for value in values:
        counts[min(int(value * BINS), BINS - 1)] += 1
    step = _round_step(max(counts))
    across = _Axis(0, 1, _LEFT, _RIGHT)
    up = _Axis(0, step * math.ceil(max(counts) / step), _BOTTOM, _TOP + 14)
    parts = [_level(up.place(count), f"{count:,}") for count in range(0, int(up.most) + 1, step)]
    for number, count in enumerate(counts):
        low, high = number / BINS, (number + 1) / BINS
        left, top = across.place(low) + 1, up.place(count)
        parts.append(
            f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{across.place(high) - left - 1:.1f}" '
            f'height="{_BOTTOM - top:.1f}" rx="1.5"><title>{low:.2f} to {high:.2f}: {count:,} pairs</title></rect>'
        )
    parts += [_text(across.place(tenth / 10), _BOTTOM + 18, f"{tenth / 10:g}") for tenth in range(0, 11, 2)]
    parts.append(_text((_LEFT + _RIGHT) / 2, _HEIGHT - 8, "similarity (ROUGE-L F1)", "axis"))
    mean = report.likenesses.mean or 0.0
    parts.append(
        f'<line class="mark" x1="{across.place(mean):.1f}" x2="{across.place(mean):.1f}" y1="{_TOP}" y2="{_BOTTOM}"/>'
    )
    side = "end" if mean > 0.5 else "start"
    parts.append(_text(across.place(mean) + (-5 if mean > 0.5 else 5), _TOP + 8, f"mean {mean:.2f}", f"label {side}"))
    return _svg(f"Similarity of {len(values):,} pairs of answers, in {BINS} steps from 0 to 1", parts)


def latency_scatter(report: ReplayReport) -> str:
    """A point for each pair: the latency of the original and of its replay, on logarithmic axes."""
    points = latencies(report)
    if not points:
        return _nothing("No two answers with a latency")
    shown = points[:: one_of(len(points))]
    values = [max(value, 1.0) for _, then, now in points for value in (then, now)]  # a logarithm needs a positive value
    ticks = _log_ticks(min(values), max(values))
    across = _Axis(math.log(ticks[0]), math.log(ticks[-1]), _LEFT, _RIGHT)
    up = _Axis(across.least, across.most, _BOTTOM, _TOP)
    parts = []
    for tick in _few(ticks):
        parts.append(_level(up.place(math.log(tick)), _tick(tick)))
        parts.append(_text(across.place(math.log(tick)), _BOTTOM + 18, _tick(tick)))
    parts.append(f'<line class="mark" x1="{_LEFT}" y1="{_BOTTOM}" x2="{_RIGHT}" y2="{_TOP}"/>')
    for row, then, now in shown:
        title = escape(f"{report.requests[row].replay_of}: {figure(then, 'ms')} → {figure(now, 'ms')}")
        parts.append(
            f'<circle class="point" data-row="{row}" cx="{across.place(math.log(max(then, 1.0))):.1f}" '
            f'cy="{up.place(math.log(max(now, 1.0))):.1f}" r="3"><title>{title}</title></circle>'
        )
    parts.append(_text(_LEFT + 8, _TOP + 12, "replay slower", "label start"))
    parts.append(_text(_RIGHT - 8, _BOTTOM - 9, "replay faster", "label end"))
    parts.append(_text((_LEFT + _RIGHT) / 2, _HEIGHT - 8, "latency of the original", "axis"))
    middle = (_TOP + _BOTTOM) / 2
    parts.append(f'<g transform="rotate(-90 11 {middle})">{_text(11, middle, "latency of its replay", "axis")}</g>')
    return _svg(f"Latency of {len(shown):,} originals and their replays", parts)


def one_of(points: int) -> int:
    """The n for which one in n points is drawn."""
    return math.ceil(points / POINTS_MAX)


def latencies(report: ReplayReport) -> list[tuple[int, float, float]]:
    """Number of the row, latency of the original and of the replay, where both completed; shortest original first."""
    found = []
    for row, each in enumerate(report.requests):
        then, now = each.original.latency_ms, each.replay.latency_ms
        if _completed(each) and then is not None and now is not None:
            found.append((row, then, now))
    return sorted(found, key=lambda point: point[1:])


def interval_bar(each: JudgedMeasure) -> str:
    """The interval of the median difference on an axis with zero; empty if there is none."""
    if each.low is None or each.high is None or each.difference is None:
        return ""
    reach = max(abs(each.low), abs(each.high)) * 1.15 or 1.0
    across = _Axis(-reach, reach, 4, 236)
    low, high, dot, zero = (across.place(value) for value in (each.low, each.high, each.difference, 0.0))
    label = f"median difference {figures.signed(each.difference, each.measure.unit)}, 95 %: {figures.interval(each)}"
    return (
        f'<svg class="interval" viewBox="0 0 240 26" role="img" aria-label="{escape(label)}">'
        '<line class="grid" x1="4" x2="236" y1="9" y2="9"/>'
        f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="2" y2="16"/>{_text(zero, 25, "0")}'
        f'<line class="span" x1="{low:.1f}" x2="{max(high, low + 1):.1f}" y1="9" y2="9"/>'
        f'<circle class="dot" cx="{dot:.1f}" cy="9" r="4"/></svg>'
    )


def _completed(each: Compared) -> bool:
    return each.original.status == each.replay.status == COMPLETED


# -- parts


def _svg(label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _nothing(why: str) -> str:
    return f'<p class="nothing">{escape(why)}.</p>'


def _text(x: float, y: float, text: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _level(y: float, text: str) -> str:
    """A line of the grid, with its value on the left."""
    line = f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(_LEFT - 7, y + 4, text, "tick end")


def _round_step(most: int) -> int:
    """1, 2 or 5 times a power of ten, so that some four steps reach the greatest."""
    power = int(10 ** math.floor(math.log10(max(most / 4, 1))))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * 5 >= most)


def _log_ticks(least: float, most: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from the last that is not above the least to the first not below the most."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 2)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    begin = max(n for n, tick in enumerate(ticks) if tick <= least)
    end = min(n for n, tick in enumerate(ticks) if tick >= most)
    return ticks[begin : max(end, begin + 1) + 1]


def _few(ticks: Sequence[float]) -> Sequence[float]:
    """As many ticks as have room for their labels."""
    return ticks if len(ticks) <= 9 else [tick for tick in ticks if f"{tick:e}".startswith("1")]


def _tick(value: float) -> str:
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"
