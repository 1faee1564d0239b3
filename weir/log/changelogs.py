"""Reads a table back from its changelog in pages, past Faust's consumer.

Faust recovers record by record: each goes through its fetch, a queue and four tasks, some 80 microseconds, and 100,000
requests leave 400,000 changes. A page of the log client goes into the table as one batch.
"""

import asyncio
from typing import Any, NamedTuple

from faust.types import TP

from weir.log.log import LogClient, Partition, Record

PAGE = 4000  # changes read and applied at once: some milliseconds in which nothing else runs


class _Message(NamedTuple):
    """The fields of Faust's message that a store reads when it applies a changelog."""

    tp: TP
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class _Change(NamedTuple):
    """The fields of Faust's event that a store reads when it applies a changelog."""

    key: bytes | None
    value: bytes | None
    message: _Message


async def read_back(log: LogClient, table: Any, at: TP, *, after: int, last: int, topic: str | None = None) -> int:
    """Apply the changes of one partition to its table.

    Args:
        log: the log client that reads the changelog.
        table: a table whose keys and values are bytes.
        at: the partition of its changelog.
        after: the last offset that the table has seen.
        last: the last offset of the changelog.
        topic: the changelog's name, where the log client knows it by another one than Faust.

    Returns:
        the last offset that the table has seen now: ``last``, even where the records at the end are gone (a damaged
        batch, the marker of a transaction); a lower one while an open transaction of another client hides the rest.

    Raises:
        LogError: the log cannot be read. Changes applied before the error stay applied, and may be applied again.
    """
    place = Partition(topic or at.topic, at.partition)
    while after < last:
        records = await _changes(log, place, after + 1, last)
        if not records:
            # Faust would wait for a record with the last offset. Ask for the end first, then read again: the missing
            # records may have become readable between the two.
            end = (await log.bounds(place)).end
            records = await _changes(log, place, after + 1, last)
        if not records:
            return last if end > last else after
        table.apply_changelog_batch([_change(at, record) for record in records])
        after = records[-1].offset
        await asyncio.sleep(0)  # let other tasks run
    return after


async def _changes(log: LogClient, place: Partition, first: int, last: int) -> list[Record]:
    return [record for record in await log.read(place, first, limit=PAGE) if record.offset <= last]


def _change(at: TP, record: Record) -> _Change:
    return _Change(record.key, record.value, _Message(at, at.partition, record.offset, record.key, record.value))
