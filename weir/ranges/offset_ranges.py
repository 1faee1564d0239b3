"""Resolves a range of a topic: from two places in time to an offset range of each partition."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final, NamedTuple

from weir.envelope import Json, utc_iso
from weir.log.log import Bounds, LogClient, LogRefusedError, Partition, Record
from weir.ranges.errors import GoneError, NothingError, UsageError
from weir.ranges.progress import UNSEEN, Step
from weir.ranges.when import Edge, Offsets, Time, When, record_time
from weir.timing import CLOCKS_APART_S, Turn
from weir.topics import TOPICS

PAGE: Final = 1000  # records of one read
_KNOWN: Final = frozenset(topic.name for topic in TOPICS)


class OffsetRange(NamedTuple):
    """The records of one partition with ``start <= offset < end``."""

    at: Partition
    start: int
    end: int

    @property
    def size(self) -> int:
        """The number of offsets; compaction may have removed some of their records."""
        return self.end - self.start

    def as_json(self) -> Json:
        """The span as JSON, for the record of a run."""
        return {"topic": self.at.topic, "partition": self.at.partition, "start": self.start, "end": self.end}


def span_from(fields: Json) -> OffsetRange:
    """The span that ``OffsetRange.as_json`` was called on."""
    at = Partition(str(fields["topic"]), int(fields["partition"]))
    return OffsetRange(at, int(fields["start"]), int(fields["end"]))


async def resolve(
    log: LogClient, topic: str, since: When, until: When, *, now: float, kept_s: float | None = None
) -> list[OffsetRange]:
    """The spans of a topic between two places, as they are now; partitions without a record there are left out.

    Args:
        log: the log with the topic.
        topic: the topic's name.
        since: the first record.
        until: the end of the range; a record of exactly this time is not in it.
        now: the present time, in seconds since the epoch.
        kept_s: how long the topic keeps a record; None if that is not known.

    Raises:
        UsageError: there is no such topic or partition, or the end lies before the beginning.
        GoneError: records of the range are gone, or may be: its beginning is older than the retention.
        NothingError: there is no record in the range.
        LogError: the log cannot be read.
    """
    count = partitions_of(log, topic)
    for given in (since, until):
        if isinstance(given, Offsets) and (wrong := [number for number in given.of if number >= count]):
            raise UsageError(f"topic {topic} has no partition {wrong[0]}: they are 0 to {count - 1}")
    if isinstance(since, Time) and isinstance(until, Time) and until.seconds <= since.seconds:
        raise UsageError(f"--to: {utc_iso(until.seconds)} is not after --from, {utc_iso(since.seconds)}")
    spans: list[OffsetRange] = []
    for number in range(count):
        at = Partition(topic, number)
        bounds = await log.bounds(at)
        start = await _start(log, at, bounds, since, None if kept_s is None else now - kept_s)
        end = bounds.end if start is None else await _end(log, at, bounds, until)
        if start is not None and start < end:
            spans.append(OffsetRange(at, start, end))
    if not spans:
        raise NothingError(f"topic {topic} has no record in this range")
    return spans


async def since(log: LogClient, at: Partition, seconds: float) -> OffsetRange:
    """The records of a partition that were written since a time, by whatever clock: from a little before on.

    Raises:
        LogError: the log cannot be read.
    """
    return await onward(log, at, await log.offset_at(at, seconds - CLOCKS_APART_S))


async def onward(log: LogClient, at: Partition, start: int = 0) -> OffsetRange:
    """The records of a partition from an offset on, as far as they go now.

    Raises:
        LogError: the log cannot be read.
    """
    bounds = await log.bounds(at)
    start = max(start, bounds.start)
    return OffsetRange(at, start, max(start, bounds.end))


async def gone_until_s(log: LogClient, at: Partition, now: float) -> float:
    """The time before which records of a partition may be gone, in seconds since the epoch; 0 where none is.

    Args:
        log: where it is.
        at: the partition.
        now: the clock, for a partition of which nothing is left.

    Raises:
        LogError: the log cannot be read.
    """
    start = (await log.bounds(at)).start
    if not start:
        return 0.0
    oldest = await log.read(at, start, limit=1)
    return oldest[0].timestamp if oldest else now


def partitions_of(log: LogClient, topic: str) -> int:
    """How many partitions a topic has.

    Raises:
        UsageError: there is no such topic.
    """
    try:
        return log.partitions(topic)
    except LogRefusedError:
        if topic in _KNOWN:
            raise UsageError(
                f"there is no topic {topic} here: no worker has run on this log, or it is another one"
            ) from None
        names = ", ".join(sorted(_KNOWN))
        raise UsageError(f"there is no topic {topic!r}; Weir's topics are {names}") from None


async def _start(log: LogClient, at: Partition, bounds: Bounds, since: When, kept_since: float | None) -> int | None:
    if isinstance(since, Edge):
        return bounds.start if since is Edge.EARLIEST else bounds.end
    if isinstance(since, Offsets):
        offset = since.of.get(at.partition)
        if offset is not None and offset < bounds.start:
            raise GoneError(
                f"topic {at.topic}: partition {at.partition} starts at offset {bounds.start}, and {offset} is gone"
            )
        return offset
    if bounds.start and kept_since is not None and since.seconds < kept_since:
        oldest = await log.read(at, bounds.start, limit=1)
        if not oldest or oldest[0].timestamp > since.seconds:
            time = record_time(oldest[0].timestamp) or "no time" if oldest else ""
            left = f"the oldest record left is of {time}" if oldest else "no record is left"
            raise GoneError(
                f"topic {at.topic}: --from {utc_iso(since.seconds)} is older than the topic's retention; of partition "
                f"{at.partition} {left}. Use --from earliest for all records left"
            )
    return max(bounds.start, await log.offset_at(at, since.seconds))


async def _end(log: LogClient, at: Partition, bounds: Bounds, until: When) -> int:
    if isinstance(until, Time):
        return min(bounds.end, await log.offset_at(at, until.seconds))
    if isinstance(until, Offsets):
        return min(bounds.end, until.of.get(at.partition, bounds.end))
    return bounds.end if until is Edge.LATEST else bounds.start


async def records(log: LogClient, span: OffsetRange, *, page: int = PAGE) -> AsyncIterator[Sequence[Record]]:
    """The records of a span, in order, page by page.

    Raises:
        LogError: the log cannot be read.
    """
    position = span.start
    while position < span.end:
        found = [record for record in await log.read(span.at, position, limit=page) if record.offset < span.end]
        if not found:
            return
        yield found
        position = found[-1].offset + 1


async def each(
    log: LogClient, span: OffsetRange, *, page: int = PAGE, step: Step = UNSEEN
) -> AsyncGenerator[Record, None]:
    """The records of a span, in order, one by one, with turns of the event loop for other tasks between them.

    Args:
        log: the log to read.
        span: the records to read.
        page: records of one read.
        step: receives the number of offsets that are done, page by page; in the end, all of the span.

    Raises:
        LogError: the log cannot be read.
    """
    position, turn = span.start, Turn()
    async for found in records(log, span, page=page):
        for record in found:
            if turn.over():
                await turn.end()
            yield record
        step.advance(found[-1].offset + 1 - position)
        position = found[-1].offset + 1
    step.advance(span.end - position)  # compaction took them, or a transaction's mark stands there


def size(spans: Sequence[OffsetRange]) -> int:
    """The number of offsets in some spans."""
    return sum(span.size for span in spans)
