"""Finds response queues, or makes them, before an answer is sent to them."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelLockedResource, ChannelNotFoundEntity, ChannelPreconditionFailed

from weir.rabbitmq.link import LINK_ERRORS, open_channel

REMEMBERED = 4096  # queues that existed a moment ago
REMEMBERED_S = 5.0
CHANNELS = 16  # questions asked at the same time; a "no" closes its channel


class Queues:
    """Asks RabbitMQ about queues, over a few channels of one connection."""

    def __init__(self, connection: AbstractConnection, *, expires_s: float, timeout_s: float) -> None:
        self._connection = connection
        self._arguments = {"x-expires": int(expires_s * 1000)}
        self._remembered_s = min(REMEMBERED_S, expires_s / 4)
        self._timeout_s = timeout_s
        self._known: OrderedDict[str, float] = OrderedDict()  # when each queue was last found
        self._asking: dict[str, asyncio.Future[bool]] = {}
        self._idle: asyncio.LifoQueue[AbstractChannel | None] = asyncio.LifoQueue()
        for _ in range(CHANNELS):
            self._idle.put_nowait(None)

    async def reach(self, name: str, *, declare: bool) -> bool:
        """Whether a queue exists; with ``declare`` a missing one is made, durable.

        Raises:
            LINK_ERRORS: RabbitMQ is away, or does not permit it.
        """
        return await self._known_or(
            name, lambda: self._declare(name, self._arguments) if declare else self._exists(name)
        )

    async def keep(self, name: str) -> None:
        """Make a durable queue that is never removed, unless it exists.

        Raises:
            LINK_ERRORS: RabbitMQ is away, or does not permit it.
        """
        await self._known_or(name, lambda: self._declare(name, None))

    def forget(self, name: str) -> None:
        """Ask again the next time: its client may have removed the queue."""
        self._known.pop(name, None)

    async def _known_or(self, name: str, ask: Callable[[], Awaitable[bool]]) -> bool:
        """Whether a queue exists, from memory, from a question under way, or from a new one."""
        there_at = self._known.get(name)
        if there_at is not None and time.monotonic() - there_at < self._remembered_s:
            return True
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.ensure_future(self._ask(name, ask))
            # mark as retrieved: its waiter may be gone
            asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(asking)

    async def _ask(self, name: str, ask: Callable[[], Awaitable[bool]]) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                there = await ask()
        finally:
            self._known.pop(name, None)
            self._asking.pop(name, None)
        if there:
            self._known[name] = time.monotonic()
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return there

    async def publish(self, message: Message, queue: str) -> None:
        """Send one message to a queue, and wait until RabbitMQ has it.

        Raises:
            LINK_ERRORS: RabbitMQ may not have the message.
        """
        channel = await self._take()
        try:
            async with asyncio.timeout(self._timeout_s):
                await channel.default_exchange.publish(message, queue, mandatory=True)
        finally:
            self._idle.put_nowait(channel)

    async def _declare(self, name: str, arguments: dict[str, Any] | None) -> bool:
        channel = await self._take()
        try:
            await channel.declare_queue(name, durable=True, arguments=arguments)
        except (ChannelPreconditionFailed, ChannelLockedResource):
            return True  # the client was first, with other arguments, or with an exclusive queue
        finally:
            self._idle.put_nowait(channel)
        return True

    async def _exists(self, name: str) -> bool:
        channel = await self._take()
        try:
            await channel.declare_queue(name, passive=True)
        except ChannelLockedResource:
            return True  # only the client may read it, but any connection may publish to it
        except ChannelNotFoundEntity:
            return False
        finally:
            self._idle.put_nowait(channel)
        return True

    async def _take(self) -> AbstractChannel:
        """Take an idle channel, or a new one if a "no" has closed it. The caller must put it back."""
        channel = await self._idle.get()
        try:
            if channel is None or channel.is_closed:
                channel = None
                channel = await open_channel(self._connection, publisher_confirms=True, on_return_raises=True)
        except BaseException:
            self._idle.put_nowait(None)
            raise
        return channel

    async def close(self) -> None:
        """Close the channels. Never raises."""
        for asking in list(self._asking.values()):
            asking.cancel()
        while not self._idle.empty():
            channel = self._idle.get_nowait()
            if channel is not None:
                with suppress(*LINK_ERRORS):
                    await channel.close()
