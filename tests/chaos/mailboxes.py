"""Clients of RabbitMQ, like those of the queue worker: they name their request, and read its response queue.

They acknowledge nothing and do not check for repetitions: the messages are the answer. All of them share one
connection. Before RabbitMQ stops they stop reading for a moment. Messages that a broker has handed to a consumer
without acknowledgements, and has not written to its socket yet, are lost with it, and that is not the subject of this
bench.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import orjson
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from weir.rabbitmq.link import LINK_ERRORS

REQUESTS = "chat_incoming"
PREFIX = "response_"
TIMEOUT_S = 10.0
PAUSE_S = 0.3


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One message of an answer."""

    seq: int
    body: bytes
    done: bool
    status: str | None
    code: str | None  # of the error


@dataclass(kw_only=True)
class Mailbox:
    """One response queue."""

    queue: str
    letters: list[Letter] = field(default_factory=list)
    complete: asyncio.Event = field(default_factory=asyncio.Event)  # set when one answer is complete
    tag: str | None = None

    def put(self, message: AbstractIncomingMessage) -> None:
        """Take a message."""
        headers: dict[str, Any] = dict(message.headers)
        error = headers.get("error")
        letter = Letter(
            seq=int(headers["seq"]),
            body=message.body,
            done=bool(headers["done"]),
            status=headers.get("status"),
            code=error.get("code") if isinstance(error, dict) else None,
        )
        self.letters.append(letter)
        if letter.done:
            self.complete.set()

    def answers(self) -> Iterator[list[Letter]]:
        """The answers in the queue, one behind the other; the last one may lack its end."""
        answer: list[Letter] = []
        for letter in self.letters:
            answer.append(letter)
            if letter.done:
                yield answer
                answer = []
        if answer:
            yield answer


class Mailboxes:
    """All response queues of a run."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._boxes: list[Mailbox] = []
        self._channel: AbstractChannel | None = None
        self._there = asyncio.Event()  # set while there is a connection, and all boxes are read
        self._keeping: asyncio.Task[None] | None = None
        self._turning = asyncio.Lock()  # held while boxes are opened, or closed

    async def start(self) -> None:
        """Connect, now and whenever the connection is lost."""
        self._keeping = asyncio.create_task(self._keep())
        await self._there.wait()

    async def stop(self) -> None:
        """Close the connection."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def open(self, uid: str) -> Mailbox:
        """Make a response queue, and read it from now on."""
        box = Mailbox(queue=PREFIX + uid)
        while True:
            await self._there.wait()
            async with self._turning:
                if self._there.is_set() and self._channel is not None:
                    with suppress(*LINK_ERRORS):
                        await self._consume(self._channel, box)
                        self._boxes.append(box)
                        return box
            await asyncio.sleep(PAUSE_S)

    async def send(self, body: dict[str, Any]) -> bool:
        """Publish a request. Returns whether RabbitMQ has confirmed it."""
        await self._there.wait()
        message = Message(orjson.dumps(body), delivery_mode=DeliveryMode.PERSISTENT)
        try:
            if self._channel is None:
                raise ConnectionError
            await self._channel.default_exchange.publish(message, REQUESTS, mandatory=True, timeout=TIMEOUT_S)
        except LINK_ERRORS:
            await asyncio.sleep(PAUSE_S)
            return False
        return True

    async def quiet(self) -> None:
        """Stop reading this connection: RabbitMQ is about to close it."""
        async with self._turning:
            self._there.clear()
            for box in self._boxes:
                if self._channel is not None and box.tag is not None:
                    with suppress(*LINK_ERRORS):
                        queue = await self._channel.get_queue(box.queue, ensure=False)
                        await queue.cancel(box.tag, timeout=TIMEOUT_S)
                box.tag = None

    async def _keep(self) -> None:
        while True:
            with suppress(*LINK_ERRORS):
                connection = await aio_pika.connect(self._url, timeout=TIMEOUT_S)
                try:
                    await self._use(connection)
                finally:
                    self._there.clear()
                    self._channel = None
                    with suppress(*LINK_ERRORS):
                        await connection.close()
            await asyncio.sleep(PAUSE_S)

    async def _use(self, connection: AbstractConnection) -> None:
        lost = asyncio.Event()
        connection.close_callbacks.add(lambda *_: lost.set())
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(lambda *_: lost.set())
        await channel.declare_queue(REQUESTS, durable=True)
        for box in self._boxes:
            await self._consume(channel, box)
        self._channel = channel
        self._there.set()
        await lost.wait()

    @staticmethod
    async def _consume(channel: AbstractChannel, box: Mailbox) -> None:
        async def put(message: AbstractIncomingMessage) -> None:  # without a wait: messages keep their order
            box.put(message)

        async with asyncio.timeout(TIMEOUT_S):
            queue = await channel.declare_queue(box.queue, durable=True)
            box.tag = await queue.consume(put, no_ack=True)
