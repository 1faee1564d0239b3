"""Delivers answers to response queues: each order is read out of the log and sent, message by message, each once.

RabbitMQ holds how far a delivery has come (`weir.rabbitmq.lane`), the log holds that it is done (a ``delivered`` mark),
and only then is the order acknowledged. If a worker or broker dies in between, the next owner of the order continues.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from weir.chat.frames import Status, Terminal
from weir.chat.reading.delivery import Delivery
from weir.chat.reading.following import deliveries
from weir.errors import AnswerGoneError, ApiError
from weir.log.log import LogClient, LogError, LogReplacedError, LogUnavailableError, Partition, RecordTooLargeError
from weir.log.tails import Tails
from weir.rabbitmq import contract
from weir.rabbitmq.contract import DeliveryProgress
from weir.rabbitmq.delivered import DeliveredMarks
from weir.rabbitmq.lane import LaneLostError, PublishRefusedError
from weir.rabbitmq.link import LINK_ERRORS
from weir.rabbitmq.orders import Order
from weir.rabbitmq.outlets import Outlet
from weir.rabbitmq.text import DivergedError, Text
from weir.rabbitmq.way import End, Way
from weir.settings import Settings

logger = logging.getLogger(__name__)

IDLE_S = 60.0  # between two steps of a wait for the next frame
RETRY_S = 1.0  # between two tries to reach a queue, or the log

RESTARTED = {
    "message": "The worker of this answer died, and the answer was generated again in other words. Fetch it by HTTP.",
    "type": "server_error",
    "param": None,
    "code": "stream_restarted",
    "status": 502,
}


class UndeliverableError(Exception):
    """The answer cannot be sent to its queue, after all tries that are allowed."""


class Delivering:
    """Makes deliveries, many at once."""

    def __init__(self, *, log: LogClient, tails: Tails, settings: Settings) -> None:
        self._delivered = DeliveredMarks(log, tails)
        self._tails = tails
        self._settings = settings

    async def deliver(
        self,
        order: Order,
        at: Partition,
        outlet: Callable[[], Awaitable[Outlet]],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring one order to its end.

        Args:
            order: the order.
            at: the partition of chat-chunks that holds the answer.
            outlet: waits until this worker may send for the partition; an error that it raises ends the delivery.
            on_end: called when the last message is sent: from then on the client may have read it.

        Raises:
            UndeliverableError: the answer cannot be sent to its queue.
        """
        tries = 0
        while True:
            out = await outlet()
            try:
                return await self._deliver(order, at, out, on_end)
            except LaneLostError as error:
                logger.debug("delivery of %s: the lane is lost (%s)", order.uid, error)
            except (PublishRefusedError, RecordTooLargeError) as error:
                await out.lane.forget(order.submission)
                raise UndeliverableError(str(error)) from None
            except LogError as error:
                logger.warning("delivery of %s waits for the log: %s", order.uid, error)
                await asyncio.sleep(RETRY_S)
            except _NotThereError as error:
                tries += 1
                if tries > self._settings.response_queue_retries:
                    await out.lane.forget(order.submission)
                    raise UndeliverableError(f"response queue {order.queue!r}: {error}") from None
                await asyncio.sleep(RETRY_S)

    async def _deliver(self, order: Order, at: Partition, out: Outlet, on_end: Callable[[], None]) -> None:
        """Deliver with one lane, for as long as the lane holds."""
        making = asyncio.create_task(self._make(order, at, out, on_end), name=f"deliver-{order.uid}")
        try:
            await asyncio.wait({making, out.lane.lost}, return_when=asyncio.FIRST_COMPLETED)
            if not making.done() or making.cancelled():  # aiormq cancels tasks that wait for a channel that is gone
                raise LaneLostError("while waiting for the answer")
            making.result()
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)

    async def _make(self, order: Order, at: Partition, out: Outlet, on_end: Callable[[], None]) -> None:
        if not await self._delivered.is_done(order, at, out.lane):
            await self._tell(order, at, out, on_end)
            await self._delivered.mark(order, at)
        await out.lane.forget(order.submission)
        out.queues.forget(order.queue)

    # -- sending

    async def _tell(self, order: Order, at: Partition, out: Outlet, on_end: Callable[[], None]) -> None:
        place = out.lane.place(order.submission) or DeliveryProgress()
        if place.ended:
            return on_end()
        await _reach(order, out)
        way = Way(order, out.lane, place)
        try:
            end = await self._read_if_kept(order, at, way)
            on_end()
            await way.end(end)
        finally:
            await way.settle()
        return None

    async def _read_if_kept(self, order: Order, at: Partition, way: Way) -> End:
        try:
            return await self._read(order, at, way)
        except LogReplacedError:
            return End(contract.failed(AnswerGoneError()))

    async def _read(self, order: Order, at: Partition, way: Way) -> End:
        """Send the answer as the log has it, up to the last message, which is returned."""
        inline = self._settings.response_thinking == "inline"
        text, ahead, whole = Text(order.uid, thinking=inline), way.again(), bytearray()
        try:
            async with aclosing(self._news(order, at)) as news:
                async for delivery in news:
                    if delivery.restarted:
                        text, ahead, whole = Text(order.uid, thinking=inline), way.again(), bytearray()
                    said, terminal = text.add(delivery.chunks), delivery.terminal
                    if terminal is not None:
                        said += text.end()
                    if order.stream:
                        await way.say(ahead.rest(said))
                    else:
                        whole += said
                    if terminal is not None and terminal.error is not None:
                        return End(terminal)
                    if terminal is not None:
                        if terminal.status is Status.COMPLETED:
                            ahead.end()
                        return End(terminal, bytes(whole), text.beside)
        except ApiError as error:
            return End(contract.failed(error))
        except DivergedError:
            return End(Terminal(status=Status.FAILED, error=RESTARTED))
        raise LogUnavailableError("the answer has no end yet")

    def _news(self, order: Order, at: Partition) -> AsyncGenerator[Delivery, None]:
        return deliveries(
            self._tails,
            at,
            order.uid,
            position=order.chunks_from,
            idle_s=IDLE_S,
            submission=order.submission,
            topic_id=order.chunks_topic_id,
        )


class _NotThereError(Exception):
    """The response queue does not exist (yet)."""


async def _reach(order: Order, out: Outlet) -> None:
    try:
        there = await out.queues.reach(order.queue, declare=order.declare)
    except LINK_ERRORS as error:
        if out.lane.lost.done():
            raise LaneLostError("while asking for the queue") from error
        raise _NotThereError(f"{type(error).__name__}: {error}") from error
    if not there:
        raise _NotThereError("there is no such queue")
