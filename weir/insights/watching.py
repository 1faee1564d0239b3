"""Turns records into insights: folds them, closes windows that are due, publishes breaches. Independent of Faust.

An insight is published once, whatever process dies. Before that, all changes that led to it are in the table's
changelog: so the next owner of the partition comes to the same insight with the same id, and looks for that id in
ai-insights before it writes. Only when the insight is in the log is the window written down as judged, and after that
the record is acknowledged.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import NamedTuple

from weir import envelope, topics
from weir.envelope import MalformedRecordError, utc_iso
from weir.events.base import EVENT_TYPE, EventData
from weir.events.catalogue import data_of
from weir.events.metrics import MetricsTick, QualityRebuilt
from weir.events.publishing import Events, encode
from weir.events.signals import SignalsTick
from weir.insights import partition
from weir.insights.closing import Closing, Insight
from weir.insights.counts import Counts
from weir.insights.durations import Durations
from weir.insights.folding import Judging
from weir.insights.judging import InsightLimits
from weir.insights.reading import SOURCES, RecordSource
from weir.insights.rows import QualityRows
from weir.insights.shard import Shard
from weir.insights.swapping import GivenAwayError, Swapping, SwapRequest, Tell
from weir.insights.wording import event_id
from weir.log.log import LogClient, LogError, LogRefusedError, LogReplacedError, Record, partition_of
from weir.log.retrying import until_answered
from weir.ranges.offset_ranges import each, since

logger = logging.getLogger(__name__)

RETRY_S = 1.0  # pause before the log is tried again
DEFECTS_MAX = 5  # tries of a swap that fails, though the log works: a partition that waits for it counts no records
TICK_AGAIN_S = 60.0  # a tick that was not read yet waits behind a long backlog; another one would, too
INPUTS = {source: topic for topic, source in SOURCES.items()}
TICKS: dict[RecordSource, Callable[[str], EventData]] = {
    RecordSource.METRICS: lambda at: MetricsTick(at=at),
    RecordSource.SIGNALS: lambda at: SignalsTick(at=at),
}


class InsightEvent(NamedTuple):
    """An insight to be published: its event id, its tenant, and its data."""

    event_id: str
    tenant: str
    data: Insight


class WindowKeeper:
    """The windows of one worker.

    Args:
        log: the log to which insights and ticks are written.
        events: the publisher of insights.
        rows: the rows of the quality table.
        spans: lengths of time.
        limits: the limits for judging.
        tenant: the tenant of ticks, which belong to no tenant.
        written: waits until the table changes so far are in the log; raises LogError.
    """

    def __init__(
        self,
        *,
        log: LogClient,
        events: Events,
        rows: QualityRows,
        spans: Durations,
        limits: InsightLimits,
        tenant: str,
        written: Callable[[], Awaitable[None]],
    ) -> None:
        self._log, self._events, self._rows = log, events, rows
        self._spans, self._limits, self._tenant = spans, limits, tenant
        self._written = written
        self._swapping = Swapping(log, rows, Judging(spans=spans, limits=limits), written)
        self._generation: int | None = None
        self._shards: dict[int, Shard] = {}
        self._making = asyncio.Lock()
        self._ticked_at: dict[tuple[int, RecordSource], float] = {}
        self.ticks_written = 0
        self.counts = Counts()

    # -- records

    async def take(self, record: Record, generation: int, still_own: Callable[[], bool]) -> None:
        """Fold one record, and close the windows that are due then. Must run under the record's event.

        Args:
            record: a record of one of the two topics.
            generation: the generation of the consumer group when the record was delivered.
            still_own: whether the generation is still the same.

        Raises:
            GivenAwayError: the generation has changed; the record must not be acknowledged.
        """
        if not still_own():
            raise GivenAwayError
        shard = await self._shard(record.partition, generation)
        if not still_own():  # other tasks run while a shard is made
            raise GivenAwayError
        try:
            if (rebuilt := _rebuilt(record)) is not None:
                await self._swap(shard, SwapRequest(record.partition, record.offset, rebuilt), still_own)
            elif not shard.swapping:  # else the swap folds it, when its event comes again
                self._fold(shard, record)
                await self._close(shard, record, still_own)  # and those that a crash has left
        except MalformedRecordError as error:
            self.counts.malformed += 1
            logger.warning("%s %d at %d is skipped: %s", record.topic, record.partition, record.offset, error)
        except BaseException:
            self._shards.clear()  # the shard's memory may differ from its rows now
            raise

    async def _swap(self, shard: Shard, asked: SwapRequest, still_own: Callable[[], bool]) -> None:
        """Replace a partition's rows by rebuilt ones; once, however often it is asked for.

        Raises:
            MalformedRecordError: the event names records that are not in the log.
            GivenAwayError: the partition has another owner now.
        """

        async def tell(closing: Closing, run: str | None) -> tuple[Insight, ...]:
            return await self._published(closing, still_own, run)

        defects = 0
        while True:
            if not still_own():
                raise GivenAwayError
            try:
                if await self._try_swap(asked, tell, still_own):
                    break
            except (GivenAwayError, MalformedRecordError):
                raise
            except Exception:
                defects += 1
                logger.exception("run %s: windows of partition %d", asked.rebuilt.run, asked.number)
                if defects == DEFECTS_MAX:
                    self._swapping.pass_over(asked, "a defect: see the worker's log", still_own)
                elif defects > DEFECTS_MAX:
                    raise
            await asyncio.sleep(RETRY_S)
        self._shards.pop(shard.number, None)  # it remembers the replaced rows

    async def _try_swap(self, asked: SwapRequest, tell: Tell, still_own: Callable[[], bool]) -> bool:
        """Whether the rows are swapped, or the event skipped, for good."""
        try:
            if not self._swapping.has(asked):
                await self._swapping.swap(asked, tell, still_own)
            await self._written()
        except LogRefusedError as error:
            self._swapping.pass_over(asked, f"the log refuses the rows: {error}", still_own)
        except LogError as error:
            logger.warning("waiting for the log: %s", error)
        else:
            return True
        return False

    @staticmethod
    def _fold(shard: Shard, record: Record) -> None:
        seen = partition.said(record)
        if seen is not None:
            partition.fold(shard, record, seen)

    async def _shard(self, number: int, generation: int) -> Shard:
        """The shard of a partition; made again from the table after every rebalance."""
        async with self._making:
            if generation != self._generation:
                self._generation = generation
                self._shards.clear()
            if number not in self._shards:
                own = await partition.own(self._rows, number)  # the rows do not change meanwhile: their records wait
                self._shards[number] = Shard(
                    self._rows, number, own, spans=self._spans, limits=self._limits, counts=self.counts
                )
            return self._shards[number]

    # -- windows

    async def _close(self, shard: Shard, record: Record, still_own: Callable[[], bool]) -> None:
        for name in shard.due():
            while (closing := shard.closing(name, int(record.timestamp * 1000))) is not None:
                published = await self._published(closing, still_own)
                if not still_own():
                    raise GivenAwayError
                shard.settle(closing, published)
        shard.note()

    async def _published(
        self, closing: Closing, still_own: Callable[[], bool], run: str | None = None
    ) -> tuple[Insight, ...]:
        tenant = closing.span.name.partition(":")[0]
        marked = [data.model_copy(update={"rebuilt": run}) for data in closing.insights]
        return tuple(
            [
                await self._surely(InsightEvent(event_id(data), tenant, data), closing.span.end_ms, still_own)
                for data in marked
            ]
        )

    async def _surely(self, insight: InsightEvent, end_ms: int, still_own: Callable[[], bool]) -> Insight:
        """Ensure that an insight is in the log, once; returns it as it is in the log, if that says the same.

        An insight that the log refuses (an ACL is missing) is logged by the worker: later windows must not wait for it.
        """
        try:
            return await until_answered(lambda: self._once(insight, end_ms, still_own))
        except (LogRefusedError, LogReplacedError) as error:
            self.counts.refused += 1
            logger.error("an insight of %s is not in the log (%s): %s", insight.tenant, insight.data.title, error)  # noqa: TRY400 -- no defect
            return insight.data

    async def _once(self, insight: InsightEvent, end_ms: int, still_own: Callable[[], bool]) -> Insight:
        if not still_own():
            raise GivenAwayError
        await self._written()
        found = await self._find(insight, end_ms)
        if found is not None:
            self.counts.found += 1
            # By another formula the same insight may have other figures: those of the rows are right.
            return found if _alike(found, insight.data) else insight.data
        if not still_own():
            raise GivenAwayError
        await self._events.publish(insight.data, insight.tenant, event_id=insight.event_id)
        logger.info("%s: %s %s", insight.tenant, insight.data.title, insight.data.description)
        return insight.data

    async def _find(self, insight: InsightEvent, end_ms: int) -> Insight | None:
        """An insight in the log, if it is there.

        No record that closes a window has a time of its own more than ``ahead_ms`` after its time in the log: so the
        insight was written after the window's end less that.

        Raises:
            LogError: the log cannot be read.
        """
        topic, key = topics.AI_INSIGHTS.name, insight.tenant.encode()
        at = partition_of(self._log, topic, key)
        span = await since(self._log, at, (end_ms - self._spans.ahead_ms) / 1000)
        async with aclosing(each(self._log, span)) as records:
            async for record in records:
                if record.key == key and (found := _as(insight, record)) is not None:
                    return found
        return None

    # -- the clock

    async def tick(self, own: set[int], generation: int, now: float) -> None:
        """Write ticks for partitions whose windows are over by the clock, and have no other record to close them.

        Args:
            own: the partitions of this worker whose tables have been read.
            generation: the generation of the consumer group.
            now: the present time, in seconds since the epoch.
        """
        for number in own:
            shard = await self._shard(number, generation)
            for source in shard.behind(int(now * 1000)):
                last = self._ticked_at.get((number, source), 0.0)
                if now - last < TICK_AGAIN_S and shard.newest.get(source, 0) < int(last * 1000):
                    continue  # the last tick is not read yet
                event = encode(TICKS[source](utc_iso(now)), self._tenant)
                try:
                    await self._log.append(INPUTS[source], number, event.key, event.value, event.headers)
                except LogError as error:
                    logger.warning("windows close later, for a tick was not written: %s", error)
                    return
                self._ticked_at[number, source] = now
                self.ticks_written += 1


def _as(insight: InsightEvent, record: Record) -> Insight | None:
    """The insight in a record, if it is this one; else None."""
    try:
        event = envelope.decode(record.value)
        return data_of(event, type(insight.data)) if event.event_id == insight.event_id else None
    except MalformedRecordError:
        return None


def _alike(one: Insight, other: Insight) -> bool:
    """Whether two insights say the same, without regard to when they were detected, and by which worker."""
    aside = {"detected_at", "rebuilt"}
    return one.model_dump(exclude=aside) == other.model_dump(exclude=aside)


def _rebuilt(record: Record) -> QualityRebuilt | None:
    """The request for a swap in a record; None for all others."""
    if (EVENT_TYPE, QualityRebuilt.EVENT_TYPE.encode()) not in record.headers:
        return None
    return data_of(envelope.decode(record.value), QualityRebuilt)
