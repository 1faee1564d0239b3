"""The records of two partitions as one stream, in the order of their times in the log.

That is the order in which whoever keeps up with both reads them; who reads it again reads it the same way. Within a
partition the log's own order stands, whatever its times.
"""

from collections.abc import AsyncIterator, Sequence

from weir.log.log import LogClient, Record
from weir.ranges.spans import Span, records


async def merged(log: LogClient, spans: Sequence[Span]) -> AsyncIterator[Record]:
    """The records of some spans; of those with the same time, the span that is named first has its first.

    Raises:
        LogError: the log cannot be read.
    """
    sources = [_one_by_one(log, span) for span in spans]
    heads = [await anext(source, None) for source in sources]
    while True:
        waiting = [(head.timestamp, place, head) for place, head in enumerate(heads) if head is not None]
        if not waiting:
            return
        _, place, head = min(waiting)
        yield head
        heads[place] = await anext(sources[place], None)


async def _one_by_one(log: LogClient, span: Span) -> AsyncIterator[Record]:
    async for page in records(log, span):
        for record in page:
            yield record
