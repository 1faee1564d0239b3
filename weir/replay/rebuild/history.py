"""Reads ai-insights: the insights that were published, with their windows."""

from weir import envelope, topics
from weir.envelope import MalformedRecordError
from weir.events.catalogue import data_of
from weir.events.insights import InsightCleared, InsightRaised
from weir.insights.closing import Insight
from weir.insights.reading import time_ms
from weir.log.log import LogClient, Partition, Record
from weir.ranges.offset_ranges import each, onward

TYPES: dict[str, type[Insight]] = {model.EVENT_TYPE: model for model in (InsightRaised, InsightCleared)}


class History:
    """Insights by their event id, with their tenants: as many as there were breaches in a week."""

    def __init__(self) -> None:
        self.published: dict[str, tuple[str, Insight]] = {}

    async def read(self, log: LogClient) -> "History":
        """Read the whole topic.

        Raises:
            LogError: the log cannot be read.
        """
        for number in range(log.partitions(topics.AI_INSIGHTS.name)):
            async for record in each(log, await onward(log, Partition(topics.AI_INSIGHTS.name, number))):
                self._take(record)
        return self

    def _take(self, record: Record) -> None:
        try:
            event = envelope.decode(record.value)
            if (model := TYPES.get(event.event_type)) is not None:
                self.published[event.event_id] = event.tenant_id, data_of(event, model)
        except MalformedRecordError:
            pass  # not an event of Weir

    def between(self, from_ms: int, until_ms: int) -> dict[str, tuple[str, Insight]]:
        """The insights of windows that begin at a time or after it, and end by another."""
        return {
            name: (tenant, insight)
            for name, (tenant, insight) in self.published.items()
            if from_ms <= time_ms("window_start", insight.window_start)
            and time_ms("window_end", insight.window_end) <= until_ms
        }
