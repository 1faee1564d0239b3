"""A log in memory that keeps the promises of ``weir.log.log.LogClient``, and breaks them when a test says so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from weir.chat import frames
from weir.chat.frames import Frame
from weir.log.log import (
    RECORD_OVERHEAD_BYTES,
    Bounds,
    Deliver,
    Headers,
    LogError,
    LogRefusedError,
    LogUnavailableError,
    Partition,
    Record,
    RecordTooLargeError,
    Retentions,
    TopicSpec,
)
from weir.log.tails import Tails

WAIT_S = 10.0  # for what must come, on a loaded machine


class MemoryLog:
    """Topics come to be with their first record."""

    def __init__(self) -> None:
        self.records: dict[Partition, list[Record]] = {}
        self.broken: LogError | None = None  # all reads and appends fail while it is set
        self.fail_append: Callable[[Partition, bytes | None], LogError | None] = lambda *_: None
        self.appending: asyncio.Event | None = None  # appends land when it is set
        self.reading: asyncio.Event | None = None  # questions are answered when it is set
        self.showing: asyncio.Event | None = None  # until it is set, records are written and not delivered
        self.starts: dict[Partition, int] = {}  # what retention has left begins there
        self.refused: set[str] = set()  # topics that may not be read
        self.topic_ids: dict[str, str] = {}
        self.limits: dict[str, int] = {}  # the largest record of a topic; others take any
        self.now = 0.0  # the time of records that are written
        self._followers: dict[Partition, list[Deliver]] = {}  # several: workers may share this log
        self._on_replaced: dict[Partition, list[Callable[[], None]]] = {}
        self._withheld: list[Record] = []
        self._changed = asyncio.Event()

    # -- for tests

    def put(self, at: Partition, key: bytes | None, value: bytes | None, headers: Headers = ()) -> int:
        """Put a record of another writer into the log."""
        log = self.records.setdefault(at, [])
        record = Record(at.topic, at.partition, len(log), self.now, key, value, tuple(headers))
        log.append(record)
        if self.showing is None or self.showing.is_set():
            self._deliver(record)
        else:
            self._withheld.append(record)
        self._changed.set()
        return record.offset

    def show(self) -> None:
        """Deliver the withheld records."""
        if self.showing is not None:
            self.showing.set()
        while self._withheld:
            self._deliver(self._withheld.pop(0))

    def _deliver(self, record: Record) -> None:
        for deliver in self._followers.get(Partition(record.topic, record.partition), ()):
            deliver([record])

    def replace(self, at: Partition, topic_id: str) -> None:
        """Delete the topic and create it again."""
        self.records.pop(at, None)
        self.topic_ids[at.topic] = topic_id
        self._followers.pop(at, None)
        for replaced in self._on_replaced.pop(at, []):
            replaced()

    def values(self, at: Partition) -> list[bytes | None]:
        return [record.value for record in self.records.get(at, [])]

    def frames(self, at: Partition) -> list[Frame]:
        return [frames.decode(value) for value in self.values(at)]

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until the log is as a test wants it."""
        async with asyncio.timeout(WAIT_S):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    # -- transports.log.LogClient

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def create_topics(self, topics: Sequence[TopicSpec], *, replication: int) -> Retentions:
        del replication
        return {topic.name: topic.retention_s for topic in topics}

    def partitions(self, topic: str) -> int:
        del topic
        return 6

    async def topic_id(self, topic: str) -> str:
        await self._reachable()
        return self.topic_ids.get(topic, "")

    def record_max_bytes(self, topic: str) -> int:
        return self.limits.get(topic, 1 << 30)

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Awaitable[int]:
        return asyncio.ensure_future(self._append(Partition(topic, partition), key, value, headers))

    async def _append(self, at: Partition, key: bytes | None, value: bytes | None, headers: Headers) -> int:
        if self.appending is not None:
            await self.appending.wait()
        error = self.broken or self.fail_append(at, value)
        size_bytes = len(key or b"") + len(value or b"") + RECORD_OVERHEAD_BYTES
        if error is None and size_bytes > self.record_max_bytes(at.topic):
            error = RecordTooLargeError(f"a record of {size_bytes} bytes for {at.topic}")
        if error is not None:
            raise error
        return self.put(at, key, value, headers)

    async def bounds(self, at: Partition) -> Bounds:
        await self._reachable()
        return Bounds(self.starts.get(at, 0), len(self.records.get(at, [])))

    async def offset_at(self, at: Partition, timestamp: float) -> int:
        await self._reachable()
        if at.topic in self.refused:
            raise LogRefusedError(f"cannot read {at.topic}: the Kafka user may not, an ACL is missing")
        log = self.records.get(at, [])
        return next((record.offset for record in log if record.timestamp >= timestamp), len(log))

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        await self._reachable()
        position = max(position, self.starts.get(at, 0))
        return self.records.get(at, [])[position : position + limit]

    async def follow(
        self, at: Partition, position: int, deliver: Deliver, on_replaced: Callable[[], None] = lambda: None
    ) -> None:
        await self._reachable()
        self._followers.setdefault(at, []).append(deliver)
        self._on_replaced.setdefault(at, []).append(on_replaced)
        deliver(self.records.get(at, [])[position:])

    async def unfollow(self, at: Partition) -> None:
        """Stop following, for all workers: a test ends them together."""
        self._followers.pop(at, None)
        self._on_replaced.pop(at, None)

    async def _reachable(self) -> None:
        await asyncio.sleep(0)
        if self.reading is not None:
            await self.reading.wait()
        if self.broken is not None:
            raise self.broken


AWAY = LogUnavailableError("no broker")


@asynccontextmanager
async def tails_of(log: MemoryLog) -> AsyncIterator[Tails]:
    tails = Tails(log)
    await tails.start()
    try:
        yield tails
    finally:
        await tails.stop()
