"""The records of two partitions as one stream, in the order of their times in the log.

That is the order in which whoever keeps up with both reads them; who reads it again reads it the same way. Within a
partition the log's own order stands, whatever its times.
"""

from collections.abc import AsyncIterator, Sequence

from weir.log.log import LogClient, Record
from weir.ranges.progress import UNSEEN, Step
from weir.ranges.spans import Span, each


async def merged(log: LogClient, spans: Sequence[Span], *, step: Step = UNSEEN) -> AsyncIterator[Record]:
    """The records of some spans; of those with the same time, the span that is named first has its first.

    Args:
        log: where they are.
        spans: which.
        step: is told how many offsets are done.

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
