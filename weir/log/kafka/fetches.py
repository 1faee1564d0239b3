"""Asks a partition's leader, one request each: for its records, its bounds, the offset at a time.

``AIOKafkaConsumer`` is made for one reader that goes on and on: it prefetches, and a seek drops the prefetched records
and waits for the long poll under way. A catch-up page wants one answer, and a feed wants a new partition now. So this
module speaks the fetch protocol through aiokafka's own client: ``AIOKafkaClient`` keeps connections, credentials and
metadata; `Asker` sends ``FetchRequest`` and ``OffsetRequest`` and unpacks the batches, as its ``Fetcher`` does. Brokers
answer the requests of a connection one after the other, so a client that long-polls is used for nothing else.

Only committed records are read, as a client may write requests in transactions: records of an aborted one are skipped,
and the log ends where the oldest open one begins (Kafka's last stable offset).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    BrokerNotAvailableError,
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    ReplicaNotAvailableError,
    UnknownError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.memory_records import MemoryRecords

from weir.log.kafka.batches import Batch, Batches, PassedOver, UnreadableBatch
from weir.log.kafka.errors import log_error
from weir.log.kafka.topic_ids import TopicIdRequest, topic_id_in
from weir.log.log import Partition, Record

__all__ = ["Asker", "Page", "ThrottledError", "may_pass"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

EARLIEST: Final = -2  # of the ListOffsets protocol
LATEST: Final = -1
_READ_COMMITTED: Final = 1
RECORD_BYTES: Final = 512  # bytes asked for each record of a page, roughly; a single larger batch comes whole
_BACKOFF_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0  # after an empty answer: the broker holds the next one back as long as it must
_UNKNOWN_ANSWERS: Final = 3  # a broker may not know a new topic yet; after this many answers the topic does not exist


class Page(NamedTuple):
    """The records of one partition in the answer to a fetch."""

    records: list[Record]
    position: int  # the next position: behind the last record, hole or control batch in the answer
    end: int  # the log's end (last stable offset) when the broker answered
    size_bytes: int  # of the answer; with no records and no new position, it holds a batch that did not fit


class ThrottledError(KafkaError):  # type: ignore[misc] # aiokafka has no types
    """Kafka throttles reads, because a quota of the Kafka user or client id is used up."""

    retriable = True

    def __init__(self, pause_s: float) -> None:
        super().__init__(f"a quota is used up, for {pause_s:g} s")
        self.pause_s = min(pause_s, _LONGEST_PAUSE_S)


class Asker:
    """One client of the cluster: knows the leaders, and retries where that may help, within a time limit.

    Args:
        client: not started yet; used for nothing else.
        timeout_s: limit for each question, including retries.
        partition_bytes: bytes of one answer from one partition; a single larger batch comes whole.
        prefix: prefix of the topic names on the brokers, and nowhere else.
        passed_over: called with each batch that cannot be read; None logs it.
    """

    def __init__(
        self,
        client: AIOKafkaClient,
        *,
        timeout_s: float,
        partition_bytes: int,
        prefix: str = "",
        passed_over: PassedOver | None = None,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._batches = Batches(passed_over or _tell)
        self._timeout_s = timeout_s
        self._partition_bytes = partition_bytes

    async def start(self) -> None:
        """Connect, and learn all topics."""
        async with asyncio.timeout(self._timeout_s):
            await self._client.bootstrap()
            await self._client.force_metadata_update()

    async def stop(self) -> None:
        """Disconnect."""
        async with asyncio.timeout(self._timeout_s):
            await self._client.close()

    # -- metadata

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has, according to the latest metadata; 0 when it is unknown."""
        return len(self._client.cluster.partitions_for_topic(self._prefix + topic) or ())

    def leader(self, at: Partition) -> int | None:
        """The node to ask about ``at``; None while the partition has no leader."""
        node: int | None = self._client.cluster.leader_for_partition(
            TopicPartition(self._prefix + at.topic, at.partition)
        )
        return None if node in (None, -1) else node

    async def refresh(self) -> None:
        """Fetch the metadata of topics and leaders again."""
        async with asyncio.timeout(self._timeout_s):
            await self._client.force_metadata_update()

    async def topic_id(self, topic: str, node: int | None = None) -> str:
        """The id of a topic, as ``node`` or any broker knows it; empty where none does (Kafka before 2.8).

        Raises:
            KafkaError: no broker answered, or there is no such topic.
        """
        async with asyncio.timeout(self._timeout_s):
            while True:
                try:
                    asked = self._client.get_random_node() if node is None else node
                    if asked is None:
                        raise BrokerNotAvailableError
                    return topic_id_in(await self._client.send(asked, TopicIdRequest(self._prefix + topic)))
                except NotImplementedError:  # aiokafka raises it for a broker that is too old for a request
                    return ""
                except KafkaError as error:
                    if isinstance(error, UnknownTopicOrPartitionError) or not may_pass(error):
                        raise
                await asyncio.sleep(_BACKOFF_S)
                await self._client.force_metadata_update()

    # -- questions

    async def bounds(self, at: Partition) -> tuple[int, int]:
        """The log's start and end."""
        start, end = await asyncio.gather(self._offset(at, EARLIEST), self._offset(at, LATEST))
        return start, end

    async def offset_at(self, at: Partition, timestamp_ms: int) -> int | None:
        """The first offset whose record is not older; None when all records are."""
        offset = await self._offset(at, timestamp_ms)
        return None if offset < 0 else offset

    async def page(self, at: Partition, position: int, limit: int) -> Page:
        """The records at ``position``, at most ``limit``; does not wait for more to be written.

        Raises:
            OffsetOutOfRangeError: ``position`` lies before the log's start or behind its end.
        """

        async def ask(node: int) -> Page:
            size = min(self._partition_bytes, limit * RECORD_BYTES)
            answers = await self.poll(node, {at: position}, max_wait_s=0.0, limit=limit, partition_bytes=size)
            answer = answers.get(at)
            if isinstance(answer, Page):
                return answer
            raise UnknownTopicOrPartitionError if answer is None else answer

        return await self._ask_leader(at, ask)

    async def poll(
        self,
        node: int,
        positions: Mapping[Partition, int],
        *,
        max_wait_s: float,
        limit: int | None = None,
        partition_bytes: int | None = None,
    ) -> dict[Partition, Page | KafkaError]:
        """Fetch from several partitions that ``node`` leads; waits up to ``max_wait_s`` while all are at their end.

        Raises:
            ThrottledError: a quota is used up; the answer is empty, and the next one comes late.
            KafkaError: the node did not answer.
        """
        size = partition_bytes or self._partition_bytes
        topics: dict[str, list[tuple[int, int, int]]] = {}
        for at, position in positions.items():
            topics.setdefault(self._prefix + at.topic, []).append((at.partition, position, size))
        wait_ms, total_bytes = int(max_wait_s * 1000), 8 * size
        request = FetchRequest(wait_ms, 1, total_bytes, _READ_COMMITTED, list(topics.items()))
        response = await self._client.send(node, request)
        if response.throttle_time_ms and not response.topics:
            raise ThrottledError(response.throttle_time_ms / 1000)
        answers: dict[Partition, Page | KafkaError] = {}
        for topic, partitions in response.topics:
            for partition, code, _, end, *more, data in partitions:
                at = Partition(topic.removeprefix(self._prefix), partition)
                if (kind := for_code(code)) is not NoError:
                    answers[at] = kind()
                    continue
                aborted = next((field for field in more if isinstance(field, list)), [])
                batches = self._batches.decoded(at, positions[at], MemoryRecords(data or b""), aborted)
                answers[at] = self._page(at, Page([], positions[at], end, len(data or b"")), batches, limit)
        return answers

    @staticmethod
    def _page(at: Partition, asked: Page, batches: Iterator[Batch], limit: int | None) -> Page:
        """The page of an answer's batches; ``asked`` is the page before any batch of the answer is taken."""
        records, position = asked.records, asked.position
        for batch in batches:
            for record in batch.records:
                if record.offset < position:
                    continue  # a batch is sent whole, also when the position lies in its middle
                if limit is not None and len(records) >= limit:
                    return asked._replace(position=position)
                timestamp = record.timestamp / 1000 if record.timestamp is not None else 0.0
                headers = tuple((name, content or b"") for name, content in record.headers) if record.headers else ()
                records.append(Record(*at, record.offset, timestamp, record.key, record.value, headers))
                position = record.offset + 1
            # Batches keep their last offset when compaction takes their last record, so this skips the hole.
            position = max(position, batch.next_offset)
        return asked._replace(position=position)

    async def _offset(self, at: Partition, timestamp: int) -> int:
        async def ask(node: int) -> int:
            request = OffsetRequest(-1, _READ_COMMITTED, [(self._prefix + at.topic, [(at.partition, timestamp)])])
            response = await self._client.send(node, request)
            for _, partitions in response.topics:
                for _, code, _, offset, *_ in partitions:
                    if (kind := for_code(code)) is not NoError:
                        raise kind
                    return int(offset)
            raise UnknownTopicOrPartitionError

        return await self._ask_leader(at, ask)

    async def _ask_leader(self, at: Partition, ask: Callable[[int], Awaitable[T]]) -> T:
        """Ask the leader of ``at``, and retry while the error may pass, until the time limit."""
        last: KafkaError | None = None
        unknown = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        if (node := self.leader(at)) is None:
                            known = 0 <= at.partition < self.partitions(at.topic)
                            raise LeaderNotAvailableError if known else UnknownTopicOrPartitionError
                        return await ask(node)
                    except ThrottledError as error:
                        last = error
                        await asyncio.sleep(error.pause_s)
                        continue
                    except KafkaError as error:
                        unknown += isinstance(error, UnknownTopicOrPartitionError)
                        if unknown == _UNKNOWN_ANSWERS or not may_pass(error):
                            raise
                        last = error
                    await asyncio.sleep(_BACKOFF_S)
                    await self._client.force_metadata_update()
        except TimeoutError as error:
            raise log_error(last or error, f"reach {at.topic}-{at.partition}") from last


def may_pass(error: KafkaError) -> bool:
    """Whether a retry with fresh metadata may help: leaders move and brokers restart.

    aiokafka has no names for the newer codes (leader epochs, offsets not available yet) and calls them UnknownError.
    """
    return bool(error.retriable or error.invalid_metadata) or isinstance(
        error, UnknownError | BrokerNotAvailableError | ReplicaNotAvailableError
    )


def _tell(batch: UnreadableBatch) -> None:
    logger.error("%s; reading goes on behind them", batch)
