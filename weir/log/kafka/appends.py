"""Appending to Kafka: a plain call that enqueues at once, in order, and an idempotent producer behind it.

``AIOKafkaProducer.send`` is a coroutine: two tasks that call it race for the order, and a full batch makes it wait. So
each partition has a *lane*, a queue that `Appends.append` fills without waiting. While a batch of a lane is on its way,
records collect; when it is durable, all that collected goes out as the next batch. Under no load a batch is one record,
under load it is many: that is the whole batching policy, and there is no linger. A lane has one batch on its way at a
time, so order holds without more.

What aiokafka 0.14 makes necessary:

* An idempotent producer retries for ever (``SendProduceReqHandler._can_retry``). So `Appends` has a time limit of its
  own; when it is reached the producer is discarded, so that it does not write the batch long after the append failed.
* A batch that failed leaves a gap in the producer's sequence numbers, which the broker answers with
  OutOfOrderSequenceNumber from then on (Java starts a new epoch, aiokafka does not). So every failed batch costs the
  producer: lanes take a new one for their next batch, while the old one gets `RETIRE_S` for the batches of other lanes.
* DuplicateSequenceNumber is reported as success without an offset: the record is durable, at an unknown offset.

A failed batch fails all records that wait behind it in its lane: no record lands after an earlier one that was given
up, unless it was appended after the failure was known. A batch that is refused for its size is the exception: it is not
in the log. It is sent again in halves, until the record that is too large stands alone, and only that one fails.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownTopicOrPartitionError,
)

from weir.log.kafka.errors import log_error
from weir.log.kafka.record_limits import RecordLimits
from weir.log.log import (
    RECORD_OVERHEAD_BYTES,
    Headers,
    LogError,
    LogRefusedError,
    LogUnavailableError,
    Partition,
    RecordTooLargeError,
)

__all__ = ["Appends"]

logger = logging.getLogger(__name__)

METADATA_S = 10.0  # how long a topic that is unknown to the broker may take to appear
RETIRE_S = 1.0  # how long a discarded producer may go on with batches of other lanes

NewProducer = Callable[[], AIOKafkaProducer]


class _Waiting(NamedTuple):
    """A record that has not been sent yet."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int
    size_bytes: int
    done: asyncio.Future[int]


class _Lane:
    """The queue of one partition."""

    __slots__ = ("at", "task", "waiting")

    def __init__(self, at: Partition) -> None:
        self.at = at
        self.waiting: deque[_Waiting] = deque()
        self.task: asyncio.Task[None] | None = None


