"""A durable partitioned log in one SQLite file. Knows nothing of Faust.

Any number of local processes may open the same file, append to it, read it and watch it. Inside a process there is one
`LogFile` per file, shared by all who open it.

* **Writing** is the business of the `Writer` thread (see there): group commit in one order; a future is resolved when
  its record is in the file, in the event loop that was running when it was enqueued.
* **Reading** is done in the caller's thread: from memory (`Recent`) near the end of a partition, where nearly all
  readers are, and from the file otherwise.
* **Waking**: who `watch`es partitions is called in its event loop when they grow: by the writer thread, or, when
  another process has written, by the `Doorbell` thread.

Every index in memory (topics, ends) is a cache of the file, filled by `refresh()`. An end in memory is never ahead of
the file, and lags behind it only between another process's transaction and its ring.
"""

import asyncio
import atexit
import contextlib
import json
import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from weir.log.embedded.doorbell import Doorbell
from weir.log.embedded.recent import Recent
from weir.log.embedded.schema import OFFSET_BITS, OFFSET_MASK, Synchronous, check_pages, connect
from weir.log.embedded.writer import OVERHEAD_BYTES, Append, Run, Writer, call_in
from weir.log.log import (
    Bounds,
    Headers,
    LogError,
    LogRefusedError,
    LogUnavailableError,
    OtherPartitionsError,
    Partition,
    Record,
    TopicSpec,
    check_specs,
)

T = TypeVar("T")
READ_BYTES = 4 << 20  # one read returns no more values than this, plus one record
RECORD_BYTES = 512  # nor more than this for each record that it was asked for, as on Kafka (transports.kafka.fetches)


