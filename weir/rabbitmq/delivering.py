"""Answers to response queues: each order is read out of the log and sent, message by message, each once.

How far it has come stands in RabbitMQ (`weir.rabbitmq.lane`), that it is done stands in the log (a ``delivered`` mark),
and only then is the order acknowledged. Whatever dies in between, whoever gets the order next goes on where it stands.
"""

import asyncio
import logging
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from weir.chat import frames
from weir.chat.frames import Frame, FrameKind, Status, Terminal
from weir.chat.reading.delivery import Delivery
from weir.chat.reading.following import deliveries
from weir.chat.reading.identifying import origin
from weir.chat.reading.stored import marks
from weir.envelope import Json, new_id
from weir.errors import AnswerGoneError, ApiError
from weir.log.log import LogClient, LogError, LogReplacedError, LogUnavailableError, Partition, RecordTooLargeError
from weir.log.tails import Tails
from weir.rabbitmq import contract
from weir.rabbitmq.contract import DeliveryProgress
from weir.rabbitmq.lane import Lane, LaneLostError, PublishRefusedError
from weir.rabbitmq.link import LINK_ERRORS
from weir.rabbitmq.orders import Order
from weir.rabbitmq.outlets import Outlet
from weir.rabbitmq.text import Ahead, DivergedError, Text
from weir.settings import Settings

logger = logging.getLogger(__name__)

IDLE_S = 60.0  # between two turns of a wait for the next frame
RETRY_S = 1.0  # between two tries to reach a queue, or the log
# Messages of one delivery on their way; meanwhile its text collects into the next one. With more, a RabbitMQ that is
# restarted under full load loses some: a queue that is writing one when it is told to stop drops those behind it.
FLIGHTS_MAX = 1
PENDING_MAX_BYTES = 262_144  # collected while RabbitMQ is slow; then the log is read no further

RESTARTED = {
    "message": "The worker that generated this answer died, and it is said again in other words. Fetch it by HTTP.",
    "type": "server_error",
    "param": None,
    "code": "stream_restarted",
    "status": 502,
}


class UndeliverableError(Exception):
    """There is nowhere to send an answer to, as far as one may try."""


