"""A durable partitioned log in one SQLite file. Independent of Faust.

Any number of local processes may open the same file, append to it, read it and watch it. Inside a process there is one
`LogFile` per file, shared by all users of the file.

* **Writing** is the business of the `Writer` thread (see there): group commit in one order; a future is resolved when
  its record is in the file, in the event loop that was running when it was enqueued.
* **Reading** is done in the caller's thread: from memory (`Recent`) near the end of a partition, where nearly all
  readers are, and from the file otherwise.
* **Waking**: a watcher of partitions is called in its event loop when they grow: by the writer thread, or, when another
  process has written, by the `Doorbell` thread.

Every index in memory (topics, ends) is a cache of the file, filled by `refresh()`. An end in memory is never ahead of
the file, and lags behind it only between another process's transaction and its ring.

Three threads meet here: those of the callers, the writer's, and the doorbell's. One lock guards the reading connection
and everything in memory. It is held for one query at a time and never during a wait for the writer, so that a reader
waits for a page at most. After a transaction the writer's thread takes the lock to add the new records to the recent
ones and to move the ends, and only then are the appends answered: a caller that knows its offset finds the record when
it reads. An end moves forwards only; where the file and memory differ, the larger one counts, because either may have
been read first.

A query that fails raises to its caller (`LogUnavailableError`), and the next one is made all the same. An index that
could not be filled is filled at the next ring or the next query.

The SQL is in ``queries.py``, without threads; the callbacks for growing partitions are in ``watches.py``.
"""

import asyncio
import atexit
import contextlib
import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

from weir.log.embedded.doorbell import Doorbell
from weir.log.embedded.queries import Queries, create_topics, dump_headers, store_commits
from weir.log.embedded.recent import Recent
from weir.log.embedded.schema import Synchronous, check_pages, connect
from weir.log.embedded.watches import GrowthWatch, Watches
from weir.log.embedded.writer import OVERHEAD_BYTES, Append, Writer, WriterCall
from weir.log.log import (
    Bounds,
    Headers,
    LogError,
    LogRefusedError,
    LogUnavailableError,
    Partition,
    Record,
    TopicSpec,
    check_specs,
)

T = TypeVar("T")


