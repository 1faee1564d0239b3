"""The log client of the embedded broker: `weir.log.log.LogClient` on a file."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Sequence

from weir.log.embedded.file import LogFile
from weir.log.embedded.schema import Synchronous
from weir.log.embedded.watches import GrowthWatch
from weir.log.embedded.writer import OVERHEAD_BYTES
from weir.log.log import (
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

RECORDS_AT_ONCE = 100  # read before the event loop gets a turn
BATCH = 500  # records handed to a follower at once, before other callbacks of the event loop run
RETRY_S = 1.0  # a follower that cannot read the file tries again after this long

logger = logging.getLogger(__name__)


class EmbeddedLog:
    """Appends to and reads from a log file, outside any consumer group.

    Shares the open file with every other user of it in this process. Reads run in the event loop's thread: near the end
    they come from memory, and elsewhere they are bounded to some hundreds of records.

    Args:
        path: the file, created if it is missing.
        synchronous: what an acknowledged record survives, see `LogFile.open`.
        max_request_size: bytes of the largest record, with key and headers.
        max_waiting_bytes: bytes that may wait to be written, by all writers of the file in this process; an append
            beyond that is refused at once.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        synchronous: Synchronous = "NORMAL",
        *,
        max_request_size: int = 96 << 20,
        max_waiting_bytes: int = 128 << 20,
    ) -> None:
        self._path = path
        self._synchronous: Synchronous = synchronous
        self._max_request_size = max_request_size
        self._max_waiting_bytes = max_waiting_bytes
        self._file: LogFile | None = None
        self._feeds: dict[Partition, _Feed] = {}

    @property
    def file(self) -> LogFile:
        """The open file.

        Raises:
            LogUnavailableError: before `start` and after `stop`.
        """
        if self._file is None:
            raise LogUnavailableError(f"log {self._path} is not open")
        return self._file

    async def start(self) -> None:
        """Open the file, creating it if it is missing. Raises LogUnavailableError or LogRefusedError."""
        if self._file is None:
            self._file = await asyncio.to_thread(LogFile.open, self._path, self._synchronous)

    async def stop(self) -> None:
        """Write all pending appends and release the file. Never raises."""
        for at in list(self._feeds):
            await self.unfollow(at)
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(LogError):  # each append's future has its own error
                await file.barrier()  # other users in this process may keep the file open
            await asyncio.to_thread(file.close)

    async def create_topics(self, topics: Sequence[TopicSpec], *, replication: int) -> Retentions:  # noqa: ARG002
        """Create the missing topics. There is one copy, on this disk, whatever ``replication`` asks for.

        Raises:
            LogRefusedError: an existing topic has another number of partitions than its spec says.
            LogUnavailableError: the file cannot be written.
        """
        await self.file.create_topics(topics)
        return {topic.name: topic.retention_s for topic in topics}

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has.

        Raises:
            LogRefusedError: no such topic.
        """
        count = self.file.partitions(topic)
        if count is None:
            raise LogRefusedError(f"log {self._path} has no topic {topic}")
        return count

    async def topic_id(self, topic: str) -> str:
        """Return an empty id: all topics are in one file, so no topic can be recreated without the others.

        Raises:
            LogRefusedError: no such topic.
        """
        self.partitions(topic)
        return ""

    def record_max_bytes(self, topic: str) -> int:
        """The largest record; the same for all topics."""
        del topic
        return self._max_request_size

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Awaitable[int]:
        """Enqueue one record at once, in call order; await the result for its durable offset."""
        file = self.file
        size_bytes = len(key or b"") + len(value or b"") + OVERHEAD_BYTES
        for name, content in headers:
            size_bytes += len(name) + len(content)
        refusal: LogError | None = None
        if size_bytes > self._max_request_size:
            refusal = RecordTooLargeError(
                f"cannot append a record of {size_bytes} bytes: the limit is {self._max_request_size}"
            )
        elif file.waiting_bytes + size_bytes > self._max_waiting_bytes:
            refusal = LogUnavailableError(
                f"cannot append: {file.waiting_bytes} bytes wait for the disk, which does not keep up"
            )
        elif key is None and (spec := file.topics.get(topic)) and spec.compacted:
            refusal = LogRefusedError(f"cannot append to {topic} without a key: it is compacted")
        if refusal is None:
            return file.append(Partition(topic, partition), key, value, headers)
        refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        refused.set_exception(refusal)
        refused.exception()  # mark as retrieved: asyncio logs no warning for a caller that does not await
        return refused

    async def bounds(self, at: Partition) -> Bounds:
        """Start and end of a partition, from the file."""
        return self.file.bounds(at)

    async def offset_at(self, at: Partition, timestamp: float) -> int:
        """The first offset whose record is not older than ``timestamp``; the end when there is none."""
        return self.file.offset_at(at, timestamp)

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        """Records from ``position`` on (or from the log's start, if later): at most ``limit``, empty at the end."""
        file = self.file
        if position >= file.end(at):
            file.bounds(at)  # another process may have appended
        records = file.read(at, position, limit)
        if len(records) >= RECORDS_AT_ONCE:
            # nothing here waits, so without this many pages in a row would be one turn of the event loop
            await asyncio.sleep(0)
        return records

    async def follow(
        self,
        at: Partition,
        position: int,
        deliver: Deliver,
        on_replaced: Callable[[], None] = lambda: None,  # noqa: ARG002 - the topics of an open file are never replaced
    ) -> None:
        """Call ``deliver`` with every record from ``position`` on, as it is written, until ``unfollow``.

        Raises:
            LogRefusedError: no such partition, or it is followed already.
        """
        if at in self._feeds:
            raise LogRefusedError(f"partition {at.partition} of topic {at.topic} is followed already")
        self._feeds[at] = _Feed(self.file, at, position, deliver)

    async def unfollow(self, at: Partition) -> None:
        """Stop the feed of a partition. Does nothing if there is none."""
        feed = self._feeds.pop(at, None)
        if feed is not None:
            feed.stop()


class _Feed:
    """Hands on the records of one partition in callbacks of the event loop, without a task of its own."""

    def __init__(self, file: LogFile, at: Partition, position: int, deliver: Deliver) -> None:
        self._file, self._at, self._position, self._deliver = file, at, position, deliver
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle | None = None
        self._stopped = False
        self._watch: GrowthWatch = file.watch([at], self._pump)
        self._next = self._loop.call_soon(self._pump)

    def stop(self) -> None:
        self._stopped = True
        self._file.unwatch(self._watch)
        if self._next is not None:
            self._next.cancel()

    def _pump(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._stopped:
            return
        try:
            end = self._file.end(self._at)
            records = self._file.read(self._at, self._position, BATCH)
        except LogError as exc:
            logger.warning("Cannot follow %s %d: %s", *self._at, exc)
            self._next = self._loop.call_later(RETRY_S, self._pump)
            return
        if not records:
            self._position = max(self._position, end)  # the records in between were removed by compaction
            return
        self._position = records[-1].offset + 1
        try:
            self._deliver(records)
        except Exception:
            logger.exception("A follower of %s %d raised", *self._at)
        if self._position < self._file.end(self._at):
            self._next = self._loop.call_soon(self._pump)
