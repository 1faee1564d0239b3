"""A log client that counts and times records: it wraps another client, so that the brokers' clients need no metrics.

Costs a microsecond for each append (docs/metrics.md), and nothing for each record of a batch that is read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import perf_counter

from weir.log.log import Deliver, Headers, LogClient, Partition, Record, Retentions, TopicSpec
from weir.telemetry.collectors import Latency
from weir.telemetry.worker_metrics import Metrics


class Observed:
    """A `LogClient` in front of another."""

    def __init__(self, log: LogClient, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self._latencies: dict[str, Latency] = {}  # by topic
        # Passed on unchanged: they have no metrics.
        self.start, self.stop, self.unfollow = log.start, log.stop, log.unfollow
        self.partitions, self.topic_id, self.record_max_bytes = log.partitions, log.topic_id, log.record_max_bytes
        self.bounds, self.offset_at = log.bounds, log.offset_at

    async def create_topics(self, topics: Sequence[TopicSpec], *, replication: int) -> Retentions:
        """Create the missing topics; see `LogClient.create_topics`."""
        return await self._log.create_topics(topics, replication=replication)

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Awaitable[int]:
        """Enqueue one record; returns the wrapped client's own future, so that cancelling it cancels the append."""
        began = perf_counter()
        landing = asyncio.ensure_future(self._log.append(topic, partition, key, value, headers))
        landing.add_done_callback(partial(self._landed, topic, began))
        return landing

    def _landed(self, topic: str, began: float, landing: "asyncio.Future[int]") -> None:
        if landing.cancelled():
            return
        if landing.exception() is not None:
            self._metrics.produce_failed(topic)
            return
        latency = self._latencies.get(topic)
        if latency is None:
            latency = self._latencies[topic] = self._metrics.appends(topic)
        latency.observe(perf_counter() - began)

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        """Read a page; see `LogClient.read`."""
        records = await self._log.read(at, position, limit=limit)
        self._metrics.consumed(at.topic, len(records))
        return records

    async def follow(
        self, at: Partition, position: int, deliver: Deliver, on_replaced: Callable[[], None] = lambda: None
    ) -> None:
        """Deliver batches as they are written; see `LogClient.follow`."""

        def counted(records: Sequence[Record], /) -> None:
            self._metrics.consumed(at.topic, len(records))
            deliver(records)

        await self._log.follow(at, position, counted, on_replaced)