class Watch:
    """Somebody who wants to be called when partitions grow."""

    def __init__(self, on_growth: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.on_growth = on_growth
        self.called = False  # a call is on its way already


class LogFile:
    """One log file. Made by `LogFile.open`; each `open` needs its `close`."""

    _open: ClassVar[dict[Path, "LogFile"]] = {}
    _opening: ClassVar[threading.Lock] = threading.Lock()

    # -- life

    @classmethod
    def open(cls, path: str | os.PathLike[str], synchronous: Synchronous = "NORMAL") -> "LogFile":
        """The log in this file, which is created if it is missing.

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
        try:
            check_pages(self._db, path)
        except LogError:
            self._db.close()
            raise
        self.topics: dict[str, TopicSpec] = {}
        self._ids: dict[Partition, int] = {}
        self._bounds: dict[int, Bounds] = {}
        self._recent: defaultdict[int, Recent] = defaultdict(Recent)
        self._watches: defaultdict[int, set[Watch]] = defaultdict(set)
        self._bell = Doorbell(path)
        self.refresh()
        self._writer = Writer(connect(path, synchronous), str(path), self._on_committed)
        atexit.register(self._shut)

    def close(self) -> None:
        """Give up one `open`; the last one writes what waits and closes the file. Blocks for that long."""
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
        """Look into the file for topics, partitions and ends, and call the watches of what has grown."""
        with self._lock:
            topics = self._query("SELECT name, partitions, retention_s, compacted FROM topics")
            self.topics = {
                name: TopicSpec(name=name, partitions=n, retention_s=retention_s, compacted=bool(compacted))
                for name, n, retention_s, compacted in topics
            }
            grown = []
            for id_, topic, partition, start, end in self._query(
                "SELECT id, topic, partition, start, next FROM partitions"
            ):
                self._ids[Partition(topic, partition)] = id_
                known = self._bounds.get(id_)
                end_ = max(end, known.end) if known else end
                self._bounds[id_] = Bounds(start, end_)
                if known is None or end_ > known.end:
                    grown.append(id_)
            self._call_watches(grown)

    def partitions(self, topic: str) -> int | None:
        """How many partitions a topic has; None when there is no such topic."""
        spec = self.topics.get(topic)
        if spec is None:
            self.refresh()  # another process may have created it
            spec = self.topics.get(topic)
        return None if spec is None else spec.partitions

    async def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create what is missing; what exists keeps its records for as long as its spec says from now on.

        Raises:
            OtherPartitionsError: a topic exists with another number of partitions.
            LogRefusedError: a spec is none.
            LogUnavailableError: the file cannot be written.
        """
        check_specs(specs)

        def create(db: sqlite3.Connection) -> None:
            for spec in specs:
                row = db.execute("SELECT partitions FROM topics WHERE name=?", (spec.name,)).fetchone()
                if row is None:
                    db.execute(
                        "INSERT INTO topics VALUES(?,?,?,?)",
                        (spec.name, spec.partitions, spec.retention_s, spec.compacted),
                    )
                    db.executemany(
                        "INSERT INTO partitions(topic, partition) VALUES(?,?)",
                        [(spec.name, partition) for partition in range(spec.partitions)],
                    )
                elif row[0] != spec.partitions:
                    raise OtherPartitionsError(spec.name, row[0], spec.partitions)
                db.execute("UPDATE topics SET retention_s=? WHERE name=?", (spec.retention_s, spec.name))

        if any(self.topics.get(spec.name) != spec for spec in specs):
            try:
                await self.run(create)
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
        """Whether so much waits that one should `wait_ebb` before appending more."""
        return self._writer.high

    async def wait_ebb(self) -> None:
        """Back-pressure: returns at once while little waits, else when half of it is written."""
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

        Always enqueues, so that synchronous callers keep their order; who can wait should `wait_ebb` first.

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
        self._writer.put(
            Append(mailbox, future, size_bytes, id_, at, timestamp, key, value, pairs, _dump(pairs) if pairs else None)
        )
        return future

    def run(self, function: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """Run ``function`` in the writer's thread and order, inside a transaction.

        It must not commit. What it raises goes to its caller alone, except SQLite's errors, which fail the
        transaction.
        """
        return self._run(function, None)

    def barrier(self) -> "asyncio.Future[None]":
        """Done when everything enqueued before it is in the file, or has failed."""
        return self.run(lambda _: None)

    def _run(self, function: Callable[[sqlite3.Connection], T], known: int | None) -> "asyncio.Future[T]":
        mailbox = self._writer.mailbox()
        future: asyncio.Future[T] = mailbox.loop.create_future()
        self._writer.put(Run(mailbox, future, OVERHEAD_BYTES, function, known))
        return future

    # -- offsets of consumer groups

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> "asyncio.Future[None]":
        """Store where a consumer group goes on; durable only with all that was appended before in this event loop.

        Raises (from the future):
            LogUnavailableError: it cannot be written, or an append before it failed and the event loop had not been
                told of that yet. Nothing is stored.
        """
        rows = [(group, *at, offset) for at, offset in offsets.items()]

        def store(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO commits VALUES(?,?,?,?)", rows)

        return self._run(store, self._writer.mailbox().known)

    def committed(self, group: str) -> dict[Partition, int]:
        """The offsets that a consumer group has committed, from the file."""
        with self._lock:
            rows = self._query("SELECT topic, partition, offset FROM commits WHERE consumer_group=?", (group,))
        return {Partition(topic, partition): offset for topic, partition, offset in rows}

    # -- reading

    def bounds(self, at: Partition) -> Bounds:
        """Start and end of a partition, from the file."""
        id_ = self.id(at)
        with self._lock:
            start, end = self._query("SELECT start, next FROM partitions WHERE id=?", (id_,))[0]
            known = self._bounds[id_]
            if end > known.end:
                self._bounds[id_] = Bounds(start, end)
                self._call_watches([id_])
            return Bounds(start, max(end, known.end))

    def end(self, at: Partition) -> int:
        """The end as far as this process knows: a lookup in memory. Exact for whoever watches the partition."""
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
                records = self._read_file(id_, at, position, end, limit)
            return records

    def _read_file(self, id_: int, at: Partition, position: int, end: int, limit: int) -> list[Record]:
        records, size_bytes, low = [], 0, id_ << OFFSET_BITS
        max_bytes = min(READ_BYTES, limit * RECORD_BYTES)
        with self._reading():
            for row, timestamp, key, value, headers in self._db.execute(
                "SELECT id, timestamp, key, value, headers FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
                (low | position, low + end, limit),
            ):
                records.append(Record(*at, row & OFFSET_MASK, timestamp, key, value, _load(headers)))
                size_bytes += len(value or b"")
                if size_bytes > max_bytes:
                    break
        return records

    def offset_at(self, at: Partition, timestamp: float) -> int:
        """The first offset whose record is not older than ``timestamp``; the end when there is none.

        The time marks tell before which offset everything is older, and bound the search to a few thousand records.
        """
        id_ = self.id(at)
        bounds = self.bounds(at)
        low = id_ << OFFSET_BITS
        with self._lock:
            mark = self._query("SELECT max(offset) FROM marks WHERE partition=? AND newest < ?", (id_, timestamp))[0][0]
            row = self._query(
                "SELECT id FROM records WHERE id >= ? AND id < ? AND timestamp >= ? ORDER BY id LIMIT 1",
                (low | max(mark or 0, bounds.start), low + bounds.end, timestamp),
            )
        return int(row[0][0]) & OFFSET_MASK if row else bounds.end

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._reading():
            return self._db.execute(sql, parameters).fetchall()

    @contextlib.contextmanager
    def _reading(self) -> Any:
        try:
            yield
        except sqlite3.Error as exc:
            raise LogUnavailableError(f"log {self.path} cannot be read: {exc}") from exc

    # -- waking

    def watch(self, partitions: Iterable[Partition], on_growth: Callable[[], None]) -> Watch:
        """Call ``on_growth`` in the running event loop soon after any of the partitions grows, until `unwatch`.

        Several transactions may be one call. What was there before is not told: read first, or after this.
        """
        watch = Watch(on_growth)
        ids = [self.id(at) for at in partitions]
        self._bell.listen(self._on_ring)
        with self._lock:
            for id_ in ids:
                self._watches[id_].add(watch)
        self.refresh()  # what others wrote before the bell was there
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Stop calling."""
        watch.on_growth = _nothing
        with self._lock:
            for watches in self._watches.values():
                watches.discard(watch)

    def _on_ring(self) -> None:
        with contextlib.suppress(LogUnavailableError):  # the next ring or read looks again
            self.refresh()

    def _on_committed(self, fresh: Mapping[int, list[Record]]) -> None:
        with self._lock:
            for id_, records in fresh.items():
                self._recent[id_].extend(records)
                known = self._bounds[id_]
                self._bounds[id_] = Bounds(known.start, max(known.end, records[-1].offset + 1))
            self._call_watches(fresh)
        if fresh:
            self._bell.ring()

    def _call_watches(self, ids: Iterable[int]) -> None:
        for watch in {watch for id_ in ids for watch in self._watches[id_]}:
            if not watch.called:
                watch.called = True
                call_in(watch.loop, _call, watch)


def _call(watch: Watch) -> None:
    watch.called = False
    watch.on_growth()


def _nothing() -> None:
    pass


def _dump(headers: tuple[tuple[str, bytes], ...]) -> str:
    return json.dumps([(name, value.decode("latin-1")) for name, value in headers])


def _load(text: str | None) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value.encode("latin-1")) for name, value in json.loads(text)) if text else ()
