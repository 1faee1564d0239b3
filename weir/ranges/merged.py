"""Reads the records of two partitions as one stream, in the order of their times in the log.

A reader that keeps up with both partitions gets them in that order; a later reader gets the same order again. Within a
partition the log's own order stands, whatever the times of its records.
"""

from collections.abc import AsyncIterator, Sequence

from weir.log.log import LogClient, Record
from weir.ranges.offset_ranges import OffsetRange, each
from weir.ranges.progress import UNSEEN, Step


async def merged(log: LogClient, spans: Sequence[OffsetRange], *, step: Step = UNSEEN) -> AsyncIterator[Record]:
    """The records of some spans in one order; of records with the same time, those of the first span come first.

    Args:
        log: where they are.
        spans: which.
        step: gets the number of offsets that are done.

    Raises:
        LogError: the log cannot be read.
    """
    sources = [each(log, span, step=step) for span in spans]
    heads = [await anext(source, None) for source in sources]
    while True:
        waiting = [(head.timestamp, place, head) for place, head in enumerate(heads) if head is not None]
        if not waiting:
            return
        _, place, head = min(waiting)
        yield head
        heads[place] = await anext(sources[place], None)
