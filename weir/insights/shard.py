"""The windows of one partition: folds records, knows what is due, and writes judged windows.

Both topics have the partition, and one worker owns it in both, so every record of a tenant and model comes here.

A record goes into the window of its event time. The watermark (``watermark.py``) closes windows: a record for a closed
window is late: counted, and not added to the judged figures. A time further ahead of the record's own time in the log
than clocks differ is ignored: the record is counted, and moves no watermark.

*Once.* A window's row holds the offset that was folded last from each source, and the ids of the events in it
(``event_ids.py``). A record that is delivered again has an offset that is not higher; an event that was published again
has an id that is there. Both are in the same record of the changelog as the figures.

*In order.* ``schedule.py`` knows what is due, and ``closing.py`` judges it and writes it down. A shard is made again
from the rows when a worker gets its partition, and finishes the work that a crash has left: ``closing`` returns it
again.

A shard sees every change of its rows, since it makes them all; so its memory of them stays true until the partition is
given away.
"""

from collections.abc import Mapping, Sequence

from weir.events.metrics import MetricsRecorded
from weir.insights.closing import Closing, Closings, Insight
from weir.insights.counts import Counts
from weir.insights.durations import Durations
from weir.insights.event_ids import EventIds
from weir.insights.judging import InsightLimits
from weir.insights.reading import Measured, RecordSource, Ticked
from weir.insights.rows import QualityRows
from weir.insights.schedule import Schedule
from weir.insights.values import ModelRow, Seen, WindowKey, WindowRow
from weir.insights.watermark import Watermark


class Shard:
    """One partition of the quality table, on the worker that owns it."""

    def __init__(
        self,
        rows: QualityRows,
        number: int,
        own: Mapping[str, Sequence[Seen]],
        *,
        spans: Durations,
        limits: InsightLimits,
        counts: Counts,
    ) -> None:
        """Read the rows.

        Args:
            rows: the rows of the worker.
            number: the number of the partition.
            own: the names (tenant:model) among the rows that belong to it, with their windows.
            spans: lengths of time.
            limits: the limits for judging.
            counts: the counters to increase.
        """
        self.number = number
        self._rows, self._spans, self._counts = rows, spans, counts
        self._rebuilt = rows.rebuilt(number)
        self._watermark = Watermark(rows.partition(number), spans.lateness_ms)
        windows = [seen for known in own.values() for seen in known]
        for seen in windows:
            for source, at_ms in seen.newest.items():
                self._watermark.advance(RecordSource(source), at_ms)
        self._noted = True  # whether the partition's row is up to date
        self._ids = EventIds(rows)
        self._schedule = Schedule(rows, spans, (seen.span for seen in windows if not seen.closed), own)
        self._closings = Closings(
            rows, self._schedule, self._ids, self._watermark, spans=spans, limits=limits, counts=counts
        )

    @property
    def swapping(self) -> bool:
        """Whether these rows are being replaced by others."""
        return bool(self._rebuilt.swapping)

    @property
    def newest(self) -> Mapping[RecordSource, int]:
        """The newest event time of each source from which a record came."""
        return self._watermark.newest

    @property
    def watermark_ms(self) -> int:
        """The watermark: windows that end by then are closed."""
        return self._watermark.ms

    def behind(self, now_ms: int) -> list[RecordSource]:
        """Sources without new records, which delay windows that are due by the clock."""
        last_ms = self._schedule.pressing_ms(now_ms - self._spans.lateness_ms)
        if last_ms is None:
            return []
        # work that a crash has left is due: any record will do
        return self._watermark.before(last_ms) or [RecordSource.METRICS]

    # -- folding

    def fold(self, source: RecordSource, offset: int, logged_ms: int, seen: Measured | Ticked) -> None:
        """Add one record.

        Args:
            source: the source of the record.
            offset: its offset in its partition.
            logged_ms: the record's own time in the log.
            seen: its values.
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

    def _measure(self, source: RecordSource, offset: int, logged_ms: int, seen: Measured) -> None:
        start_ms = seen.at_ms - seen.at_ms % self._spans.size_ms
        span = WindowKey(seen.name, start_ms, start_ms + self._spans.size_ms)
        row = self._rows.window(span)
        if row is not None and offset <= row.offsets.get(source, -1):
            self._counts.redelivered += 1
        elif span.end_ms <= self._watermark.ms or (row is not None and row.closed):
            self._counts.late += 1
            self._count_apart(seen.name, source, offset, logged_ms, late=1)
        elif self._ids.known(seen.event_id, self._schedule.windows(seen.name)):
            self._counts.repeated += 1
            if row is not None:
                row.offsets[source.value] = offset  # else it would count as late when it is delivered again
                self._rows.put_window(span, row)
        else:
            self._add(span, row or WindowRow(), source, offset, seen)

    def _add(self, span: WindowKey, row: WindowRow, source: RecordSource, offset: int, seen: Measured) -> None:
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
        self, name: str, source: RecordSource, offset: int, logged_ms: int, *, late: int = 0, ahead: int = 0
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
        """The tenants and models for which a closing is due."""
        return self._schedule.due(self._watermark.ms)

    def closing(self, name: str, detected_ms: int) -> Closing | None:
        """The oldest closing that is due for a tenant and model; the call changes nothing.

        Args:
            name: the tenant and model.
            detected_ms: the time of detection, for its insights.
        """
        return self._closings.next(name, detected_ms)

    def settle(self, closing: Closing, published: tuple[Insight, ...]) -> None:
        """Write a closing down.

        Args:
            closing: the closing.
            published: its insights as they are in the log.
        """
        self._closings.settle(closing, published)
        self._noted = False

    def note(self) -> None:
        """Write down how far the partition has come, after all closings, and forget models without requests."""
        for name in self.due():
            self._schedule.forget(name, self._watermark.ms)  # all other windows are closed
            self._noted = False
        if not self._noted:
            self._rows.put_partition(self.number, self._watermark.row())
            self._noted = True
