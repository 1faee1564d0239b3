"""Metrics whose values the worker has anyway, read when they are scraped."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from faust.types import TP

from weir import topics
from weir.feedback.rules import Count
from weir.table_rows import UnreadableRows
from weir.telemetry import metrics
from weir.telemetry.collectors import Spec, Values
from weir.telemetry.lag import Lag, LagConsumer
from weir.worker import Worker

if TYPE_CHECKING:
    from app.core import Weir


class Gauges:
    """The gauges of one worker.

    Args:
        app: the application; it has partitions, tables and their recovery.
        worker: the worker; it has metrics, events and tails.
        in_flight: returns the number of requests being answered.
        feedback: the counts of feedback since the start.
        lineage_skipped: returns the number of answers whose SQL could not be parsed.
        window_events: returns the counts of the windows, by name.
        unreadable: the rows of each table that could not be read.
    """

    def __init__(
        self,
        app: "Weir",
        worker: Worker,
        *,
        in_flight: Callable[[], int],
        feedback: Mapping[Count, int],
        lineage_skipped: Callable[[], int],
        window_events: Callable[[], Mapping[str, int]],
        unreadable: Sequence[UnreadableRows],
    ) -> None:
        """Add the gauges to the worker's metrics."""
        self._app, self._worker = app, worker
        self._lag = Lag({worker.settings.topic_prefix + topic.name: topic.name for topic in topics.TOPICS})
        read: tuple[tuple[Spec, Callable[[], Values]], ...] = (
            (metrics.LAG, lambda: self._lag.values(self._owned())),
            (metrics.LAG_KNOWN_AT, lambda: {(): self._lag.known_at}),
            (metrics.EVENTS_DROPPED, self._events_dropped),
            (metrics.FEEDBACK, lambda: {(what,): feedback[what] for what in Count}),
            (metrics.LINEAGE_SKIPPED, lambda: {(): lineage_skipped()}),
            (metrics.WINDOW_EVENTS, lambda: {(what,): count for what, count in window_events().items()}),
            (metrics.IN_FLIGHT, lambda: {(): in_flight()}),
            (metrics.READERS, lambda: {(): worker.tails.readers}),
            (metrics.ASSIGNED, self._assigned),
            (metrics.REBALANCES, lambda: {(): app.rebalancing_count}),
            (metrics.RECOVERING, lambda: {(): int(app.in_recovery)}),
            (metrics.RECOVERY_REMAINING, lambda: {(): self._remaining()}),
            (metrics.TABLE_ROWS, self._rows),
            (metrics.BUILD, lambda: {app.version.labels(): 1}),
            (metrics.ROWS_UNREADABLE, lambda: {(one.table,): one.count for one in unreadable}),
        )
        for spec, values in read:
            worker.metrics.read(spec, values)

    async def refresh(self) -> None:
        """Ask the broker for values that only it has; returns soon, whether it answers or not. Never raises."""
        if self._app.started and not self._app.rebalancing:
            await self._lag.refresh(cast("LagConsumer", self._app.consumer))

    async def close(self) -> None:
        """Stop asking the broker."""
        await self._lag.close()

    def _owned(self) -> set[TP]:
        return self._app.consumer.assignment() if self._app.started else set()

    def _assigned(self) -> Values:
        counts = Counter(self._worker.metrics.topic(topic) for topic, _ in self._owned())
        return {(topic,): count for topic, count in counts.items()}

    def _events_dropped(self) -> Values:
        dropped = self._worker.events.dropped
        return {(spec.name,): dropped[spec.name] for spec in topics.TOPICS}

    def _remaining(self) -> int:
        """Changes that are still to be read; after a recovery, the rest that a broker has rounded up."""
        tables: Any = self._app.tables  # Faust's interface of it lacks the recovery
        return max(0, tables.recovery.active_remaining_total()) if self._app.in_recovery else 0

    def _rows(self) -> Values:
        """The number of rows of tables in memory: RocksDB would have to look at each row."""
        tables = self._app.tables.items()
        return {(name,): len(table) for name, table in tables if isinstance(getattr(table.data, "data", None), dict)}
