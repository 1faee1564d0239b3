"""Puts rows that were rebuilt into the place of a partition's, under the event that asks for it. Free of Faust.

The rows hold the records of both topics before the cut. What came after it is folded anew in memory, by the ordinary
code, up to the ends of both topics: what is delivered of that later is known by its offset. So the new rows are those
of a run from scratch, in the middle of a life that goes on.

A crash anywhere is harmless. The partition's own row is written first (its rows are of no use until the swap is over:
records are passed over, for they are folded out of the log when the event comes again), and last (it is over).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache

from app import folding, topics
from app.folding import ROWS_AT_ONCE
from events.metrics import QualityRebuilt
from replays.rebuild import rebuilds
from replays.rebuild.merging import merged
from replays.rebuild.rewindowing import Folding, Judging
from replays.spans import Span
from transports.log import LogClient, Partition
from windows.reading import Source
from windows.rows import Rows, partition_key
from windows.shard import Closing, Insight

logger = logging.getLogger(__name__)

Tell = Callable[[Closing, str | None], Awaitable[tuple[Insight, ...]]]
"""Has the insights of a window in the log, once; with the run that they are of, where the window was judged before."""


class GivenAwayError(Exception):
    """The partition was given away meanwhile: its next owner gets the record again, and nothing more may be written."""


class Swapping:
    """The swaps of one worker.

    Args:
        log: where the rows and both topics are.
        rows: of the quality table.
        judging: how windows are folded and judged.
    """

    def __init__(self, log: LogClient, rows: Rows, judging: Judging) -> None:
        self._log, self._rows, self._judging = log, rows, judging

    async def swap(self, number: int, told: QualityRebuilt, tell: Tell, still_own: Callable[[], bool]) -> None:
        """Swap the rows of a partition. Must run under the event. Does nothing where the rows are gone.

        Raises:
            LogError: the log is away; nothing was changed, or a part: try again.
            GivenAwayError: the partition has another owner now.
        """
        table = await rebuilds.load(self._log, number, told)
        if table is None:
            logger.warning(
                "run %s: windows of partition %d stay as they are: the rebuilt rows are gone", told.run, number
            )
            if still_own():
                self._mark(number, "")
            return
        await self._catch_up(number, table, told, tell)
        await self._replace(number, table, told.run, still_own)
        logger.info("run %s: the windows of partition %d are the rebuilt ones, %d rows", told.run, number, len(table))

    async def _catch_up(self, number: int, table: dict[bytes, bytes], told: QualityRebuilt, tell: Tell) -> None:
        """Fold what came after the cut. What was judged before is told again only where that was asked for."""
        judged_ms = self._rows.partition(number).closed_ms

        async def told_of(closing: Closing) -> tuple[Insight, ...]:
            anew = closing.span.end_ms <= judged_ms
            return closing.insights if anew and not told.emit else await tell(closing, told.run if anew else None)

        windows = await Folding.of(table, number, self._judging, tell=told_of)
        spans = [
            await self._since(topics.AGENT_METRICS.name, number, told.metrics),
            await self._since(topics.AI_LEARNING_SIGNALS.name, number, told.signals),
        ]
        place = 0
        async for record in merged(self._log, spans):
            await windows.take(record)
            place += 1
            if place % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        row = windows.rows.partition(number)
        row.folded = {source.value: span.end for source, span in zip(Source, spans, strict=True)}
        row.rebuilt = told.run
        windows.rows.put_partition(number, row)

    async def _since(self, topic: str, number: int, cut: int) -> Span:
        at = Partition(topic, number)
        return Span(at, cut, max(cut, (await self._log.bounds(at)).end))

    async def _replace(self, number: int, table: dict[bytes, bytes], run: str, still_own: Callable[[], bool]) -> None:
        mine = lru_cache(maxsize=None)(lambda name: folding.partition_of(name) == number)
        last = partition_key(number)
        live = dict(self._rows.raw(mine))
        changes: dict[bytes, bytes | None] = {key: None for key in live if key not in table}
        changes |= {key: value for key, value in table.items() if key != last and live.get(key) != value}
        if not still_own():
            raise GivenAwayError
        self._mark(number, run)
        for place, (key, value) in enumerate(changes.items()):
            if place % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
                await asyncio.sleep(0)
                if not still_own():
                    raise GivenAwayError
            self._rows.put_raw(key, value)
        self._rows.put_raw(last, table[last])

    def _mark(self, number: int, run: str) -> None:
        row = self._rows.partition(number)
        if row.swapping != run:
            row.swapping = run
            self._rows.put_partition(number, row)
