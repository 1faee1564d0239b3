"""Checks whether an event's partition is still this worker's, after a wait."""

import asyncio

from weir.log.log import Delivered
from weir.worker import Worker

LOOK_S = 0.05  # between two checks whether the rebalance is over


async def still_ours(worker: Worker, event: Delivered) -> bool:
    """Whether the event's partition has been this worker's since it was delivered; waits for a rebalance to end.

    If not, the event is delivered again, here or elsewhere, and its tables must be left alone: a former owner's late
    write would undo what the new one has written. To acknowledge it does no harm (``weir.log.settlement``).

    The first events of a start may come a moment before the worker learns its partitions, so the rebalance flag alone
    does not decide.
    """
    while worker.rebalancing:  # noqa: ASYNC110 -- Faust has a flag, and no event
        await asyncio.sleep(LOOK_S)
    return bool(event.message.generation_id == worker.membership.generation)
