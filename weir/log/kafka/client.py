"""The log client on Kafka: `weir.log.log.LogClient` out of the parts beside it.

`Appends` (appends.py) writes, `Asker` (fetches.py) asks a partition's leader one question, `Feeds` (feed.py) follows.
Connections per broker: one of the producer, one for questions and pages, one for the long polls.

The parts know aiokafka, and this class knows the contract. It adds four things to them:

* **A name.** Callers say ``chat-chunks``; on the brokers the topic has the installation's prefix. The prefix is put in
  front where a call leaves, and records and errors of the contract have the names without it.
* **A limit.** Each question to Kafka is bounded as a whole (`_bounded`), above the limits of the parts: a part says
  what was late, and this one sees to it that the call ends at all.
* **An error.** What the parts raise (`KafkaError`, a timeout, an error of the network) becomes a `LogError`, which
  says whether asking again helps: `weir.log.kafka.errors` tells them apart.
* **A page that is right.** Kafka answers a fetch with nothing for several reasons, and only one of them means that
  there is nothing: a hole is stepped over, a position before the log's start moves there, and an empty answer below the
  end is asked for again, because a throttled broker gives it, too (`_read`).

The client is started once and stopped once. A start that fails looks at each broker before it raises, since aiokafka
has the same message for a wrong address, a wrong login and a missing right. An append is the one call without a wait:
it is enqueued at once, in call order, and its result is awaited (appends.py).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from weir.log.kafka.appends import Appends
from weir.log.kafka.batches import check_codecs
from weir.log.kafka.errors import log_error
from weir.log.kafka.feed import Feeds
from weir.log.kafka.fetches import Asker, Page
from weir.log.kafka.groups import ConsumerGroup, groups_reading
from weir.log.kafka.logins import watch
from weir.log.kafka.reasons import reach, try_broker
from weir.log.kafka.record_limits import RecordLimits
from weir.log.kafka.security import KafkaSecurity
from weir.log.kafka.topics import create_topics, retentions
from weir.log.log import (
    Bounds,
    Deliver,
    Headers,
    LogError,
    LogRefusedError,
    LogUnavailableError,
    OtherPartitionsError,
    Partition,
    Record,
    Retentions,
    TopicSpec,
)

__all__ = ["KafkaLog"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_EMPTY_ANSWERS = 3  # an empty answer below the log's end is believed when it comes this often


class KafkaLog:
    """A `LogClient` on Kafka.

    Args:
        bootstrap_servers: ``host:port`` or several, separated by commas.
        security: encryption and credentials; None is a plain connection.
        client_id: shown in the broker's logs and metrics.
        request_timeout_s: limit for each question to Kafka, including retries.
        delivery_timeout_s: limit for an append to become durable, and for `stop` to wait for appends.
        max_request_size: bytes of the largest record, with key and headers, where its topic does not take less.
        max_waiting_bytes: bytes that may wait to be appended; an append beyond that is refused at once.
        prefix: prefix of the topic names on the brokers. Callers, and the records that they get, have the names without
            it; messages for an operator have it.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        security: KafkaSecurity | None = None,
        client_id: str = "weir",
        request_timeout_s: float = 10.0,
        delivery_timeout_s: float = 30.0,
        max_request_size: int = 1 << 20,
        max_waiting_bytes: int = 64 << 20,
        prefix: str = "",
    ) -> None:
        watch()
        self._bootstrap_servers = bootstrap_servers
        self._security = security or KafkaSecurity()
        self._client_id = client_id
        self._request_timeout_s = request_timeout_s
        self._delivery_timeout_s = delivery_timeout_s
        self._max_request_size = max_request_size
        self._limits = RecordLimits(max_request_size)
        self._max_waiting_bytes = max_waiting_bytes
        self._prefix = prefix
        self._counts: dict[str, int] = {}  # partitions of topics that were created or checked
        self._appends: Appends | None = None
        self._asker: Asker | None = None
        self._poller: Asker | None = None
        self._feeds: Feeds | None = None

    # -- life

    async def start(self) -> None:
        """Connect; does nothing when already started. Raises LogUnavailableError or LogRefusedError."""
        if self._appends is not None:
            return
        check_codecs()
        limit_s = self._request_timeout_s
        brokers = await reach(
            self._bootstrap_servers, self._security, client_id=f"{self._client_id}-look", limit_s=limit_s
        )
        fetch_bytes = max(1 << 20, self._max_request_size)
        self._asker = self._new_asker("ask", self._request_timeout_s, fetch_bytes)
        self._poller = self._new_asker("feed", self._request_timeout_s, fetch_bytes)
        self._feeds = Feeds(self._poller, self._asker)
        self._appends = Appends(
            self._new_producer,
            limits=self._limits,
            max_waiting_bytes=self._max_waiting_bytes,
            delivery_s=self._delivery_timeout_s,
        )
        try:
            await self._bounded("connect to Kafka", self._connect())
        except LogError:
            await self.stop()
            for broker in brokers:  # the addresses that the cluster advertises, which may be wrong
                await try_broker(broker, self._security, client_id=f"{self._client_id}-look", limit_s=limit_s)
            raise
        except BaseException:
            await self.stop()
            raise

    async def _connect(self) -> None:
        for part in (self._started(self._asker), self._started(self._poller), self._started(self._appends)):
            await part.start()

    async def stop(self) -> None:
        """Flush pending appends and disconnect. Never raises."""
        for part in (self._feeds, self._appends, self._poller, self._asker):
            if part is not None:
                try:
                    await part.stop()
                except Exception as error:  # noqa: BLE001 - the other parts are to be stopped, too
                    logger.warning("stopping the Kafka log client: %r", error)
        self._feeds = self._appends = self._poller = self._asker = None

    # -- topics

    async def create_topics(self, topics: Sequence[TopicSpec], *, replication: int) -> Retentions:
        """Create the missing topics; see `weir.log.log.LogClient.create_topics`."""
        asker = self._started(self._asker)
        there = [replace(topic, name=self._prefix + topic.name) for topic in topics]

        async def create() -> Retentions:
            async with self._admin() as admin:
                await create_topics(admin, there, replication, self._max_request_size)
                kept = await retentions(admin, [topic.name for topic in there])
                await self._limits.read(admin, [topic.name for topic in there])
            while not all(asker.partitions(topic.name) for topic in topics):
                await asker.refresh()
            await self._started(self._poller).refresh()
            return {topic.removeprefix(self._prefix): kept_s for topic, kept_s in kept.items()}

        try:
            kept = await self._bounded("create topics", create(), self._request_timeout_s * 3)
        except OtherPartitionsError as error:
            raise OtherPartitionsError(error.topic.removeprefix(self._prefix), error.found, error.expected) from None
        self._counts |= {topic.name: topic.partitions for topic in topics}
        return kept

    async def groups_reading(self, topic: str, *, besides: str = "") -> list[ConsumerGroup]:
        """The consumer groups with a member that is subscribed to a topic, without the group ``besides``.

        Raises:
            LogRefusedError: the Kafka user may not list or describe groups.
            LogUnavailableError: the brokers do not answer in time.
        """

        async def look() -> list[ConsumerGroup]:
            async with self._admin() as admin:
                return await groups_reading(admin, self._prefix + topic, besides)

        return await self._bounded("look for other consumer groups", look(), self._request_timeout_s * 3)

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(**self._options("admin"))
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has, according to the latest metadata.

        Raises:
            LogRefusedError: there is no such topic.
        """
        asker = self._started(self._asker)
        count = self._counts.get(topic) or asker.partitions(topic)
        if not count:
            user = self._security.sasl_username
            seen = f" that KAFKA_SASL_USERNAME={user} may see" if user else ""
            raise LogRefusedError(f"Kafka has no topic {self._prefix}{topic}{seen}")
        return count

    async def topic_id(self, topic: str) -> str:
        """The identity of a topic; see `weir.log.log.LogClient.topic_id`."""
        return await self._bounded(f"ask for the id of {topic}", self._started(self._asker).topic_id(topic))

    # -- records

    def record_max_bytes(self, topic: str) -> int:
        """The largest record that a topic takes; see `weir.log.log.LogClient.record_max_bytes`."""
        return self._limits.of_record(self._prefix + topic)

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Awaitable[int]:
        """Enqueue one record at once, in call order per partition; await the result for its durable offset.

        A record that does not fit at the moment (``max_waiting_bytes``) or never will (``max_request_size``) fails at
        once and is not in the log. Nothing lands after an earlier append that failed for another reason, unless it was
        appended after that failure was known.
        """
        return self._started(self._appends).append(self._prefix + topic, partition, key, value, headers)

    async def bounds(self, at: Partition) -> Bounds:
        """Start and end of a partition, asked of its leader."""
        asker = self._started(self._asker)
        return Bounds(*await self._bounded(f"find the end of {self._name(at)}", asker.bounds(at)))

    async def offset_at(self, at: Partition, timestamp: float) -> int:
        """The first offset whose record is not older than ``timestamp`` (seconds); the end when there is none."""
        asker = self._started(self._asker)
        asked = asker.offset_at(at, max(0, int(timestamp * 1000)))
        offset = await self._bounded(f"find a time in {self._name(at)}", asked)
        return (await self.bounds(at)).end if offset is None else offset

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        """Records from ``position`` on, at most ``limit``; empty when the log ends there. Mostly one round trip."""
        return await self._bounded(f"read {self._name(at)}", self._read(at, position, limit))

    async def _read(self, at: Partition, position: int, limit: int) -> list[Record]:
        asker = self._started(self._asker)
        empty = 0
        while True:
            try:
                page: Page = await asker.page(at, position, limit)
            except OffsetOutOfRangeError:
                start, end = await asker.bounds(at)
                if position >= end:
                    return []
                position = max(position, start)
                continue
            if page.records or page.position >= page.end:
                return page.records
            if page.position > position:  # a hole, or the end of a transaction
                position, empty = page.position, 0
                continue
            # An empty answer below the end: a throttled broker gives that, and so does a hole at the log's end.
            empty += 1
            if empty >= _EMPTY_ANSWERS:
                return []
            await asyncio.sleep(0.02 * empty)

    async def follow(
        self, at: Partition, position: int, deliver: Deliver, on_replaced: Callable[[], None] = lambda: None
    ) -> None:
        """Call ``deliver`` with every record from ``position`` on, as it is written, until `unfollow`."""
        feeds, asker = self._started(self._feeds), self._started(self._asker)
        if not asker.partitions(at.topic):  # another client may have created it since the last refresh
            await self._bounded(f"look for {self._name(at)}", asker.refresh())
        if not 0 <= at.partition < self.partitions(at.topic):
            raise LogRefusedError(f"Kafka has no partition {self._name(at)}")
        topic_id = await self.topic_id(at.topic)
        if not feeds.follow(at, position, deliver, on_replaced, topic_id):
            raise LogRefusedError(f"partition {self._name(at)} is followed already")

    async def unfollow(self, at: Partition) -> None:
        """Stop the feed of a partition; nothing is delivered after the call."""
        if self._feeds is not None:
            self._feeds.unfollow(at)

    # -- parts

    def _started(self, part: T | None) -> T:
        if part is None:
            raise LogUnavailableError("the Kafka log client is not started")
        return part

    async def _bounded(self, doing: str, work: Coroutine[Any, Any, T], limit_s: float | None = None) -> T:
        """Await ``work``, its errors as `LogError`, with a limit above those of the parts, which say what was late."""
        try:
            async with asyncio.timeout(limit_s or 2 * self._request_timeout_s):
                return await work
        except (KafkaError, TimeoutError, OSError) as error:
            raise log_error(error, doing) from error

    def _options(self, role: str) -> dict[str, Any]:
        return {
            "bootstrap_servers": self._bootstrap_servers,
            "client_id": f"{self._client_id}-{role}",
            "request_timeout_ms": int(self._request_timeout_s * 1000),
        } | self._security.client_options()

    def _new_asker(self, role: str, timeout_s: float, fetch_bytes: int) -> Asker:
        client = AIOKafkaClient(**self._options(role))
        return Asker(client, timeout_s=timeout_s, partition_bytes=fetch_bytes, prefix=self._prefix)

    def _new_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            # aiokafka fails a batch after this time where its partition has no leader, as while a broker restarts.
            **self._options("append") | {"request_timeout_ms": int(self._delivery_timeout_s * 1000)},
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=min(self._max_request_size, 256 << 10),
            max_request_size=self._max_request_size,
        )

    def _name(self, at: Partition) -> str:
        return f"{self._prefix}{at.topic}-{at.partition}"
