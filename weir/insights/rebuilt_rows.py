"""Carries rebuilt rows of a partition to its owner through chat-rebuilds: only the owner writes to its table."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from weir import topics
from weir.events.metrics import QualityRebuilt
from weir.insights.partition import partition_of
from weir.insights.rows import name_of, partition_key
from weir.log.batching import in_batches
from weir.log.log import LogClient, Partition
from weir.ranges.offset_ranges import OffsetRange, each
from weir.timing import in_turns

RUN: Final = "run"  # the header with the run of a row: several runs may write at the same time
AT_ONCE: Final = 500  # rows on their way to the log


class Written(NamedTuple):
    """The place of a run's rows in their partition."""

    first: int
    end: int
    rows: int


async def write(log: LogClient, number: int, run: str, rows: Mapping[bytes, bytes]) -> Written:
    """Write the rows of a partition.

    Raises:
        LogError: some rows may be in the log; the next try writes all of them again.
    """
    topic, headers, keys = topics.CHAT_REBUILDS.name, [(RUN, run.encode())], sorted(rows)
    offsets = await in_batches((log.append(topic, number, key, rows[key], headers) for key in keys), AT_ONCE)
    return Written(min(offsets, default=0), max(offsets, default=-1) + 1, len(keys))


async def load(log: LogClient, number: int, event: QualityRebuilt) -> dict[bytes, bytes] | None:
    """Load the rows that an event names; None if some are gone, or they are not those of the partition.

    Raises:
        LogError: the log cannot be read.
    """
    found: dict[bytes, bytes] = {}
    span = OffsetRange(Partition(topics.CHAT_REBUILDS.name, number), event.first, event.end)
    async for record in each(log, span):
        if (RUN, event.run.encode()) in record.headers and record.key and record.value is not None:
            found[record.key] = record.value
    return found if len(found) == event.count and await _are_of(number, found) else None


async def _are_of(number: int, rows: Mapping[bytes, bytes]) -> bool:
    """Whether rows are those of one partition: its own row, and no row of another one."""
    async for key in in_turns(rows):
        name = name_of(key)
        if key != partition_key(number) if name is None else partition_of(name) != number:
            return False
    return partition_key(number) in rows
