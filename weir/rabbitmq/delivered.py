"""Deliveries that were made, as the log has them: a ``delivered`` mark for each."""

from contextlib import suppress

from weir.chat import frames
from weir.chat.frames import Frame, FrameKind
from weir.chat.reading.identifying import origin
from weir.chat.reading.stored import marks
from weir.envelope import new_id
from weir.errors import ApiError
from weir.log.log import LogClient, LogReplacedError, Partition
from weir.log.tails import Tails
from weir.rabbitmq.lane import Lane
from weir.rabbitmq.orders import Order


class Delivered:
    """Reads and writes the marks of deliveries.

    Args:
        log: where marks are written.
        tails: where they are read.
    """

    def __init__(self, log: LogClient, tails: Tails) -> None:
        self._log = log
        self._tails = tails

    async def is_done(self, order: Order, at: Partition, lane: Lane) -> bool:
        """Whether an order was carried out already, or needs not be.

        Raises:
            LogError: the log cannot be read.
        """
        try:
            return await self._is_void(order, at) or await self._is_delivered(order, at, lane)
        except LogReplacedError:  # what would say so is gone with the answer, and its client is told of that
            return False

    async def _is_void(self, order: Order, at: Partition) -> bool:
        """Whether a request from the dead letters had been answered already, or was by another: that has its order."""
        if not order.redriven:
            return False
        try:
            rid, _ = await self._origin(order, at)
        except ApiError:  # another request has its uid now
            return True
        return rid != order.submission

    async def _is_delivered(self, order: Order, at: Partition, lane: Lane) -> bool:
        """Whether the log says so: of this order, or of another for the same answer in the same queue."""
        first = order.chunks_from
        if order.again and lane.place(order.submission) is None:
            with suppress(ApiError):  # a conflict: it has an end of its own
                _, first = await self._origin(order, at)
        made = await marks(
            self._tails, at, order.uid, position=first, kind=FrameKind.DELIVERED, topic_id=order.chunks_topic_id
        )
        same = (order.queue, order.fingerprint)
        return any(
            mark.submission == order.submission or (order.again and (mark.queue, mark.fingerprint) == same)
            for _, mark in made
        )

    async def _origin(self, order: Order, at: Partition) -> tuple[str, int]:
        return await origin(
            self._tails,
            at,
            order.uid,
            position=order.chunks_from,
            submission=order.submission,
            topic_id=order.chunks_topic_id,
        )

    async def mark(self, order: Order, at: Partition) -> None:
        """Note that an order is carried out.

        Raises:
            LogError: the mark is not in the log for sure.
        """
        mark = Frame(
            uid=order.uid,
            rid=order.submission,
            kind=FrameKind.DELIVERED,
            submission=order.submission,
            queue=order.queue,
            fingerprint=order.fingerprint,
        )
        value = frames.encode(mark, event_id=new_id("evt"), tenant=order.tenant)
        await self._log.append(at.topic, at.partition, order.key, value)
