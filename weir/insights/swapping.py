"""Replaces the rows of a partition by rebuilt ones, under the event that asks for it. Independent of Faust.

The rebuilt rows hold the records of both topics before the cut. Later records are folded in memory, by the ordinary
code, up to the ends of both topics: when they are delivered afterwards, their offsets show that they were folded. So
the new rows are those of a run from scratch, while the live windows go on.

A crash at any point is harmless. The row of the rebuild is written first (the other rows are invalid until the swap is
over: records are skipped, for they are folded from the log when the event comes again), and last (the swap is over). A
skipped event is noted there, too, with the reason: the command that waits for the swap reads it.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from weir import topics
from weir.envelope import MalformedRecordError
from weir.events.metrics import QualityRebuilt
from weir.feedback.scores import fingerprint
from weir.insights import partition, rebuilt_rows
from weir.insights.closing import Closing, Insight
from weir.insights.folding import Folding, Judging
from weir.insights.reading import RecordSource
from weir.insights.rows import QualityRows, partition_key
from weir.insights.values import RebuiltRow
from weir.log.log import LogClient, Partition
from weir.ranges.merged import merged
from weir.ranges.offset_ranges import onward
from weir.timing import in_turns

logger = logging.getLogger(__name__)

ROWS_AT_ONCE: Final = 200  # rows on their way to the log

Tell = Callable[[Closing, str | None], Awaitable[tuple[Insight, ...]]]
"""Ensures that the insights of a window are in the log, once; with their run, if the window was judged before."""


class GivenAwayError(Exception):
    """The partition was given away: its next owner gets the record again, and no more rows may be written."""


class SwapRequest(NamedTuple):
    """A request for a swap: the partition, the offset of the event, and the event's data."""

    number: int
    offset: int
    rebuilt: QualityRebuilt


class Swapping:
    """The swaps of one worker.

    Args:
        log: the log with the rows and both topics.
        rows: the rows of the quality table.
        judging: the settings for folding and judging windows.
        written: waits until the table changes so far are in the log; raises LogError.
    """

    def __init__(
        self, log: LogClient, rows: QualityRows, judging: Judging, written: Callable[[], Awaitable[None]]
    ) -> None:
        self._log, self._rows, self._judging, self._written = log, rows, judging, written

    def has(self, asked: SwapRequest) -> bool:
        """Whether the rows are those of the event or its run, or of a later one in the log; or it was skipped."""
        row = self._rows.rebuilt(asked.number)
        return asked.offset <= max(row.at, row.passed) or row.run == asked.rebuilt.run

    async def swap(self, asked: SwapRequest, tell: Tell, still_own: Callable[[], bool]) -> None:
        """Swap the rows of a partition, or skip the event. Must run under the event.

        Raises:
            LogError: the log is away; no row was changed, or some were: try again.
            GivenAwayError: the partition has another owner now.
            MalformedRecordError: the event names records that are not in the log.
        """
        await self._check(asked)
        table, why = await self._load(asked)
        if table is None:
            self.pass_over(asked, why, still_own)
            return
        folded = await self._catch_up(asked, table, tell, still_own)
        await self._replace(asked, table, folded, still_own)
        run, number = asked.rebuilt.run, asked.number
        logger.info("run %s: the windows of partition %d are the rebuilt ones, %d rows", run, number, len(table))

    def pass_over(self, asked: SwapRequest, why: str, still_own: Callable[[], bool]) -> None:
        """Leave the rows as they are, and note why. Must run under the event.

        Raises:
            GivenAwayError: the partition has another owner now.
        """
        if not still_own():
            raise GivenAwayError
        number = asked.number
        logger.warning("run %s: windows of partition %d stay as they are: %s", asked.rebuilt.run, number, why)
        row = self._rows.rebuilt(number)
        row.swapping, row.passed, row.why = "", asked.offset, why
        self._rows.put_rebuilt(number, row)

    async def _check(self, asked: SwapRequest) -> None:
        """Check offsets: otherwise a client that writes to the topic could make the worker skip all later records."""
        if asked.rebuilt.metrics > asked.offset:
            raise MalformedRecordError("`data.metrics`: an offset behind the event itself")
        ends = {topics.AI_LEARNING_SIGNALS.name: asked.rebuilt.signals, topics.CHAT_REBUILDS.name: asked.rebuilt.end}
        for topic, offset in ends.items():
            if offset > (await self._log.bounds(Partition(topic, asked.number))).end:
                raise MalformedRecordError(f"an offset behind the end of {topic}")

    async def _load(self, asked: SwapRequest) -> tuple[dict[bytes, bytes] | None, str]:
        """The rows to be put in, or the reason why there are none."""
        if asked.rebuilt.formula != fingerprint(self._judging):
            return None, "they were rebuilt by another formula, or other INSIGHT_* settings, than this worker's"
        if asked.rebuilt.after != self._rows.rebuilt(asked.number).at:
            return None, "another run has rebuilt them meanwhile"
        return await rebuilt_rows.load(self._log, asked.number, asked.rebuilt), "the rebuilt rows are gone"

    async def _catch_up(
        self, asked: SwapRequest, table: dict[bytes, bytes], tell: Tell, still_own: Callable[[], bool]
    ) -> dict[str, int]:
        """Fold the records after the cut; returns the offsets reached. Earlier insights are published on demand."""
        number, rebuilt = asked.number, asked.rebuilt
        judged_ms = self._rows.partition(number).closed_ms

        async def publish(closing: Closing) -> tuple[Insight, ...]:
            anew = closing.span.end_ms <= judged_ms
            return closing.insights if anew and not rebuilt.emit else await tell(closing, rebuilt.run if anew else None)

        windows = await Folding.of(table, number, self._judging, tell=publish)
        spans = [
            await onward(self._log, Partition(topics.AGENT_METRICS.name, number), rebuilt.metrics),
            await onward(self._log, Partition(topics.AI_LEARNING_SIGNALS.name, number), rebuilt.signals),
        ]
        async for record in merged(self._log, spans):
            if not still_own():
                raise GivenAwayError
            await windows.take(record)
        return {source.value: span.end for source, span in zip(RecordSource, spans, strict=True)}

    async def _replace(
        self, asked: SwapRequest, table: dict[bytes, bytes], folded: dict[str, int], still_own: Callable[[], bool]
    ) -> None:
        number, last = asked.number, partition_key(asked.number)
        live = await partition.raw(self._rows, number)
        if not still_own():
            raise GivenAwayError
        self._mark(number, asked.rebuilt.run)
        changed = 1  # table changes that are not in the log yet, the mark first
        async for key in in_turns([*(key for key in live if key not in table), *table]):
            if changed >= ROWS_AT_ONCE:
                await self._written()
                changed = 0
            if not still_own():
                raise GivenAwayError
            value = table.get(key)
            if key != last and live.get(key) != value:
                self._rows.put_raw(key, value)
                changed += 1
        self._rows.put_raw(last, table[last])
        self._rows.put_rebuilt(number, RebuiltRow(run=asked.rebuilt.run, at=asked.offset, folded=folded))

    def _mark(self, number: int, run: str) -> None:
        row = self._rows.rebuilt(number)
        if row.swapping != run:
            row.swapping = run
            self._rows.put_rebuilt(number, row)
