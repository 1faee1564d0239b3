"""Closes windows: judges one that is due, and writes the result down.

It writes, in this order: insights that are over, the model's row (with the breaches of the window: from here on it is
judged), then the window without its ids. So a crash leaves the first of these and not the last, and a window is judged
again only if none of them was written.
"""

from dataclasses import dataclass
from typing import Final

from weir.envelope import Json
from weir.events.insights import InsightCleared, InsightRaised, InsightType
from weir.insights import wording
from weir.insights.counts import Counts
from weir.insights.durations import Durations
from weir.insights.event_ids import EventIds
from weir.insights.judging import Breach, Closed, InsightLimits, Verdict, judge, silent
from weir.insights.rows import QualityRows
from weir.insights.schedule import Schedule
from weir.insights.values import JudgedWindow, ModelRow, WindowKey, WindowRow
from weir.insights.watermark import Watermark

OVER_KEPT: Final = 20  # insights of a model that are over and still shown

Insight = InsightRaised | InsightCleared


@dataclass(frozen=True, slots=True)
class Closing:
    """A window or a silence that is due, with the insights to publish before it is written down."""

    span: WindowKey  # the window; or the last of the silent windows
    row: WindowRow | None  # None if there was no record
    insights: tuple[Insight, ...] = ()
    judged: bool = False  # whether it was judged before: only the rest is to be written


class Closings:
    """Closes the windows of one partition.

    Args:
        rows: the rows of the worker.
        schedule: what is due when.
        ids: the ids of the events in open windows.
        watermark: the watermark of the partition.
        spans: lengths of time.
        limits: the limits for judging.
        counts: the counters to increase.
    """

    def __init__(
        self,
        rows: QualityRows,
        schedule: Schedule,
        ids: EventIds,
        watermark: Watermark,
        *,
        spans: Durations,
        limits: InsightLimits,
        counts: Counts,
    ) -> None:
        self._rows, self._schedule, self._ids, self._watermark = rows, schedule, ids, watermark
        self._spans, self._limits, self._counts = spans, limits, counts

    def next(self, name: str, detected_ms: int) -> Closing | None:
        """The oldest closing that is due for a tenant and model; the call changes nothing.

        Args:
            name: the tenant and model.
            detected_ms: the time of detection, for its insights.
        """
        model = self._rows.model(name) or ModelRow()
        at_ms, span = self._schedule.next(name, model)
        if at_ms is None or at_ms > self._watermark.ms:
            return None
        if span is None:
            span = WindowKey(name, at_ms - self._spans.size_ms, at_ms)
            verdicts = silent(model.wrong, self._spans.quiet)
            return Closing(span, None, tuple(_insight(name, verdict, model, span, detected_ms) for verdict in verdicts))
        row = self._rows.window(span) or WindowRow()
        if span.end_ms <= max(model.judged_until_ms, self._watermark.closed_ms):
            return Closing(span, row, judged=True)  # a crash came in between
        verdicts = judge(_closed(span, row, model), self._before(name, model), _active(model), self._limits)
        return Closing(span, row, tuple(_insight(name, verdict, model, span, detected_ms) for verdict in verdicts))

    def settle(self, closing: Closing, published: tuple[Insight, ...]) -> None:
        """Write a closing down.

        Args:
            closing: the closing.
            published: its insights as they are in the log.
        """
        span, row = closing.span, closing.row
        model = self._rows.model(span.name) or ModelRow()
        if not closing.judged:
            self._write_judged(span, row, model, published)
        if row is not None:
            self._write_closed(span, row, kept=any(one.start_ms == span.start_ms for one in model.kept))
        self._schedule.refresh(span.name)

    def _write_judged(
        self, span: WindowKey, row: WindowRow | None, model: ModelRow, published: tuple[Insight, ...]
    ) -> None:
        wrong, over = set(model.active), self._rows.over(span.name)
        for data in published:
            kind = data.insight_type.value
            if isinstance(data, InsightRaised):
                model.active[kind] = data.model_dump(mode="json")
                self._counts.raised[kind] += 1
            else:
                since = model.active.pop(kind)
                over.append({**data.model_dump(mode="json"), "raised": since})
                self._counts.cleared[kind] += 1
        if len(over) > len(self._rows.over(span.name)):
            self._rows.put_over(span.name, _last_of_each(over)[-OVER_KEPT:])
        if row is not None:
            self._counts.closed += 1
            model.judged_until_ms = max(model.judged_until_ms, span.end_ms)
            model.kept.append(JudgedWindow(span.start_ms, span.end_ms, sorted(wrong | set(model.active))))
            for old in model.kept[: -self._spans.kept]:
                self._rows.drop_window(WindowKey(span.name, old.start_ms, old.end_ms))
            model.kept = model.kept[-self._spans.kept :]
        self._rows.put_model(span.name, model)

    def _write_closed(self, span: WindowKey, row: WindowRow, *, kept: bool) -> None:
        self._ids.drop(span, row)
        row.closed = True
        if kept:
            self._rows.put_window(span, row)
        else:
            self._rows.drop_window(span)
        self._schedule.closed(span)

    def _before(self, name: str, model: ModelRow) -> list[Closed]:
        before = []
        for one in model.kept:
            row = self._rows.window(WindowKey(name, one.start_ms, one.end_ms))
            if row is not None:
                kinds = frozenset(map(InsightType, one.breached))
                before.append(Closed(start_ms=one.start_ms, end_ms=one.end_ms, window=row.window, breached=kinds))
        return before


def _closed(span: WindowKey, row: WindowRow, model: ModelRow) -> Closed:
    breached = frozenset(model.wrong)
    return Closed(start_ms=span.start_ms, end_ms=span.end_ms, window=row.window, breached=breached)


def _insight(name: str, verdict: Verdict, model: ModelRow, span: WindowKey, detected_ms: int) -> Insight:
    if verdict.raised:
        return wording.raised(name, verdict, span.start_ms, span.end_ms, detected_ms)
    since = InsightRaised.model_validate(model.active[verdict.kind])
    return wording.cleared(verdict, since, span.start_ms, span.end_ms)


def _active(model: ModelRow) -> dict[InsightType, Breach]:
    return {InsightType(kind): Breach(previous=since["previous"]) for kind, since in model.active.items()}


def _last_of_each(over: list[Json]) -> list[Json]:
    """One entry for each insight: after a crash the same one may be noted again."""
    return list({one["insight_id"]: one for one in over}.values())
