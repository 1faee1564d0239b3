"""Faust's producer on a log file: sends, table changes and offset commits all go through the log's one queue."""

import asyncio
import time
from collections.abc import Awaitable
from functools import partial
from typing import Any

from faust.exceptions import ProducerSendError
from faust.transport import base
from faust.transport.producer import ProducerBuffer
from faust.types import TP, FutureMessage, RecordMetadata

from weir.log.embedded.file_transport import FileTransport
from weir.log.log import LogError, LogUnavailableError, Partition, header_pairs


class Buffer(ProducerBuffer):
    """Puts sends that are not awaited (table changes) straight into the log's queue.

    Faust's buffer drains in a task of its own, and its flush gives up after 0.1 s, so a commit could overtake the
    table changes that it stands for.
    """

    producer: "Producer"

    def put(self, fut: FutureMessage) -> None:
        """Enqueue at once, in order."""
        message, producer = fut.message, self.producer
        channel: Any = message.channel  # a Topic: what follows is its publish_message without the waiting
        topic = channel._topic_name_or_default(channel)  # noqa: SLF001
        state = producer.app.sensors.on_send_initiated(
            producer,
            topic,
            message=message,
            keysize=len(message.key or b""),
            valsize=len(message.value or b""),
        )
        sent = producer.append(topic, message.key, message.value, message.partition, message.timestamp, message.headers)
        published = channel._on_published  # noqa: SLF001
        sent.add_done_callback(partial(published, message=fut, state=state, producer=producer))
        sent.add_done_callback(partial(self._check, fut))

    def _check(self, message: FutureMessage, sent: "asyncio.Future[RecordMetadata]") -> None:
        """Stop the worker if a table change did not reach the log: no caller awaits it, and the table may not go on.

        The worker stops without committing; the next one recovers the table and gets the events again.
        """
        if message.done() and not message.cancelled():
            message.exception()  # mark as retrieved, so that asyncio does not log it a second time
        error = None if sent.cancelled() else sent.exception()
        transport = self.producer.transport
        if error is not None and isinstance(error.__cause__, LogUnavailableError) and not transport.torn:
            transport.torn = True
            self.add_future(self.producer.app.crash(error))

    @property
    def size(self) -> int:
        """Operations that wait to be written."""
        return self.producer.transport.file.backlog

    async def flush(self) -> None:
        """Wait until everything sent so far is in the file, or has failed."""
        await self.producer.flush()

    async def written(self, within_s: float) -> bool:
        """Wait until every table change so far is in the file; False if that does not happen, or not in time."""
        try:
            async with asyncio.timeout(within_s):
                await self.flush()
        except TimeoutError:
            return False
        return not self.producer.transport.torn

    async def wait_until_ebb(self) -> None:
        """Back-pressure: wait while too many operations wait to be written."""
        await self.producer.transport.file.wait_ebb()

    async def on_stop(self) -> None:
        """Do nothing: the producer flushes."""


class Producer(base.Producer):
    """Sends with the log's own order and group commit."""

    transport: FileTransport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer = Buffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app, self.buffer.producer = self.app, self
        self._on_produce_message = self.app.on_produce_message.send

    async def on_stop(self) -> None:
        """Write all pending records and close the file."""
        await self.flush()
        await self.transport.close_file()

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Create a topic, unless it exists."""
        await self.transport.create_topic(*args, **kwargs)

    def append(  # noqa: PLR0917  # the arguments of Faust's send
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
    ) -> "asyncio.Future[RecordMetadata]":
        """Enqueue one record at once; the future gets the record's place in the log, or a ProducerSendError."""
        sent: asyncio.Future[RecordMetadata] = self.loop.create_future()
        try:
            tp = TP(topic, self.transport.partition(topic, key, partition))
        except ProducerSendError as exc:
            sent.set_exception(exc)
            return sent
        timestamp = timestamp or time.time()
        self._on_produce_message(key=key, value=value, partition=partition, timestamp=timestamp, headers=headers)

        def written(offset: "asyncio.Future[int]") -> None:
            if sent.done():
                return
            error = offset.exception()
            if error is None:
                sent.set_result(RecordMetadata(*tp, tp, offset.result(), timestamp, 0))
            else:
                failed = ProducerSendError(str(error))
                failed.__cause__ = error
                sent.set_exception(failed)

        pairs = header_pairs(headers)
        self.transport.file.append(Partition(*tp), key, value, pairs, timestamp).add_done_callback(written)
        return sent

    async def send(  # noqa: PLR0917
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,  # noqa: ARG002  # there are no transactions here
    ) -> Awaitable[RecordMetadata]:
        """Enqueue one record, after waiting if too many wait; creates a missing topic, as brokers may do."""
        file = self.transport.file
        if file.partitions(topic) is None:
            await self.create_topic(topic, self.app.conf.topic_partitions, 1)
        if file.high:
            await file.wait_ebb()
        return self.append(topic, key, value, partition, timestamp, headers)

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Send one record and wait until it is in the file."""
        return await (await self.send(*args, **kwargs))

    async def flush(self) -> None:
        """Wait until everything sent so far is in the file, or has failed; each record's future tells which."""
        try:
            await self.transport.file.barrier()
        except LogError as exc:
            self.log.warning("Flush: %s", exc)

    def key_partition(self, topic: str, key: bytes) -> TP:
        """The partition that a key belongs to."""
        return TP(topic, self.transport.partition(topic, key))

    def supports_headers(self) -> bool:
        """Records have headers here."""
        return True
