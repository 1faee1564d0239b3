"""The windows of one partition: folds what comes, says what is due, and writes what was judged.

Both topics have the partition, and one worker owns it in both, so all that is said of a tenant and model comes by here.

A record goes into the window of its event time. The watermark (``watermark.py``) closes windows: what comes for a
closed window is late: counted, and not added to what was judged. Time that lies further ahead of the record's own time
in the log than clocks differ is not believed: it is counted, and moves nothing.

*Once.* A window's row holds the offset that was folded last from each source, and the ids of the events in it
(``event_ids.py``). What is delivered again has an offset that is not higher; what was published again has an id that is
there. Both stand in the same record of the changelog as the figures.

*In order.* ``schedule.py`` knows what is due, and ``closing.py`` judges it and writes it down. A shard is made anew
from the rows when a worker gets its partition, and finishes what a crash has left: ``closing`` gives it out again.

A shard sees every change of its rows, since it makes them all; so what it remembers beside them stays true until the
partition is given away.
"""

from collections.abc import Mapping, Sequence

from weir.events.metrics import MetricsRecorded
from weir.insights.closing import Closing, Closings, Insight
from weir.insights.counts import Counts
from weir.insights.event_ids import EventIds
from weir.insights.judging import Limits
from weir.insights.reading import Measured, Source, Ticked
from weir.insights.rows import Rows
from weir.insights.schedule import Schedule
from weir.insights.spans import Spans
from weir.insights.values import ModelRow, Seen, Span, WindowRow
from weir.insights.watermark import Watermark


class Shard:
    """One partition of the quality table, in the hands of its owner."""

    def __init__(
        self,
        rows: Rows,
        number: int,
        own: Mapping[str, Sequence[Seen]],
        *,
        spans: Spans,
        limits: Limits,
        counts: Counts,
    ) -> None:
        """Read the rows.

        Args:
            rows: of the worker.
            number: of the partition.
            own: the names (tenant:model) among the rows that belong to it, with their windows.
            spans: lengths.
            limits: for judging.
            counts: are counted up.
        """
        self.number = number
        self._rows, self._spans, self._counts = rows, spans, counts
        self._rebuilt = rows.rebuilt(number)
        self._watermark = Watermark(rows.partition(number), spans.lateness_ms)
        windows = [seen for known in own.values() for seen in known]
        for seen in windows:
            for source, at_ms in seen.newest.items():
                self._watermark.advance(Source(source), at_ms)
        self._noted = True  # whether the partition's row is as it should be
        self._ids = EventIds(rows)
        self._schedule = Schedule(rows, spans, (seen.span for seen in windows if not seen.closed), own)
        self._closings = Closings(
            rows, self._schedule, self._ids, self._watermark, spans=spans, limits=limits, counts=counts
        )

    @property
    def swapping(self) -> bool:
        """Whether other rows are being put in the place of these."""
        return bool(self._rebuilt.swapping)

    @property
    def newest(self) -> Mapping[Source, int]:
        """The newest event time of each source from which anything came."""
        return self._watermark.newest

    @property
    def watermark_ms(self) -> int:
        """Windows that end by then are closed."""
        return self._watermark.ms

    def behind(self, now_ms: int) -> list[Source]:
        """Sources that hold up what is due by the clock, since nothing comes from them."""
        last_ms = self._schedule.pressing_ms(now_ms - self._spans.lateness_ms)
        if last_ms is None:
            return []
        return self._watermark.before(last_ms) or [Source.METRICS]  # what a crash has left is due: any record will do

    # -- folding

    def fold(self, source: Source, offset: int, logged_ms: int, seen: Measured | Ticked) -> None:
        """Add one record.

        Args:
            source: where it comes from.
            offset: where it stands in its partition.
            logged_ms: the record's own time in the log.
            seen: what it says.
        """
        if offset < self._rebuilt.folded.get(source, 0):
            self._counts.redelivered += 1
        elif seen.at_ms > logged_ms + self._spans.ahead_ms:
            self._counts.ahead += 1
            if isinstance(seen, Measured):
                self._count_apart(seen.name, source, offset, logged_ms, ahead=1)
        elif isinstance(seen, Ticked):
            self._counts.ticks[source] += 1
            self._watermark.advance(source, seen.at_ms)
            self._noted = False
        else:
            self._measure(source, offset, logged_ms, seen)

    def _measure(self, source: Source, offset: int, logged_ms: int, seen: Measured) -> None:
        start_ms = seen.at_ms - seen.at_ms % self._spans.size_ms
        span = Span(seen.name, start_ms, start_ms + self._spans.size_ms)
        row = self._rows.window(span)
        if row is not None and offset <= row.offsets.get(source, -1):
            self._counts.redelivered += 1
        elif span.end_ms <= self._watermark.ms or (row is not None and row.closed):
            self._counts.late += 1
            self._count_apart(seen.name, source, offset, logged_ms, late=1)
        elif self._ids.known(seen.event_id, self._schedule.windows(seen.name)):
            self._counts.repeated += 1
            if row is not None:
                row.offsets[source.value] = offset  # else it would be late when it is delivered again
                self._rows.put_window(span, row)
        else:
            self._add(span, row or WindowRow(), source, offset, seen)

    def _add(self, span: Span, row: WindowRow, source: Source, offset: int, seen: Measured) -> None:
        if isinstance(seen.data, MetricsRecorded):
            row.window.add_request(seen.data)
        else:
            row.window.add_signal(seen.data)
        self._ids.add(seen.event_id, span, row)
        row.offsets[source.value] = offset
        row.newest[source.value] = max(seen.at_ms, row.newest.get(source, seen.at_ms))
        self._rows.put_window(span, row)
        self._schedule.opened(span)
        self._watermark.advance(source, seen.at_ms)
        self._counts.folded[source] += 1

    def _count_apart(
        self, name: str, source: Source, offset: int, logged_ms: int, *, late: int = 0, ahead: int = 0
    ) -> None:
        row = self._rows.model(name) or ModelRow()
        if offset <= row.offsets.get(source, -1):
            self._counts.redelivered += 1
            return
        row.late, row.ahead, row.offsets[source.value] = row.late + late, row.ahead + ahead, offset
        row.heard_ms = max(row.heard_ms, logged_ms)
        self._rows.put_model(name, row)
        self._schedule.refresh(name)

    # -- closing

    def due(self) -> list[str]:
        """The tenants and models of which something is to be closed."""
        return self._schedule.due(self._watermark.ms)

    def closing(self, name: str, detected_ms: int) -> Closing | None:
        """The oldest thing that is due of a tenant and model; nothing is changed by asking.

        Args:
            name: whose.
            detected_ms: when it is seen, for what is told of it.
        """
        return self._closings.next(name, detected_ms)

    def settle(self, closing: Closing, told: tuple[Insight, ...]) -> None:
        """Write down what was closed.

        Args:
            closing: what.
            told: its insights as they stand in the log.
        """
        self._closings.settle(closing, told)
        self._noted = False

    def note(self) -> None:
        """What is due is done: write down how far the partition has come, and forget models that are gone."""
        for name in self.due():
            self._schedule.forget(name, self._watermark.ms)  # all else is closed
            self._noted = False
        if not self._noted:
            self._rows.put_partition(self.number, self._watermark.row())
            self._noted = True
