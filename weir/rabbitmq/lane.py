"""The lane of one partition into RabbitMQ: which worker may send its answers, and how far each delivery has come.

A message to a response queue is a *receipt* at the same time: by a ``BCC`` header (RabbitMQ's sender-selected
distribution) the one publish also reaches a second, durable queue of the partition. So no worker can die at a moment
that leaves it open whether a message was sent. Its successor reads the receipts, whose ids hold the place of each
delivery, and goes on from there.

A message must not be in its queue while an earlier one is not, or the receipts would count text that the client does
not have. So all messages of a lane stand in one line, and when one of them has waited for too long, the lane is lost
with all messages behind it.

Receipts are taken by an exclusive consumer on the same channel that publishes. Only the worker with that consumer
sends: RabbitMQ gives it to a successor when the channel is gone, after every message that was sent over it. A worker
that was thought dead, and is not, finds its channel closed.

    open   consume the receipts exclusively, then publish a barrier: the receipts before it are the places as they stand
    send   one publish, two queues; the last receipt of each delivery is not acknowledged, the others are
    forget the delivery is done, and the log has its mark: its last receipt is acknowledged, too

A worker that finds the consumer taken leaves a *challenge* in the queue. The holder of the lane then closes it, and
opens it again if it owns the partition after all. That is for a holder that has lost its partition without knowing it.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any, Self, cast

import aiormq
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, DeliveryError

from weir.envelope import new_id
from weir.rabbitmq.contract import DeliveryProgress, place_of
from weir.rabbitmq.link import LINK_ERRORS, open_channel

logger = logging.getLogger(__name__)

BARRIER, CHALLENGE = "barrier-", "challenge-"
CHALLENGE_EXPIRES_S = 30  # no holder is there to read it after that


class LaneTakenError(Exception):
    """Another worker holds the lane."""


class LaneLostError(Exception):
    """The lane is closed; whether unconfirmed messages were sent, the next lane finds out."""


class PublishRefusedError(Exception):
    """RabbitMQ did not put a message into its queue: the queue is full, and configured to refuse messages then."""


class Lane:
    """The exclusive channel of one partition. Open it, send, and when it is lost open another one."""

    def __init__(self, connection: AbstractConnection, receipts: str, *, timeout_s: float, keep_s: float) -> None:
        """Prepares a lane that is not open yet.

        Args:
            connection: the connection to RabbitMQ.
            receipts: the queue of receipts.
            timeout_s: how long RabbitMQ may take for any answer.
            keep_s: the age beyond which receipts are ignored: their deliveries cannot be made any more.
        """
        self._connection = connection
        self._receipts = receipts
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._places: dict[str, DeliveryProgress] = {}  # by submission
        self._last: dict[str, AbstractIncomingMessage] = {}  # the receipt of each place, as soon as it has arrived
        self._forgotten: set[str] = set()  # submissions whose last receipt is acknowledged when it arrives
        self._closing: asyncio.Future[None] | None = None
        # messages that RabbitMQ has not confirmed, or not even received
        self._publishing: set[asyncio.Future[Any]] = set()
        self._barrier = new_id(BARRIER)
        self._channel: AbstractChannel | None = None
        self._underlay: aiormq.Channel | None = None
        loop = asyncio.get_running_loop()
        self._caught_up: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()  # done when the lane is closed, for whatever reason

    async def open(self) -> None:
        """Become the worker that sends.

        Raises:
            LaneTakenError: another worker holds the lane; the challenge asks it to close the lane.
            LINK_ERRORS: RabbitMQ is away.
        """
        async with asyncio.timeout(self._timeout_s):
            channel = self._channel = await open_channel(
                self._connection, publisher_confirms=True, on_return_raises=False
            )
            channel.close_callbacks.add(lambda *_: self._lose())
            queue = await channel.declare_queue(self._receipts, durable=True)
            try:
                await queue.consume(self._on_receipt, exclusive=True)
            except (ChannelAccessRefused, ChannelLockedResource):
                await self._challenge()
                raise LaneTakenError from None
            self._underlay = cast("aiormq.Channel", await channel.get_underlay_channel())
            self._underlay.on_consumer_cancel_callbacks.add(lambda *_: self._lose())
            await self._signal(channel, self._barrier)
            await asyncio.wait({self._caught_up, self.lost}, return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done():
            raise LaneTakenError

    def place(self, submission: str) -> DeliveryProgress | None:
        """How far a delivery has come; None if no message of it was sent."""
        return self._places.get(submission)

    async def send(self, message: Message, queue: str) -> None:
        """Publish one message; the message and its receipt are safe when this returns. Calls keep their order.

        Raises:
            LaneLostError: the message may or may not be in the queue.
            RefusedError: the message is not in the queue, and messages that were sent after it may be.
        """
        if self._underlay is None or self.lost.done():
            raise LaneLostError
        message.headers["BCC"] = [self._receipts]
        # A task of its own: it stands in one line with the others, and leaves the line with all of them or not at all.
        # With `wait`, each would hold the line up until the socket has taken it.
        publishing = asyncio.ensure_future(
            self._underlay.basic_publish(message.body, routing_key=queue, properties=message.properties, wait=False)
        )
        self._publishing.add(publishing)
        publishing.add_done_callback(self._published)
        await asyncio.wait({publishing}, timeout=self._timeout_s)
        try:
            if not publishing.done():
                raise TimeoutError
            if publishing.cancelled():
                raise LaneLostError
            publishing.result()
        except DeliveryError as error:
            raise PublishRefusedError(f"queue {queue!r} refuses messages") from error
        except LINK_ERRORS as error:
            await self.close()
            raise LaneLostError(type(error).__name__) from error
        found = place_of(message.message_id)
        if found is not None:
            self._note(*found)  # its receipt may still be on its way

    async def forget(self, submission: str) -> None:
        """Acknowledge the last receipt of a delivery whose mark is in the log: its place is not needed any more."""
        place, receipt = self._places.pop(submission, None), self._last.pop(submission, None)
        last = place_of(receipt.message_id) if receipt is not None else None
        if place is not None and place.ended and (last is None or not last[1].ended):
            self._forgotten.add(submission)  # the last receipt is still on its way
        if receipt is not None:
            await self._let_go(receipt)

    async def close(self) -> None:
        """Let other workers send. Never raises; finishes when cancelled: an open channel keeps the lane from all."""
        self._lose()
        if self._channel is not None:
            if self._closing is None:
                self._closing = asyncio.ensure_future(self._close(self._channel))
            await asyncio.shield(self._closing)

    async def _close(self, channel: AbstractChannel) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await channel.close()
        except TimeoutError:
            logger.warning("a lane does not close; the connection is given up with it")
            with suppress(*LINK_ERRORS):
                async with asyncio.timeout(self._timeout_s):
                    await self._connection.close()
        except LINK_ERRORS as error:
            logger.debug("while closing a lane: %r", error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _lose(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        # aiormq would write the waiting messages after the channel's end, when its number belongs to another channel.
        for publishing in self._publishing:
            publishing.cancel()

    def _published(self, publishing: "asyncio.Future[Any]") -> None:
        self._publishing.discard(publishing)
        publishing.cancelled() or publishing.exception()  # mark as retrieved: the sender may not wait any more

    async def _on_receipt(self, message: AbstractIncomingMessage) -> None:
        """Take one receipt. Called in the order of receipts; does not wait before it has noted the place."""
        given = message.message_id or ""
        found = place_of(given)
        old: AbstractIncomingMessage | None = message
        if found is not None and not self._is_stale(message):
            submission, place = found
            if submission in self._forgotten:
                self._forgotten.discard(submission if place.ended else "")
            elif self._note(submission, place):
                old = self._last.get(submission)
                self._last[submission] = message
        if given.startswith(CHALLENGE) and self._caught_up.done():  # an earlier challenge was for the previous holder
            self._lose()
        if given == self._barrier and not self._caught_up.done():
            self._caught_up.set_result(None)
        if old is not None:
            await self._let_go(old)

    def _note(self, submission: str, place: DeliveryProgress) -> bool:
        """Note a place, unless the delivery has come further. Returns whether the place was noted."""
        known = self._places.get(submission)
        if known is not None and known.seq > place.seq:
            return False
        self._places[submission] = place
        return True

    def _is_stale(self, message: AbstractIncomingMessage) -> bool:
        return message.timestamp is not None and time.time() - message.timestamp.timestamp() > self._keep_s

    async def _let_go(self, receipt: AbstractIncomingMessage) -> None:
        if self.lost.done():
            return  # an acknowledgement after the channel's end would end the whole connection
        try:
            await receipt.channel.basic_ack(receipt.delivery_tag or 0, wait=False)
        except LINK_ERRORS as error:
            logger.debug("a receipt comes again: %r", error)

    async def _challenge(self) -> None:
        async with await open_channel(self._connection, publisher_confirms=True) as channel:
            await self._signal(channel, new_id(CHALLENGE))

    async def _signal(self, channel: AbstractChannel, message_id: str) -> None:
        signal = Message(
            b"", message_id=message_id, delivery_mode=DeliveryMode.NOT_PERSISTENT, expiration=CHALLENGE_EXPIRES_S
        )
        await channel.default_exchange.publish(signal, self._receipts, mandatory=False)
