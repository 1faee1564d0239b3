"""Folds records of two topics into the windows of their partition, for the live windows and for rebuilds."""

from functools import lru_cache

from weir import envelope, topics
from weir.envelope import MalformedRecordError
from weir.insights.reading import SOURCES, Measured, Ticked, read
from weir.insights.rows import QualityRows, name_of
from weir.insights.shard import Shard
from weir.insights.values import Seen
from weir.log.log import Record
from weir.log.partitioner import partition_for
from weir.timing import in_turns


def partition_of(name: str) -> int:
    """The partition of the two topics, and of the table, to which a tenant:model belongs."""
    return partition_for(name.encode(), topics.AGENT_METRICS.partitions)


def said(record: Record) -> Measured | Ticked | None:
    """The values that the windows take from a record; None if they take none.

    Raises:
        MalformedRecordError: a field is wrong; the message names it.
    """
    seen = read(envelope.decode(record.value))
    if isinstance(seen, Measured) and partition_of(seen.name) != record.partition:
        raise MalformedRecordError("`key`: another partition has the records of this tenant and model")
    return seen


def fold(shard: Shard, record: Record, seen: Measured | Ticked) -> None:
    """Fold what a record says into its shard."""
    shard.fold(SOURCES[record.topic], record.offset, int(record.timestamp * 1000), seen)


async def raw(rows: QualityRows, number: int) -> dict[bytes, bytes]:
    """The rows of a partition as bytes, without the partition's own row. They may not change meanwhile."""
    mine = lru_cache(maxsize=None)(lambda name: partition_of(name) == number)
    return {
        key: value async for key, value in in_turns(rows.raw()) if (name := name_of(key)) is not None and mine(name)
    }


async def own(rows: QualityRows, number: int) -> dict[str, list[Seen]]:
    """The windows of each tenant and model of a partition. They may not change meanwhile."""
    found: dict[str, list[Seen]] = {}
    mine = lru_cache(maxsize=None)(lambda name: partition_of(name) == number)
    async for name, seen in in_turns(rows.scan(mine)):
        if mine(name):
            found.setdefault(name, []).extend([seen] if seen else ())
    return found
