"""When a tenant and model is due: a window closes, a silence ends its breaches, or it is forgotten."""

from collections import defaultdict
from collections.abc import Iterable

from weir.insights.durations import Durations
from weir.insights.reading import time_ms
from weir.insights.rows import QualityRows
from weir.insights.values import ModelRow, WindowKey


class Schedule:
    """The open windows of one partition, and the event time at which each name is due.

    Args:
        rows: the windows of each name, and its breaches.
        spans: lengths of time.
        windows: the open windows.
        names: all names that have rows.
    """

    def __init__(self, rows: QualityRows, spans: Durations, windows: Iterable[WindowKey], names: Iterable[str]) -> None:
        self._rows, self._spans = rows, spans
        self._open: defaultdict[str, set[WindowKey]] = defaultdict(set)
        for span in windows:
            self._open[span.name].add(span)
        self._pressing: dict[str, int] = {}  # when a window of a name closes, or a breach of it ends
        self._due: dict[str, int] = {}  # when that is due, or else when it is forgotten
        for name in names:
            self.refresh(name)

    def windows(self, name: str) -> Iterable[WindowKey]:
        """The open windows of a name."""
        return self._open.get(name, ())

    def opened(self, span: WindowKey) -> None:
        """Note that a record was folded into a window."""
        if span not in self._open[span.name]:
            self._open[span.name].add(span)
            self.refresh(span.name)

    def closed(self, span: WindowKey) -> None:
        """Note that a window is closed; the caller refreshes its name when all rows are written."""
        self._open[span.name].discard(span)

    def due(self, watermark_ms: int) -> list[str]:
        """The names that are due by then."""
        return sorted(name for name, at_ms in self._due.items() if at_ms <= watermark_ms)

    def pressing_ms(self, by_ms: int) -> int | None:
        """The last time by then at which a window closes or a breach ends; None if there is none."""
        return max((at_ms for at_ms in self._pressing.values() if at_ms <= by_ms), default=None)

    def next(self, name: str, model: ModelRow) -> tuple[int | None, WindowKey | None]:
        """When the next window closes, and which; no window if breaches end because no request came."""
        span = min(self._open.get(name, ()), key=_order, default=None)
        if model.active:
            silent_ms = model.judged_until_ms + self._spans.quiet * self._spans.size_ms
            if span is None or span.start_ms >= silent_ms:
                return silent_ms, None
        return (None, None) if span is None else (span.end_ms, span)

    def refresh(self, name: str) -> None:
        """Note that the rows of a name have changed."""
        model = self._rows.model(name) or ModelRow()
        pressing_ms, _ = self.next(name, model)
        if pressing_ms is None:
            self._pressing.pop(name, None)
            self._due[name] = self._forgotten_at(name, model)
        else:
            self._pressing[name] = self._due[name] = pressing_ms

    def forget(self, name: str, watermark_ms: int) -> None:
        """Remove the windows of a model that had no request for long, or else the model. None of them may be open."""
        model = self._rows.model(name)
        if model is not None and model.kept:
            for one in model.kept:
                self._rows.drop_window(WindowKey(name, one.start_ms, one.end_ms))
            model.kept = []
            self._rows.put_model(name, model)
        self.refresh(name)
        if self._due[name] <= watermark_ms:
            self._rows.drop_model(name)
            self._open.pop(name, None)
            del self._due[name]

    def _forgotten_at(self, name: str, model: ModelRow) -> int:
        """When the windows of a model are forgotten; if it has none, when the model is."""
        at_ms = max(model.judged_until_ms, model.heard_ms) + self._spans.kept * self._spans.size_ms
        if model.kept:
            return at_ms
        ends_ms = [time_ms("window_end", one["window_end"]) for one in self._rows.over(name)]
        return max([at_ms, *(end_ms + self._spans.expiry_ms for end_ms in ends_ms)])


def _order(span: WindowKey) -> tuple[int, int]:
    return span.end_ms, span.start_ms
