"""The consumer of the queue of requests: takes messages while the worker has room, and acknowledges them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelPreconditionFailed

from weir.envelope import new_id
from weir.rabbitmq.link import LINK_ERRORS, open_channel
from weir.rabbitmq.wire import Incoming
from weir.settings import Settings

logger = logging.getLogger(__name__)

ROOM_S = 0.1  # between two checks whether the worker can take more
HAND_BACK_S = 1.0  # before a message is given back to RabbitMQ, which delivers it again at once


class QueueGoneError(ConnectionError):
    """The queue of requests was removed, or its channel closed; a new session makes both again."""


class QueueConsumer:
    """Consumes the queue of requests, for one worker.

    Args:
        settings: the worker's settings.
        take: brings one message into the log, or refuses it; the message is acknowledged when this returns.
        ready: whether the worker can take more now.
    """

    def __init__(
        self, settings: Settings, *, take: Callable[[Incoming], Awaitable[None]], ready: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._take = take
        self._ready = ready
        self._in_hand: set[asyncio.Task[None]] = set()
        self.taking = False

    async def use(self, connection: AbstractConnection) -> None:
        """Consume while there is room, until the connection is lost. For `Link.keep`.

        Raises:
            LINK_ERRORS: RabbitMQ is away, or does not permit it.
        """
        channel, gone = await self._open(connection)
        try:
            while True:
                while not self._ready():
                    await self._look(gone)
                # Below aio-pika, which does not keep the properties as they came. And without basic_consume's own
                # `timeout`, which is asyncio.wait_for: see pyproject.toml.
                tag = new_id("weir")
                async with asyncio.timeout(self._settings.rabbitmq_timeout_s):
                    await channel.basic_consume(self._settings.rabbitmq_queue, self._on_message, consumer_tag=tag)
                self.taking = True
                while self._ready():
                    await self._look(gone)
                self.taking = False
                async with asyncio.timeout(self._settings.rabbitmq_timeout_s):
                    await channel.basic_cancel(tag)
        finally:
            self.taking = False
            # Messages being taken have lost their channel, and cannot be acknowledged any more.
            for task in self._in_hand:
                task.cancel()
            await asyncio.gather(*self._in_hand, return_exceptions=True)

    async def _look(self, gone: asyncio.Event) -> None:
        """Wait a moment: no event announces room in the worker. A queue or a channel that is gone ends the session."""
        if gone.is_set():
            raise QueueGoneError(f"the queue {self._settings.rabbitmq_queue}, or its channel, was closed")
        await asyncio.sleep(ROOM_S)

    async def _open(self, connection: AbstractConnection) -> tuple[AbstractChannel, asyncio.Event]:
        """Open a channel that consumes the queue of requests: the queue is made if missing, else taken as it is."""
        name, gone = self._settings.rabbitmq_queue, asyncio.Event()
        async with asyncio.timeout(self._settings.rabbitmq_timeout_s):
            channel = await open_channel(connection, publisher_confirms=False)
            try:
                await channel.declare_queue(name, durable=True)
            except ChannelPreconditionFailed:  # the queue has other arguments
                channel = await open_channel(connection, publisher_confirms=False)
                await channel.declare_queue(name, passive=True)
            await channel.set_qos(prefetch_count=self._settings.rabbitmq_prefetch)
            # RabbitMQ closes a channel that has kept a message for half an hour, while the log was away.
            channel.close_callbacks.add(lambda *_: gone.set())
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda *_: gone.set())
        return underlay, gone

    async def drain(self, seconds: float) -> None:
        """Bring the messages being taken into the log; `use` takes no new ones once the worker has no room."""
        if self._in_hand:
            await asyncio.wait(set(self._in_hand), timeout=seconds)

    async def _on_message(self, delivered: DeliveredMessage) -> None:
        message, task = Incoming(delivered), asyncio.current_task()
        if task is not None:
            self._in_hand.add(task)
            task.add_done_callback(self._in_hand.discard)
        try:
            await self._take(message)
            await message.ack()
        except LINK_ERRORS as error:
            logger.warning("a request from RabbitMQ is not acknowledged: %s: %s", type(error).__name__, error)
            await self._hand_back(message)
        except Exception:
            logger.exception("a message from RabbitMQ is not acknowledged")
            await self._hand_back(message)

    async def _hand_back(self, message: Incoming) -> None:
        """Give a message back, to be delivered again. Kept, a few of them would fill the prefetch window."""
        await asyncio.sleep(HAND_BACK_S)
        with suppress(*LINK_ERRORS):  # the channel is gone: then the message comes again by itself
            await message.reject(requeue=True)
