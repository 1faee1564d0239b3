"""Whether what an event changes is still this worker's, after a wait."""

import asyncio

from weir.log.log import Delivered
from weir.worker import Worker

LOOK_S = 0.05  # between two looks at whether the partitions are shared out


async def still_ours(worker: Worker, event: Delivered) -> bool:
    """Whether the event's partition has been this worker's since it was delivered; waits for a rebalance to end.

    If not, the event is delivered again, here or elsewhere, and its tables must be left alone: a former owner's late
    write would undo what the new one has written. To acknowledge it does no harm (``weir.log.settlement``).

    The events of a start may come a moment before it is told that the partitions are shared out, so that alone says
    nothing.
    """
    while worker.rebalancing:  # noqa: ASYNC110 -- Faust has a flag, and no event
        await asyncio.sleep(LOOK_S)
    return bool(event.message.generation_id == worker.membership.generation)