class LogFile:
    """One log file. Made by `LogFile.open`; each `open` needs its `close`."""

    _open: ClassVar[dict[Path, "LogFile"]] = {}
    _opening: ClassVar[threading.Lock] = threading.Lock()

    # -- life

    @classmethod
    def open(cls, path: str | os.PathLike[str], synchronous: Synchronous = "NORMAL") -> "LogFile":
        """Open the log in this file, which is created if it is missing.

        Args:
            path: a file on a local disk; SQLite's shared memory does not work over the network.
            synchronous: NORMAL survives a killed process, FULL (one fsync per transaction) also a power cut. If a
                process opens a file twice, the stricter one holds for both.

        Raises:
            LogRefusedError: not a log, or one of a newer format.
            LogUnavailableError: the file cannot be opened.
        """
        real = Path(os.path.realpath(path))
        with cls._opening:
            log = cls._open.get(real)
            if log is None:
                log = cls._open[real] = cls(real, synchronous)
            elif synchronous == "FULL":
                log._writer.synchronous = "FULL"
            log._users += 1
            return log

    def __init__(self, path: Path, synchronous: Synchronous) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise LogUnavailableError(f"log file {path} cannot be opened: {exc}") from exc
        self.path = path
        self._users = 0
        self._lock = threading.RLock()  # guards the reading connection and everything in memory
        self._db = connect(path)
        self._queries = Queries(self._db, path)
        try:
            check_pages(self._db, path)
        except LogError:
            self._db.close()
            raise
        self.topics: dict[str, TopicSpec] = {}
        self._ids: dict[Partition, int] = {}
        self._bounds: dict[int, Bounds] = {}
        self._recent: defaultdict[int, Recent] = defaultdict(Recent)
        self._watches = Watches()
        self._bell = Doorbell(path)
        self.refresh()
        self._writer = Writer(connect(path, synchronous), str(path), self._on_committed)
        atexit.register(self._shut)

    def close(self) -> None:
        """Give up one `open`; the last one writes all pending operations and closes the file. Blocks for that long."""
        with self._opening:
            self._users -= 1
            if self._users > 0 or self._open.get(self.path) is not self:
                return
            del self._open[self.path]
        self._shut()

    def _shut(self) -> None:
        atexit.unregister(self._shut)
        self._writer.close()
        self._bell.close()
        with self._lock:
            self._db.close()

    # -- topics

    def refresh(self) -> None:
        """Read topics, partitions and ends from the file, and call the watches of partitions that have grown."""
        with self._lock:
            self.topics = self._queries.topics()
            grown = []
            for id_, at, (start, end) in self._queries.partitions():
                self._ids[at] = id_
                known = self._bounds.get(id_)
                end_ = max(end, known.end) if known else end
                self._bounds[id_] = Bounds(start, end_)
                if known is None or end_ > known.end:
                    grown.append(id_)
            self._watches.call(grown)

    def partitions(self, topic: str) -> int | None:
        """How many partitions a topic has; None when there is no such topic."""
        spec = self.topics.get(topic)
        if spec is None:
            self.refresh()  # another process may have created it
            spec = self.topics.get(topic)
        return None if spec is None else spec.partitions

    async def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create the missing topics; an existing topic keeps its records for as long as its spec says from now on.

        Raises:
            OtherPartitionsError: a topic exists with another number of partitions.
            LogRefusedError: a spec that no log can have.
            LogUnavailableError: the file cannot be written.
        """
        check_specs(specs)

        if any(self.topics.get(spec.name) != spec for spec in specs):
            try:
                await self.run(lambda db: create_topics(db, specs))
            finally:
                self.refresh()

    def id(self, at: Partition) -> int:
        """The partition's number in the file.

        Raises:
            LogRefusedError: no such partition.
        """
        id_ = self._ids.get(at)
        if id_ is None:
            self.refresh()
            id_ = self._ids.get(at)
            if id_ is None:
                raise LogRefusedError(f"log {self.path} has no partition {at.partition} of topic {at.topic}")
        return id_

    # -- writing

    @property
    def backlog(self) -> int:
        """Operations that wait to be written."""
        return self._writer.backlog

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait to be written."""
        return self._writer.waiting_bytes

    @property
    def high(self) -> bool:
        """Whether so many operations wait that callers should `wait_ebb` before appending more."""
        return self._writer.high

    async def wait_ebb(self) -> None:
        """Back-pressure: returns at once while few operations wait, else when half of them are written."""
        if self._writer.high:
            await self._writer.wait_ebb()

    def append(
        self,
        at: Partition,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        timestamp: float | None = None,
    ) -> "asyncio.Future[int]":
        """Enqueue one record; the future gets its offset when it is in the file.

        Always enqueues, so that synchronous callers keep their order; a caller that can wait should `wait_ebb` first.

        Raises (from the future):
            LogRefusedError: no such partition.
            LogUnavailableError: the file cannot be written now; the record is not in it.
        """
        mailbox = self._writer.mailbox()
        future: asyncio.Future[int] = mailbox.loop.create_future()
        try:
            id_ = self.id(at)
        except (LogRefusedError, LogUnavailableError) as exc:
            future.set_exception(exc)
            return future
        size_bytes = len(key or b"") + len(value or b"") + OVERHEAD_BYTES
        timestamp = time.time() if timestamp is None else timestamp
        pairs = tuple(headers)
        text = dump_headers(pairs) if pairs else None
        self._writer.put(Append(mailbox, future, size_bytes, id_, at, timestamp, key, value, pairs, text))
        return future

    def run(self, function: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """Run ``function`` in the writer's thread and order, inside a transaction.

        It must not commit. Its errors go to its caller alone, except SQLite's errors, which fail the transaction.
        """
        return self._run(function, None)

    def barrier(self) -> "asyncio.Future[None]":
        """A future that is done when everything enqueued before it is in the file, or has failed."""
        return self.run(lambda _: None)

    def _run(self, function: Callable[[sqlite3.Connection], T], known: int | None) -> "asyncio.Future[T]":
        mailbox = self._writer.mailbox()
        future: asyncio.Future[T] = mailbox.loop.create_future()
        self._writer.put(WriterCall(mailbox, future, OVERHEAD_BYTES, function, known))
        return future

    # -- offsets of consumer groups

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> "asyncio.Future[None]":
        """Store where a consumer group goes on; durable only with all earlier appends of this event loop.

        Raises (from the future):
            LogUnavailableError: the offsets cannot be written, or an earlier append failed and the event loop had not
                been notified of that yet. No offset is stored.
        """
        rows = dict(offsets)
        return self._run(lambda db: store_commits(db, group, rows), self._writer.mailbox().known)

    def committed(self, group: str) -> dict[Partition, int]:
        """The offsets that a consumer group has committed, from the file."""
        with self._lock:
            return self._queries.committed(group)

    # -- reading

    def bounds(self, at: Partition) -> Bounds:
        """Start and end of a partition, from the file."""
        id_ = self.id(at)
        with self._lock:
            start, end = self._queries.bounds(id_)
            known = self._bounds[id_]
            if end > known.end:
                self._bounds[id_] = Bounds(start, end)
                self._watches.call([id_])
            return Bounds(start, max(end, known.end))

    def end(self, at: Partition) -> int:
        """The end as far as this process knows: a lookup in memory. Exact while this process watches the partition."""
        return self._bounds[self.id(at)].end

    def read(self, at: Partition, position: int, limit: int = 500) -> list[Record]:
        """Records from ``position`` on: at most ``limit``, and about 512 bytes for each of them, up to 4 MiB.

        Empty at the end as `end` knows it.
        """
        id_ = self.id(at)
        with self._lock:
            start, end = self._bounds[id_]
            if position >= end:
                return []
            position = max(position, start)
            records = self._recent[id_].read(position, limit)
            if records is None:
                records = self._queries.records(id_, at, position, end, limit)
            return records

    def offset_at(self, at: Partition, timestamp: float) -> int:
        """The first offset whose record is not older than ``timestamp``; the end when there is none."""
        id_ = self.id(at)
        bounds = self.bounds(at)
        with self._lock:
            return self._queries.offset_at(id_, bounds, timestamp)

    # -- waking

    def watch(self, partitions: Iterable[Partition], on_growth: Callable[[], None]) -> GrowthWatch:
        """Call ``on_growth`` in the running event loop soon after any of the partitions grows, until `unwatch`.

        Several transactions may be one call. Earlier records are not reported: read them first, or after this.
        """
        watch = GrowthWatch(on_growth)
        ids = [self.id(at) for at in partitions]
        self._bell.listen(self._on_ring)
        with self._lock:
            self._watches.add(ids, watch)
        self.refresh()  # records that other processes wrote before the bell was there
        return watch

    def unwatch(self, watch: GrowthWatch) -> None:
        """Stop calling."""
        with self._lock:
            self._watches.discard(watch)

    def _on_ring(self) -> None:
        with contextlib.suppress(LogUnavailableError):  # the next ring or read looks again
            self.refresh()

    def _on_committed(self, fresh: Mapping[int, list[Record]]) -> None:
        with self._lock:
            for id_, records in fresh.items():
                self._recent[id_].extend(records)
                known = self._bounds[id_]
                self._bounds[id_] = Bounds(known.start, max(known.end, records[-1].offset + 1))
            self._watches.call(fresh)
        if fresh:
            self._bell.ring()