class Appends:
    """The lanes of all partitions and the producer that they share.

    Args:
        new_producer: makes a producer that is not started: idempotent, acks=all, linger 0.
        limits: the largest record of each topic, with key and headers.
        max_waiting_bytes: bytes that may wait in all lanes together; an append beyond that is refused at once.
        delivery_s: how long a batch may take until it is durable.
    """

    def __init__(
        self, new_producer: NewProducer, *, limits: RecordLimits, max_waiting_bytes: int, delivery_s: float
    ) -> None:
        self._new_producer = new_producer
        self._limits = limits
        self._max_waiting_bytes = max_waiting_bytes
        self._delivery_s = delivery_s
        self._lanes: dict[Partition, _Lane] = {}
        self._waiting_bytes = 0
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Connect the first producer, so that the first append does not pay for it."""
        self._closed = False
        async with asyncio.timeout(self._delivery_s):
            await self._take_producer()

    async def stop(self) -> None:
        """Wait for pending appends, at most ``delivery_s``, and disconnect."""
        self._closed = True
        if under_way := [lane.task for lane in self._lanes.values() if lane.task is not None]:
            _, late = await asyncio.wait(under_way, timeout=self._delivery_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._producer is not None:
            self._retire(self._producer)
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> "asyncio.Future[int]":
        """Enqueue a record. The future gets its offset when it is durable, or a `LogError`."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        size = len(key or b"") + len(value or b"") + RECORD_OVERHEAD_BYTES
        for name, content in headers:
            size += len(name) + len(content)
        if refusal := self._refusal(topic, size):
            _fail(done, refusal)
            return done
        at = Partition(topic, partition)
        lane = self._lanes.get(at)
        if lane is None:
            lane = self._lanes[at] = _Lane(at)
        self._waiting_bytes += size
        lane.waiting.append(_Waiting(key, value, list(headers), int(time.time() * 1000), size, done))
        if lane.task is None:
            lane.task = asyncio.get_running_loop().create_task(self._drain(lane))
        return done

    def _refusal(self, topic: str, size_bytes: int) -> LogError | None:
        if self._closed:
            return LogUnavailableError("cannot append: the log client was stopped")
        if size_bytes > (limit := self._limits.of_record(topic)):
            return _too_large(topic, size_bytes, limit)
        if self._waiting_bytes + size_bytes > self._max_waiting_bytes:
            return LogUnavailableError(
                f"cannot append: {self._waiting_bytes} bytes wait for Kafka, which does not keep up"
            )
        return None

    # -- one lane

    async def _drain(self, lane: _Lane) -> None:
        """Send batch after batch until the lane is empty."""
        batch: list[_Waiting] = []
        try:
            while lane.waiting:
                batch = []
                try:
                    await self._send(lane, batch)
                except (MessageSizeTooLargeError, RecordListTooLargeError):
                    self._split(lane, batch)
        except BaseException as error:  # including the cancellation by stop(): no record may wait for ever
            self._give_up(lane, batch, error)
            if not isinstance(error, Exception):
                raise
        finally:
            lane.task = None

    async def _send(self, lane: _Lane, batch: list[_Waiting]) -> None:
        topic, partition = lane.at
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(self._delivery_s):
                producer = await self._take_producer()
                await _check_partition(producer, lane.at)
                builder = producer.create_batch()
                self._fill(builder, lane, batch)
                if not batch:
                    return
                sent = await producer.send_batch(builder, topic, partition=partition)
                metadata = await sent
        except BaseException:
            if producer is not None and batch:
                self._retire(producer)
            raise
        if metadata.offset < 0:  # DuplicateSequenceNumber
            self._retire(producer)
            raise LogUnavailableError(f"the offset of an append to {topic}-{partition} is unknown")
        for offset, record in enumerate(batch, metadata.offset):
            if not record.done.done():
                record.done.set_result(offset)

    def _fill(self, builder: Any, lane: _Lane, batch: list[_Waiting]) -> None:  # aiokafka has no types
        """Move records from the lane into the batch until the batch is full or the lane empty."""
        waiting, append = lane.waiting, builder.append
        left_bytes = self._limits.of_batch(lane.at.topic)
        while waiting:
            record = waiting[0]
            # its caller has cancelled it, and it has not been sent: it must not be sent later
            if record.done.cancelled():
                waiting.popleft()
                self._waiting_bytes -= record.size_bytes
                continue
            left_bytes -= record.size_bytes
            if batch and left_bytes < 0:
                break  # the topic takes no larger batch
            try:
                fits = append(timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=record.headers)
            except (TypeError, ValueError) as error:
                # a mistake of one caller; the other records of the lane must not fail with it
                _fail(record.done, LogRefusedError(f"cannot append a key or value that is not bytes: {error}"))
            else:
                if fits is None:
                    break  # the batch is full
                batch.append(record)
            waiting.popleft()
            self._waiting_bytes -= record.size_bytes
        builder.close()

    def _split(self, lane: _Lane, batch: list[_Waiting]) -> None:
        """Put back a batch that was larger than its topic takes; a record that stands alone fails."""
        topic, size = lane.at.topic, sum(record.size_bytes for record in batch)
        self._limits.refused(topic, size, len(batch))
        if len(batch) == 1:
            _fail(batch[0].done, _too_large(topic, size, size - 1))
        else:
            lane.waiting.extendleft(reversed(batch))
            self._waiting_bytes += size

    def _give_up(self, lane: _Lane, batch: list[_Waiting], error: BaseException) -> None:
        topic, partition = lane.at
        failed = log_error(error, f"append to {topic}-{partition}")
        batch = [*batch, *lane.waiting]
        self._waiting_bytes -= sum(record.size_bytes for record in lane.waiting)
        lane.waiting.clear()
        logger.warning("%s; %d records are in doubt", failed, len(batch))
        for record in batch:
            # an instance for each future: a raised exception grows a traceback
            _fail(record.done, type(failed)(str(failed)))

    # -- the producer

    async def _take_producer(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        async with self._starting:
            if self._producer is None:
                producer = self._new_producer()
                try:
                    await producer.start()
                except BaseException as error:
                    await asyncio.shield(self._own(_stop(producer)))
                    # aiokafka raises this for the idempotent producer, also without a cluster ACL
                    if isinstance(error, ClusterAuthorizationFailedError):
                        raise LogRefusedError("the Kafka user may not write to any topic, an ACL is missing") from None
                    raise
                self._producer = producer
        return self._producer

    def _retire(self, producer: AIOKafkaProducer) -> None:
        """Give no further batches to this producer, and stop it soon."""
        if self._producer is producer:
            self._producer = None
            self._own(_retire(producer))

    def _own(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return task


def _too_large(topic: str, size_bytes: int, limit_bytes: int) -> RecordTooLargeError:
    return RecordTooLargeError(f"cannot append a record of {size_bytes} bytes to {topic}: the limit is {limit_bytes}")


def _fail(done: "asyncio.Future[int]", error: LogError) -> None:
    if not done.done():
        done.set_exception(error)
        # mark as retrieved: the failure was logged, a caller that does not await gets no second log line
        done.exception()


async def _check_partition(producer: AIOKafkaProducer, at: Partition) -> None:
    try:
        async with asyncio.timeout(METADATA_S):
            known = await producer.partitions_for(at.topic)
    except TimeoutError:
        raise UnknownTopicOrPartitionError(f"there is no topic {at.topic}") from None
    # aiokafka would only assert this: its error says nothing, and python -O removes it
    if at.partition not in known:
        raise UnknownTopicOrPartitionError(f"{at.topic} has no partition {at.partition}")


async def _retire(producer: AIOKafkaProducer) -> None:
    """Let a producer finish for a moment, then fail its remaining batches and stop it."""
    with contextlib.suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(RETIRE_S):
            await producer.flush()
    _drop_batches(producer)
    await _stop(producer)


def _drop_batches(producer: AIOKafkaProducer) -> None:
    """Fail the batches not sent yet: stop() waits for them, and aiokafka would retry for ever. Has no public API."""
    accumulator = producer._message_accumulator  # noqa: SLF001
    accumulator.fail_all(KafkaError("given up"))
    waiting = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    for batch in (*waiting, *accumulator._pending_batches):  # noqa: SLF001
        for future in (batch.future, batch._drain_waiter):  # noqa: SLF001
            if future.done():
                future.exception()  # mark as retrieved: its waiter is gone, and asyncio would log a warning


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(5 * RETIRE_S):
            await producer.stop()
    except Exception as error:  # noqa: BLE001 - the producer is discarded in any case
        logger.info("a Kafka producer stopped with %r", error)
