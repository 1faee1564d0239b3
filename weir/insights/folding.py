"""Folds the windows of one partition beside the live ones: on a plain dict, with the same shard, at any pace."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Self

from weir.envelope import MalformedRecordError
from weir.insights import partition
from weir.insights.closing import Closing, Insight
from weir.insights.counts import Counts
from weir.insights.durations import Durations
from weir.insights.judging import InsightLimits
from weir.insights.reading import Measured, Ticked
from weir.insights.rows import QualityRows
from weir.insights.shard import Shard
from weir.log.log import Record

Table = MutableMapping[bytes, bytes]
Tell = Callable[[Closing], Awaitable[tuple[Insight, ...]]]
"""Takes the insights of a closed window; returns them as they were published, or as they would have been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """The settings for folding and judging windows."""

    spans: Durations
    limits: InsightLimits


class Folding:
    """One partition of a quality table without any other writer."""

    def __init__(self, rows: QualityRows, shard: Shard, *, tell: Tell, since_ms: int = 0) -> None:
        self.rows, self.shard = rows, shard
        self._tell, self._since_ms = tell, since_ms
        self.malformed = 0

    @classmethod
    async def of(cls, table: Table, number: int, judging: Judging, *, tell: Tell, since_ms: int = 0) -> Self:
        """Begin with the windows of a partition that the table has.

        Args:
            table: the rows of this partition alone.
            number: the number of the partition.
            judging: the settings.
            tell: publishes the insights of closed windows.
            since_ms: windows that begin before are in the table already: of their records only the time counts.
        """
        rows = QualityRows(table)
        own = await partition.own(rows, number)
        shard = Shard(rows, number, own, spans=judging.spans, limits=judging.limits, counts=Counts())
        return cls(rows, shard, tell=tell, since_ms=since_ms)

    async def take(self, record: Record, change: Callable[[Measured], Measured] = lambda measured: measured) -> None:
        """Fold one record, and close the windows that are due then. Malformed records are skipped, as live.

        Args:
            record: a record of one of the two topics.
            change: replaces the measured values before they are folded.
        """
        try:
            seen = partition.said(record)
        except MalformedRecordError:
            self.malformed += 1
            return
        if seen is None:
            return
        if isinstance(seen, Measured):
            seen = Ticked(seen.at_ms) if seen.at_ms < self._since_ms else change(seen)
        partition.fold(self.shard, record, seen)
        for name in self.shard.due():
            while (closing := self.shard.closing(name, int(record.timestamp * 1000))) is not None:
                self.shard.settle(closing, await self._tell(closing))
        self.shard.note()
