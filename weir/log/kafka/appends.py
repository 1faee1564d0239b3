"""Appending to Kafka: a plain call that enqueues at once, in order, and an idempotent producer behind it.

``AIOKafkaProducer.send`` is a coroutine: two tasks that call it race for the order, and a full batch makes it wait. So
each partition has a *lane*, a queue that `Appends.append` fills without waiting. While a batch of a lane is on its
way, records collect; when it is durable, all that collected goes out as the next batch. Under no load a batch is one
record, under load it is many: that is the whole batching policy, and there is no linger. A lane has one batch on its
way at a time, so order holds without more.

What aiokafka 0.14 makes necessary:

* An idempotent producer retries for ever (``SendProduceReqHandler._can_retry``). The time limit is ours; when it is
  reached the producer is thrown away, so that it does not write the batch long after we have given up on it.
* A batch that failed leaves a gap in the producer's sequence numbers, which the broker answers with
  OutOfOrderSequenceNumber from then on (Java starts a new epoch, aiokafka does not). So every failed batch costs the
  producer: lanes take a new one for their next batch, while the old one gets `RETIRE_S` to finish what others gave it.
* DuplicateSequenceNumber is reported as success without an offset: the record is durable, we do not know where.

A failed batch fails all that waits behind it in its lane: no record lands after one that was given up and that came
before it, unless it was appended after the failure was known. A batch that is refused for its size is the exception: it
is not in the log. It is sent again in halves, until the record that is too large stands alone, and only that one fails.
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

METADATA_S = 10.0  # how long a topic that nobody has heard of may take to turn up
RETIRE_S = 1.0  # how long a producer that is thrown away may go on for batches of other lanes

NewProducer = Callable[[], AIOKafkaProducer]


class _Waiting(NamedTuple):
    """A record that is not on its way yet."""

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
        max_waiting_bytes: what may wait in all lanes together; more is refused at once.
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
        """Wait for what was appended, at most ``delivery_s``, and disconnect."""
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
        """Send batch after batch until nothing waits."""
        batch: list[_Waiting] = []
        try:
            while lane.waiting:
                batch = []
                try:
                    await self._send(lane, batch)
                except (MessageSizeTooLargeError, RecordListTooLargeError):
                    self._split(lane, batch)
        except BaseException as error:  # also when we are cancelled by stop(): nobody may wait for ever
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
            raise LogUnavailableError(f"cannot tell the offset of what was appended to {topic}-{partition}")
        for offset, record in enumerate(batch, metadata.offset):
            if not record.done.done():
                record.done.set_result(offset)

    def _fill(self, builder: Any, lane: _Lane, batch: list[_Waiting]) -> None:  # aiokafka has no types
        """Move records from the lane into the batch until either is done."""
        waiting, append = lane.waiting, builder.append
        left_bytes = self._limits.of_batch(lane.at.topic)
        while waiting:
            record = waiting[0]
            if record.done.cancelled():  # nobody waits for it any more, and it has not left: it must not come later
                waiting.popleft()
                self._waiting_bytes -= record.size_bytes
                continue
            left_bytes -= record.size_bytes
            if batch and left_bytes < 0:
                break  # the topic takes no larger batch
            try:
                fits = append(timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=record.headers)
            except (TypeError, ValueError) as error:  # a caller's mistake; the others in the lane are not to pay
                _fail(record.done, LogRefusedError(f"cannot append what is not bytes: {error}"))
            else:
                if fits is None:
                    break  # the batch is full
                batch.append(record)
            waiting.popleft()
            self._waiting_bytes -= record.size_bytes
        builder.close()

    def _split(self, lane: _Lane, batch: list[_Waiting]) -> None:
        """Put a batch back that was larger than its topic takes; a record that stands alone fails."""
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
            _fail(record.done, type(failed)(str(failed)))  # its own: a raised exception grows a traceback

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
                    if isinstance(error, ClusterAuthorizationFailedError):  # so is this called, also without a cluster
                        raise LogRefusedError("our user may not write to any topic, an ACL is missing") from None
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
        done.exception()  # seen: the failure was logged, a caller who does not await gets no second log line


async def _check_partition(producer: AIOKafkaProducer, at: Partition) -> None:
    try:
        async with asyncio.timeout(METADATA_S):
            known = await producer.partitions_for(at.topic)
    except TimeoutError:
        raise UnknownTopicOrPartitionError(f"there is no topic {at.topic}") from None
    # aiokafka asserts it, which says nothing and vanishes under -O
    if at.partition not in known:
        raise UnknownTopicOrPartitionError(f"{at.topic} has no partition {at.partition}")


async def _retire(producer: AIOKafkaProducer) -> None:
    """Let it finish for a moment, then fail what is left and stop it."""
    with contextlib.suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(RETIRE_S):
            await producer.flush()
    _drop_batches(producer)
    await _stop(producer)


def _drop_batches(producer: AIOKafkaProducer) -> None:
    """Fail what it has not sent: stop() waits for it, and aiokafka would retry for ever. There is no public way."""
    accumulator = producer._message_accumulator  # noqa: SLF001
    accumulator.fail_all(KafkaError("given up"))
    waiting = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    for batch in (*waiting, *accumulator._pending_batches):  # noqa: SLF001
        for future in (batch.future, batch._drain_waiter):  # noqa: SLF001
            if future.done():
                future.exception()  # seen: nobody waits for it any more, and asyncio would complain


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(5 * RETIRE_S):
            await producer.stop()
    except Exception as error:  # noqa: BLE001 - it is thrown away either way
        logger.info("a Kafka producer stopped with %r", error)
