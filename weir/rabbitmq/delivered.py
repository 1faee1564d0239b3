"""Reads and writes ``delivered`` marks: the log has one for each delivery that was made."""

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


class DeliveredMarks:
    """Reads and writes the marks of deliveries.

    Args:
        log: the log to write marks to.
        tails: the tails to read marks with.
    """

    def __init__(self, log: LogClient, tails: Tails) -> None:
        self._log = log
        self._tails = tails

    async def is_done(self, order: Order, at: Partition, lane: Lane) -> bool:
        """Whether an order was carried out already, or needs no delivery.

        Raises:
            LogError: the log cannot be read.
        """
        try:
            return await self._is_void(order, at) or await self._is_delivered(order, at, lane)
        except LogReplacedError:  # the mark is gone with the answer; the client gets a message that says so
            return False

    async def _is_void(self, order: Order, at: Partition) -> bool:
        """Whether a request from the dead letters was answered meanwhile: then its answer has an order of its own."""
        if not order.redriven:
            return False
        try:
            rid, _ = await self._origin(order, at)
        except ApiError:  # another request has this uid now
            return True
        return rid != order.submission

    async def _is_delivered(self, order: Order, at: Partition, lane: Lane) -> bool:
        """Whether the log has the mark of this order, or of another for the same answer in the same queue."""
        first = order.chunks_from
        if order.again and lane.place(order.submission) is None:
            with suppress(ApiError):  # a conflict: the order has an end of its own
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
        """Write the mark of an order that is carried out.

        Raises:
            LogError: it is not sure that the mark is in the log.
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