@dataclass(slots=True)
class _Way:
    """A delivery's messages, in order: some on their way, text that waits to be the next."""

    order: Order
    lane: Lane
    place: DeliveryProgress
    _pending: bytearray = field(default_factory=bytearray)
    _flights: set["asyncio.Task[None]"] = field(default_factory=set)
    _landing: asyncio.Event = field(default_factory=asyncio.Event)
    _error: BaseException | None = None

    async def say(self, text: bytes) -> None:
        """Send text, now or with the next message."""
        self._pending += text
        self._send()
        while len(self._pending) > PENDING_MAX_BYTES:
            await self._land()

    async def end(self, end: "_End") -> None:
        """Send what is left, then the last message, and wait until RabbitMQ has all of them."""
        while self._pending:
            await self._land()
        self._raise()
        headers = contract.ended(self.order.name, self.place.seq, end.terminal, end.beside)
        self._launch(end.body, headers, ended=True)
        while self._flights:
            await self._land()
        self._raise()

    def again(self) -> Ahead:
        """The answer is read from its start: what of it is out, or on its way."""
        self._pending.clear()  # it will be read again, too
        return Ahead(self.place)

    async def settle(self) -> None:
        """Send nothing more, and wait until the lane knows how far this came. Never raises."""
        self._pending.clear()
        await asyncio.gather(*self._flights, return_exceptions=True)

    def _send(self) -> None:
        self._raise()
        if self._pending and len(self._flights) < FLIGHTS_MAX:
            text = bytes(self._pending)
            self._pending.clear()
            self._launch(text, contract.said(self.order.name, self.place.seq), ended=False)

    def _launch(self, body: bytes, headers: Json, *, ended: bool) -> None:
        old = self.place
        self.place = DeliveryProgress(old.seq + 1, old.position + len(body), zlib.crc32(body, old.crc), ended)
        message = contract.answer(
            body,
            headers,
            message_id=contract.message_id(self.order.submission, self.place),
            correlation_id=self.order.correlation_id,
        )
        # Tasks start in the order of their creation, and the lane keeps it.
        flight = asyncio.create_task(self.lane.send(message, self.order.queue))
        self._flights.add(flight)
        flight.add_done_callback(self._landed)

    def _landed(self, flight: "asyncio.Task[None]") -> None:
        self._flights.discard(flight)
        error = None if flight.cancelled() else flight.exception()  # to be asked for even if there is one already
        self._error = self._error or error
        if self._error is None:
            self._send()
        self._landing.set()

    async def _land(self) -> None:
        self._raise()
        self._landing.clear()
        await self._landing.wait()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class Delivering:
    """Makes deliveries, many at once."""

    def __init__(self, *, log: LogClient, tails: Tails, settings: Settings) -> None:
        self._log = log
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
            order: what goes where.
            at: the partition of chat-chunks that holds the answer.
            outlet: waits until this worker may send for the partition; what it raises ends the delivery.
            on_end: told when the last message goes out: whoever asks from then on may have read it.

        Raises:
            UndeliverableError: there is nowhere to send it.
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
        """With one lane, for as long as that holds."""
        making = asyncio.create_task(self._make(order, at, out, on_end), name=f"deliver-{order.uid}")
        try:
            await asyncio.wait({making, out.lane.lost}, return_when=asyncio.FIRST_COMPLETED)
            if not making.done() or making.cancelled():  # aiormq cancels who waits for a channel that is gone
                raise LaneLostError("while waiting for the answer")
            making.result()
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)

    async def _make(self, order: Order, at: Partition, out: Outlet, on_end: Callable[[], None]) -> None:
        if not await self._is_done(order, at, out.lane):
            await self._tell(order, at, out, on_end)
            await self._mark(order, at)
        await out.lane.forget(order.submission)
        out.queues.forget(order.queue)

    # -- done already?

    async def _is_done(self, order: Order, at: Partition, lane: Lane) -> bool:
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

    async def _mark(self, order: Order, at: Partition) -> None:
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

    # -- telling

    async def _tell(self, order: Order, at: Partition, out: Outlet, on_end: Callable[[], None]) -> None:
        place = out.lane.place(order.submission) or DeliveryProgress()
        if place.ended:
            return on_end()
        await _reach(order, out)
        way = _Way(order, out.lane, place)
        try:
            end = await self._read_if_kept(order, at, way)
            on_end()
            await way.end(end)
        finally:
            await way.settle()
        return None

    async def _read_if_kept(self, order: Order, at: Partition, way: _Way) -> "_End":
        try:
            return await self._read(order, at, way)
        except LogReplacedError:
            return _End(contract.failed(AnswerGoneError()))

    async def _read(self, order: Order, at: Partition, way: _Way) -> "_End":
        """Send what the log says, up to the last message, which is returned."""
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
                        return _End(terminal)
                    if terminal is not None:
                        if terminal.status is Status.COMPLETED:
                            ahead.end()
                        return _End(terminal, bytes(whole), text.beside)
        except ApiError as error:
            return _End(contract.failed(error))
        except DivergedError:
            return _End(Terminal(status=Status.FAILED, error=RESTARTED))
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


@dataclass(frozen=True, slots=True)
class _End:
    """What the last message tells."""

    terminal: Terminal
    body: bytes = b""
    beside: Json | None = None


class _NotThereError(Exception):
    """The response queue is not there (yet)."""


async def _reach(order: Order, out: Outlet) -> None:
    try:
        there = await out.queues.reach(order.queue, declare=order.declare)
    except LINK_ERRORS as error:
        if out.lane.lost.done():
            raise LaneLostError("while asking for the queue") from error
        raise _NotThereError(f"{type(error).__name__}: {error}") from error
    if not there:
        raise _NotThereError("there is no such queue")
