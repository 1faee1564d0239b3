"""Keeps a Faust worker alive when its consumer meets a batch that cannot be read (`weir.log.kafka.batches`)."""

import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.consumer.fetcher import FetchResult
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from weir.log.kafka.batches import Batches, Fetched, UnreadableBatch
from weir.log.log import Partition
from weir.log.retrying import until_written

__all__ = ["Readable", "TakeUnreadable"]

logger = logging.getLogger(__name__)

TakeUnreadable = Callable[[UnreadableBatch], Awaitable[None]]
"""Writes a skipped batch down as a dead letter; a LogError is retried."""


class _Results(OrderedDict[Any, Any]):  # by aiokafka's TopicPartition; also holds its FetchError
    """The batches that aiokafka has fetched and not handed over, readable ones only."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._batches = batches

    def __setitem__(self, tp: Any, result: Any) -> None:
        if isinstance(result, FetchResult):
            fetched = result._partition_records  # noqa: SLF001 -- there is no other way in
            at, position = Partition(tp.topic, tp.partition), fetched.next_fetch_offset
            aborted = fetched._aborted_transactions  # noqa: SLF001
            fetched._records = Fetched(  # noqa: SLF001
                self._batches.decoded(at, position, fetched._records, aborted)  # noqa: SLF001
            )
        super().__setitem__(tp, result)


class Readable(Consumer):
    """Skips batches that cannot be read, and reports each to the application before anything behind it is delivered."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._passed_over: deque[UnreadableBatch] = deque()

    async def on_started(self) -> None:
        """Install the check of fetched batches, before there is a subscription and so a fetch."""
        await super().on_started()
        consumer: Any = self._thread._consumer  # noqa: SLF001
        consumer._fetcher._records = _Results(Batches(self._passed_over.append))  # noqa: SLF001

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        records = await super()._getmany(active_partitions, timeout)
        while self._passed_over and not self.should_stop:
            await self._tell(self._passed_over[0])
            self._passed_over.popleft()
        return records

    async def _tell(self, batch: UnreadableBatch) -> None:
        """Give a batch to the application, unless it is of a changelog: rows of a table cannot be sent again."""
        logger.error("%s; what follows them is delivered", batch)
        transport: Any = self.transport  # Faust's type lacks the attributes of Weir's driver
        if transport.unreadable is None or self._is_changelog_tp(TP(*batch.at)):
            return

        async def write() -> None:
            if not self.should_stop:
                await transport.unreadable(batch)

        await until_written(write)
