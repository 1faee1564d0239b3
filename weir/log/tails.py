"""Many readers on few partitions: the records of a partition from a position on, as they are written.

One `Feed` per partition takes the live records from ``LogClient.follow`` and hands each to the readers that want its
key. A reader (`Tail`) is in one of two states:

* **live**: it stands in the feed's table of readers, and the feed puts its records into its queue. The queue is
  bounded: when a slow reader fills it, the queue is dropped and the reader falls behind, at the position of the first
  record that it was not given. So a slow reader costs nothing but its own time.
* **behind**: it reads on from its own position when its owner asks for records: from the feed's ring of recent
  records where that reaches back far enough, else page by page from the broker (``LogClient.read``), keeping its key.

A reader that is behind goes live in one step without an await: "the ring holds everything from my position on" is
checked, the rest of the ring is taken, and the reader is put into the table. Nothing can be delivered in between, so
there is neither a gap nor a duplicate. Falling behind is the same step backwards.

A reader of one key does not read what others have written. The feed keeps an `Index` of which keys stand where, from
``Index.start`` to the live position, and the reader goes from one place of its key to the next, and live after the
last. One whose position is older waits until a `Scan` has extended the index backwards, once for all that wait. So a
thousand readers of a log cost one reading of it, and their own records. The index is bounded. Once it has had to give
up its oldest part it grows backwards no more, and a reader that comes from there reads page by page up to its start.

What compaction took is stepped over. A reader that is behind may be overtaken by retention: it goes on at the log's
start, and a reader that minds compares the offset of what it gets with the position it had.

*Live position* is the offset up to which the feed has delivered: the next record it delivers has that offset or a
higher one. It never runs ahead of the log's end and is normally a few milliseconds behind it. ``Tail.catch_up`` looks
at everything below the live position, which costs no broker call when the reader is live; ``Tail.look`` asks the
broker for the end first, so that no record older than its answer can turn up later.

A log that turns out to be another one than it was (its topic was created anew, or cut short) ends its feed: every
reader of it gets `LogReplacedError` from then on, and a tail that is opened later gets a new feed. So does a reader
that comes with a position which the log has not reached, or with the id of another topic: it would wait for records
that never come, or take those of one log for those of another.

All of it runs on one event loop, without threads. Each record is one object, however many readers get it.
"""

import asyncio
import contextlib
import logging
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from weir.log.log import LogClient, LogError, LogReplacedError, LogUnavailableError, Partition, Place, Record
from weir.log.memory import Memory
from weir.timing import Alarm

__all__ = ["Tail", "TailLimits", "Tails"]

logger = logging.getLogger(__name__)

_RECORD_OVERHEAD_BYTES = 200  # the tuple, its offsets and its headers, roughly
_KEY_OVERHEAD_BYTES = 380  # of a key in the index: its bytes object, its entry, its list, its place in the dict
_PLACE_BYTES = 28  # of a block more in which a key stands: one element in each of two lists
_BLOCK_BYTES = 160  # of a block: its number, its list, its tuple
_GAP_BLOCKS = 3  # so many blocks without the key are read along: cheaper than one more question
_WINDOW_PAGES = 64  # a scan's step over a hole grows up to so many pages


@dataclass(frozen=True, slots=True, kw_only=True)
class TailLimits:
    """What one process may hold in memory and on the wire for its tails."""

    ring_records: int = 8192  # recent records kept for each partition, so that most readers need no broker
    ring_bytes: int = 4 << 20
    queue_records: int = 1024  # records waiting for one reader; more, and it falls behind
    queue_bytes: int = 128 << 10
    page_records: int = 500  # records of one read from the broker or from the ring
    index_bytes: int = 32 << 20  # which keys stand where, for each partition: of 30,000 answers or so
    index_block: int = 16  # offsets that the index does not tell apart
    reads: int = 8  # reads under way at the same time, all readers together
    turns: int = 4  # readers that work on a page at the same time; to be taken by readers that decode
    memory_bytes: int = 256 << 20  # of large pages and bodies that readers hold, all readers together
    linger_s: float = 600.0  # how long a partition is followed after its last reader left
    look_wait_s: float = 0.25  # how long ``look`` waits for the feed before it reads from the broker itself


def _size_bytes(record: Record) -> int:
    return len(record.key or b"") + len(record.value or b"") + _RECORD_OVERHEAD_BYTES


@dataclass(slots=True, eq=False)
class _Places:
    """Where a key stands: the numbers of its blocks, ascending. Block n has the offsets from n * index_block on."""

    key: bytes
    blocks: list[int]


class Index:
    """Which keys stand where in one partition, complete from ``start`` to the feed's live position.

    It may name a place where the key is not (compaction or retention took the record), but misses none where it is.
    """

    def __init__(self, start: int, limits: TailLimits) -> None:
        self.start = start
        self.full = False  # it has given up old blocks to keep its bound, and would do so with any that are older
        self._limits = limits
        self._width = limits.index_block
        self._places: dict[bytes, _Places] = {}
        self._blocks: deque[tuple[int, list[_Places]]] = deque()  # ascending, without those that have no keys
        self._size_bytes = 0

    def add(self, record: Record) -> None:
        """The feed delivers ``record``. For each record that is written anywhere, so it does little."""
        if record.key is None:
            return
        number = record.offset // self._width
        places = self._places.get(record.key)
        if places is not None and places.blocks[-1] == number:
            return
        if not self._blocks or self._blocks[-1][0] != number:
            self._blocks.append((number, []))
            self._size_bytes += _BLOCK_BYTES
        places = places or self._enter(record.key)
        places.blocks.append(number)
        self._blocks[-1][1].append(places)
        self._size_bytes += _PLACE_BYTES
        self._keep_bound()

    def extend(self, start: int, records: Iterable[Record]) -> None:
        """All records from the new ``start`` to the present one, the newest first."""
        self.start = start
        for record in records:
            if record.key is None:
                continue
            number = record.offset // self._width
            places = self._places.get(record.key)
            if places is not None and places.blocks[0] == number:
                continue
            if not self._blocks or self._blocks[0][0] != number:
                self._blocks.appendleft((number, []))
                self._size_bytes += _BLOCK_BYTES
            places = places or self._enter(record.key)
            places.blocks.insert(0, number)
            self._blocks[0][1].append(places)
            self._size_bytes += _PLACE_BYTES
        self._keep_bound()

    def find(self, key: bytes, position: int) -> tuple[int, int] | None:
        """Where ``key`` may stand next, at or after ``position``: from an offset, and how many offsets on.

        None: nowhere. Offsets without the key lie between, where it stands here and there in a page.
        """
        places = self._places.get(key)
        blocks = places.blocks if places is not None else ()
        at = bisect_left(blocks, position // self._width)
        if at == len(blocks):
            return None
        first = max(position, blocks[at] * self._width)
        end = (blocks[at] + 1) * self._width
        while (at := at + 1) < len(blocks) and end - first < self._limits.page_records:
            if blocks[at] > blocks[at - 1] + _GAP_BLOCKS:
                break
            end = (blocks[at] + 1) * self._width
        return first, min(end - first, self._limits.page_records)

    def _enter(self, key: bytes) -> _Places:
        self._places[key] = places = _Places(key, [])
        self._size_bytes += _KEY_OVERHEAD_BYTES + len(key)
        return places

    def _keep_bound(self) -> None:
        while self._size_bytes > self._limits.index_bytes and len(self._blocks) > 1:
            number, oldest = self._blocks.popleft()
            self._size_bytes -= _BLOCK_BYTES + _PLACE_BYTES * len(oldest)
            for places in oldest:
                del places.blocks[0]
                if not places.blocks:
                    del self._places[places.key]
                    self._size_bytes -= _KEY_OVERHEAD_BYTES + len(places.key)
            self.start = max(self.start, (number + 1) * self._width)
            self.full = True


class Feed:
    """The live records of one partition: its position, its ring of recent records, its index, its readers by key."""

    def __init__(self, tails: "Tails", at: Partition, position: int, topic_id: str) -> None:
        self.at = at
        self.position = position  # the next record delivered has this offset or a higher one
        self.topic_id = topic_id
        self.replaced = False  # the log is another one now
        self.ring_start = position  # the ring holds all records from here to position
        self.index = Index(position, tails.limits)
        self.scan = Scan(tails, self)
        self.idle_since = 0.0  # loop time at which the last reader left
        self._tails = tails
        self._limits = tails.limits
        self._ring: deque[Record] = deque()
        self._ring_bytes = 0
        self._by_key: dict[bytes | None, set[Tail]] = {}  # live readers of one key
        self._of_all: set[Tail] = set()  # live readers of every key
        self._open: set[Tail] = set()
        self._moved: asyncio.Future[None] | None = None

    @property
    def tails(self) -> set["Tail"]:
        """Readers that are open, live or behind."""
        return self._open

    def check(self) -> None:
        """Raise LogReplacedError if the log is another one now."""
        if self.replaced:
            raise LogReplacedError(f"{self.at.topic}-{self.at.partition} was created anew or cut short")

    def replace(self) -> None:
        """The log is another one now. Given to ``LogClient.follow``; readers that wait for records are told."""
        self.replaced = True
        self._tails.dropped(self)
        for tail in self._open:
            tail.wake()
        self._wake()

    def _wake(self) -> None:
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)

    def deliver(self, records: Sequence[Record]) -> None:
        """Take new records in offset order. Given to ``LogClient.follow``; neither waits nor raises."""
        touched: set[Tail] = set()
        for record in records:
            if record.offset < self.position:
                continue  # a broker that comes back may repeat; each record goes out once
            self._keep(record)
            self.index.add(record)
            self.position = record.offset + 1
            for tail in (*self._by_key.get(record.key, ()), *self._of_all):
                tail.push(record)
                touched.add(tail)
        for tail in touched:
            tail.wake()
        self._wake()

    def _keep(self, record: Record) -> None:
        self._ring.append(record)
        self._ring_bytes += _size_bytes(record)
        while len(self._ring) > self._limits.ring_records or self._ring_bytes > self._limits.ring_bytes:
            dropped = self._ring.popleft()
            self._ring_bytes -= _size_bytes(dropped)
            self.ring_start = dropped.offset + 1

    def recent(self, position: int, wanted: "Tail") -> list[Record] | None:
        """Records that ``wanted`` wants from ``position`` to the live position; None if the ring starts later."""
        if position < self.ring_start:
            return None
        found: list[Record] = []
        for record in reversed(self._ring):  # a reader is mostly a few records behind: look from the end
            if record.offset < position:
                break
            if wanted.wants(record):
                found.append(record)
        found.reverse()
        return found

    def add(self, tail: "Tail") -> None:
        """From now on ``tail`` gets its records pushed."""
        readers = self._of_all if tail.key is None else self._by_key.setdefault(tail.key, set())
        readers.add(tail)

    def drop(self, tail: "Tail") -> None:
        """``tail`` gets nothing pushed any more."""
        if tail.key is None:
            self._of_all.discard(tail)
        elif readers := self._by_key.get(tail.key):
            readers.discard(tail)
            if not readers:
                del self._by_key[tail.key]

    async def reach(self, position: int, timeout: float) -> None:  # noqa: ASYNC109 - a bound, not a scope
        """Wait until the live position is at ``position``, or ``timeout`` seconds have gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.position < position and not self.replaced:
                    if self._moved is None or self._moved.done():
                        self._moved = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._moved)  # others may wait for the same future


class Scan:
    """Extends the index of a feed backwards, window by window, while a reader waits for what is older.

    The index is whole after each window, so an error or a reader that leaves costs nothing that was read. What fails
    fails for all that wait, at once: each of them would only wait for the same broker again.
    """

    def __init__(self, tails: "Tails", feed: Feed) -> None:
        self._tails = tails
        self._feed = feed
        self._waiters: list[tuple[Tail, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def reach(self, tail: "Tail") -> None:
        """Wait until the index holds everything from the tail's position on, or can hold no more.

        Raises:
            LogError: reading from the broker failed.
        """
        if not self._wanted(tail):
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((tail, waiter))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name=f"tails: index {self._feed.at}")
        await waiter

    async def stop(self) -> None:
        """Let everybody go. Never raises."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _wanted(self, tail: "Tail") -> bool:
        index = self._feed.index
        return tail.position < index.start and not index.full and not tail.closed

    async def _run(self) -> None:
        width = self._tails.limits.page_records
        try:
            while self._release():
                width = await self._window(width)
        except Exception as error:  # noqa: BLE001 - whatever it is, the readers that wait get it
            self._release(error)
        finally:
            self._release(all_of_them=True)
            self._running = None

    def _release(self, error: Exception | None = None, *, all_of_them: bool = False) -> bool:
        """Let readers go that have what they want, or all of them. Whether one is left."""
        waiters, self._waiters = self._waiters, []
        for tail, waiter in waiters:
            if waiter.done():  # cancelled
                continue
            if all_of_them or not self._wanted(tail):
                waiter.set_result(None)
            elif error is not None:
                waiter.set_exception(error)
            else:
                self._waiters.append((tail, waiter))
        return bool(self._waiters)

    async def _window(self, width: int) -> int:
        """Index the offsets below the index's start, ``width`` of them. Returns how many to take the next time."""
        at, index, page = self._feed.at, self._feed.index, self._tails.limits.page_records
        end = index.start
        start = position = max(0, end - width)
        records: list[Record] = []
        while position < end:
            read = await self._tails.read(at, position, min(page, end - position), end)
            records += (record for record in read if record.offset < end)
            position = read[-1].offset + 1 if read else end
        if not records and (await self._tails.client.bounds(at)).start >= end:
            start = 0  # retention took it all
        if not index.full:  # else its start has moved up meanwhile
            index.extend(start, reversed(records))
        return page if records else min(2 * width, _WINDOW_PAGES * page)  # a hole


class Tail:
    """One reader: the records of one partition, of one key or of all, from a position on.

    For one task at a time. Iterate over it, or call `next`, `catch_up` and `look`; each record is given once, in
    offset order, whichever of them gives it. Use it as an async context manager, or call `close`.
    """

    def __init__(
        self,
        tails: "Tails",
        at: Partition,
        position: int | None,
        key: bytes | None,
        *,
        topic_id: str,
        page_records: int | None,
    ) -> None:
        self.at = at
        self.key = key
        self._topic_id = topic_id
        self._tails = tails
        self._page_records = page_records or tails.limits.page_records
        self._limits = tails.limits
        self._start = position
        self._position = position or 0  # when behind: the next offset to look at; when live: a floor
        self._feed: Feed | None = None
        self._live = False
        self._closed = False
        self._queue: deque[Record] = deque()
        self._queue_bytes = 0
        self._waiter: asyncio.Future[bool] | None = None
        self._alarm: Alarm | None = None

    # -- the owner's side

    @property
    def position(self) -> int:
        """The next offset to look at: every record below it that is wanted has been given."""
        if self._queue:
            return self._queue[0].offset
        return max(self._position, self.feed.position) if self._live else self._position

    @property
    def caught_up(self) -> bool:
        """Whether everything below the feed's live position has been given."""
        return self._feed is not None and self.position >= self._feed.position

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the tails were stopped."""
        return self._closed

    async def next(self, timeout: float | None = None) -> list[Record]:  # noqa: ASYNC109 - part of the contract
        """The next records, at least one; empty when none came within ``timeout`` seconds, or after `close`.

        Cancelling it loses nothing.

        Args:
            timeout: seconds to wait for records; None waits until there are some or the tail is closed.

        Raises:
            LogReplacedError: the log is another one than it was when the tail was opened.
            LogError: reading older records from the broker failed; the position stands, call again.
        """
        self.feed.check()
        if self._queue:  # the common case under load, without a timer
            return self._take()
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        while self._live and not self._queue:
            if not await self._wait(deadline):
                return []
            self.feed.check()
        if self._queue:
            return self._take()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while not self._closed:
                    if records := await self._step():
                        return records
                    if self._live and not self._queue:
                        await self._wait(None)
        return self._take() if self._live else []

    async def page(self) -> list[Record]:
        """The next records that are there, at most one page of them; empty once everything there is has been given.

        It waits for no record that is yet to come.

        Raises:
            LogError: reading older records from the broker failed; the position stands, call again.
        """
        while not self._closed and not self.caught_up:
            if records := await self._step():
                return records
        return []

    def give_back(self, records: Sequence[Record]) -> None:
        """Undo: the records of the last page, or the rest of it, are given again by the next call."""
        self._give_back(records)

    async def catch_up(self) -> list[Record]:
        """All wanted records from `position` up to the feed's live position at the time of the call.

        After it, `position` is at least that live position. It waits for no record that is yet to come, and costs no
        broker call when the tail is live or in the ring. A record that is durable but that the feed has not seen yet
        (milliseconds) may be missing: see `look`. The answer is held in memory, so use it with a key.

        Raises:
            LogReplacedError: as for `next`.
            LogError: reading from the broker failed. What was read is given by the next call.
        """
        return await self._read_to(self.feed.position)

    async def look(self) -> list[Record]:
        """All wanted records from `position` up to the log's end, as the broker states it after the call began.

        No record that was acknowledged to any writer before this call is missing from what this tail has given once
        it returns.

        Raises:
            LogReplacedError: as for `next`.
            LogError: asking the broker or reading from it failed. What was read is given by the next call.
        """
        end = (await self._tails.client.bounds(self.at)).end
        await self.feed.reach(end, self._limits.look_wait_s)
        if self.feed.position < end and self._live:
            self._fall_behind()  # the feed is stuck or the rest is a hole: read it ourselves
        return await self._read_to(end)

    async def close(self) -> None:
        """Stop reading. A `next` that waits returns at once."""
        self._closed = True
        if self._feed is not None:
            self._feed.drop(self)
            self._tails.left(self._feed, self)
        self._queue.clear()
        self._live = False
        if self._alarm is not None:
            self._alarm.close()
        self.wake()

    async def __aenter__(self) -> Self:
        """Follow the partition; with no position given, start at the live end.

        Raises:
            LogReplacedError: the log has never reached the position, or is another one than it was found in.
            LogError: the partition cannot be followed.
        """
        self._feed = feed = await self._tails.join(self)
        try:
            await self._check_start(feed)
        except BaseException:
            await self.close()
            raise
        self._position = feed.position if self._start is None else self._start
        if self._position >= feed.position:
            self._go_live()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[list[Record]]:
        while not self._closed:
            if records := await self.next():
                yield records

    async def _check_start(self, feed: Feed) -> None:
        """Raise LogReplacedError where the start is no position in this log."""
        name = f"{self.at.topic}-{self.at.partition}"
        if self._topic_id and feed.topic_id and self._topic_id != feed.topic_id:
            raise LogReplacedError(f"{name} was created anew since the position was taken")
        # The feed may be a moment behind the log's end.
        if self._start is not None and self._start > feed.position:
            end = (await self._tails.client.bounds(self.at)).end
            if self._start > end:
                raise LogReplacedError(f"{name} ends at {end}, and has no position {self._start}")
        feed.check()

    # -- the feed's side

    @property
    def feed(self) -> Feed:
        """The feed of this tail's partition."""
        if self._feed is None:
            raise RuntimeError("the tail is not open: use 'async with tails.open(...)'")
        return self._feed

    def wants(self, record: Record) -> bool:
        """Whether this reader is to be given ``record``."""
        return self.key is None or record.key == self.key

    def push(self, record: Record) -> None:
        """Take one live record; fall behind when the queue is full."""
        if not self._live or record.offset < self._position:
            return
        self._queue.append(record)
        self._queue_bytes += _size_bytes(record)
        full = len(self._queue) > self._limits.queue_records or self._queue_bytes > self._limits.queue_bytes
        if full:
            self._fall_behind()

    def wake(self) -> None:
        """Let a waiting `next` look again."""
        self._wake(there_is_more=True)

    def _wake(self, *, there_is_more: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(there_is_more)

    # -- states

    def _go_live(self) -> None:
        self._live = True
        self.feed.add(self)

    def _fall_behind(self) -> None:
        self._position = self.position
        self._queue.clear()
        self._queue_bytes = 0
        self._live = False
        self.feed.drop(self)

    def _take(self) -> list[Record]:
        records = list(self._queue)
        self._queue.clear()
        self._queue_bytes = 0
        return records

    async def _wait(self, deadline: float | None) -> bool:
        """Wait to be woken; False when it is ``deadline`` (loop time) first."""
        if self._waiter is not None:
            raise RuntimeError("a tail has one reader: another task is waiting on it")
        self._waiter = asyncio.get_running_loop().create_future()
        if deadline is not None:
            self._alarm = self._alarm or Alarm(partial(self._wake, there_is_more=False))
            self._alarm.set(deadline)
        try:
            return await self._waiter
        finally:
            self._waiter = None
            if self._alarm is not None:
                self._alarm.clear()

    async def _step(self, known_end: int = 0) -> list[Record]:
        """What can be had now: the queue, the ring, or one page from the broker. Goes live when it gets there.

        Args:
            known_end: an end of the log that was asked for earlier. An empty read then means that there is nothing
                below it, whatever the offsets say: compaction leaves holes.
        """
        feed = self.feed
        feed.check()
        if self._live:
            return self._take()
        limit = self._page_records
        if self.key is not None:
            if self._position < feed.ring_start:
                await feed.scan.reach(self)
                feed.check()
                if self._closed:
                    return []
            limit = min(self._skip(self.key), self._page_records)
        recent = feed.recent(self._position, self)
        if recent is not None and len(recent) <= self._page_records:
            self._position = max(self._position, feed.position)
            self._go_live()
            return recent
        if recent is not None:
            page = recent[: self._page_records]
            self._position = page[-1].offset + 1
            return page
        known_end = max(known_end, feed.position)
        read = await self._tails.read(self.at, self._position, limit, known_end)
        feed.check()
        self._position = read[-1].offset + 1 if read else max(self._position, known_end)
        return [record for record in read if self.wants(record)]

    def _skip(self, key: bytes) -> int:
        """Go to the next place of ``key``, or to the live position. Returns how many records to read from there."""
        feed = self.feed
        if self._position < feed.index.start:
            return self._limits.page_records
        place = feed.index.find(key, self._position)
        self._position, limit = place or (max(self._position, feed.position), self._limits.page_records)
        return limit

    async def _read_to(self, end: int) -> list[Record]:
        found: list[Record] = []
        try:
            self.feed.check()
            while self.position < end and not self._closed:
                if self._live and not self._queue:
                    self._fall_behind()  # the feed has not come this far: what is missing is in the log
                    found += await self._page(end)
                else:
                    found += await self._step(end)
        except BaseException:
            self._give_back(found)
            raise
        return found

    async def _page(self, end: int) -> list[Record]:
        read = await self._tails.read(self.at, self._position, self._limits.page_records, end)
        self.feed.check()
        self._position = read[-1].offset + 1 if read else max(self._position, end)
        return [record for record in read if self.wants(record)]

    def _give_back(self, records: Iterable[Record]) -> None:
        """Undo: the records were taken but not given, so the next call begins with the first of them."""
        first = next(iter(records), None)
        if first is None:
            return
        if self._live:
            self._fall_behind()
        self._position = min(self._position, first.offset)


class Tails:
    """The tails of one process: a feed for each partition that is read, shared by all its readers.

    Args:
        client: the log, of either broker. It is the caller's to start and stop.
        limits: what may be held in memory.
    """

    def __init__(self, client: LogClient, limits: TailLimits | None = None) -> None:
        self.client = client
        self.limits = limits or TailLimits()
        self._feeds: dict[Partition, Feed] = {}
        self._locks: dict[Partition, asyncio.Lock] = {}  # one entry per partition of the topics read
        self._reads = asyncio.Semaphore(self.limits.reads)
        self.turns = asyncio.Semaphore(self.limits.turns)
        self.memory = Memory(self.limits.memory_bytes)
        self._sweeper: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Begin. Partitions are followed from their first reader on."""
        self._stopped = False
        self._sweeper = asyncio.create_task(self._sweep(), name="tails: unfollow idle partitions")

    async def stop(self) -> None:
        """Close every tail and unfollow every partition. Never raises."""
        self._stopped = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for at, feed in list(self._feeds.items()):
            for tail in list(feed.tails):
                await tail.close()
            await feed.scan.stop()
            await self._unfollow(at, feed)

    @property
    def readers(self) -> int:
        """How many tails are open."""
        return sum(len(feed.tails) for feed in self._feeds.values())

    def open(
        self,
        at: Partition,
        position: int | None = None,
        key: bytes | None = None,
        *,
        topic_id: str = "",
        page_records: int | None = None,
    ) -> Tail:
        """A reader of ``at``; enter it with ``async with``.

        Args:
            at: the partition.
            position: the first offset to look at; None is the live end when it is entered.
            key: give only the records with this key; None gives all.
            topic_id: of the topic in which the position was found, where that is known.
            page_records: records of one page that it reads; None is ``TailLimits.page_records``.
        """
        return Tail(self, at, position, key, topic_id=topic_id, page_records=page_records)

    async def end(self, at: Partition) -> Place:
        """The next offset that the live feed will deliver: the log's end, or a little less.

        No broker call when the partition is followed already; else it is from now on.
        """
        feed = await self._feed(at)
        return Place(feed.position, feed.topic_id)

    # -- for Tail

    async def join(self, tail: Tail) -> Feed:
        """The feed that ``tail`` reads from now on."""
        feed = await self._feed(tail.at)
        feed.tails.add(tail)  # no await since _feed looked: the sweeper cannot have taken it
        return feed

    def left(self, feed: Feed, tail: Tail) -> None:
        """``tail`` was closed."""
        feed.tails.discard(tail)
        feed.idle_since = asyncio.get_running_loop().time()

    def dropped(self, feed: Feed) -> None:
        """The client follows ``feed`` no more: the log is another one now."""
        if self._feeds.get(feed.at) is feed:
            del self._feeds[feed.at]

    async def read(self, at: Partition, position: int, limit: int, known_end: int) -> list[Record]:
        """One page from the broker; only so many at a time.

        Nothing there means nothing to come below ``known_end``, an end that the log has had: holes. But a broker that
        has just become the leader may not know yet how far the log goes, and stepping over that would lose records.

        Raises:
            LogUnavailableError: the broker says that the log ends before ``known_end``.
        """
        async with self._reads:
            await asyncio.sleep(0)  # a log that does not wait for its file must not keep others waiting page after page
            records = await self.client.read(at, position, limit=limit)
            if not records and position < known_end and (end := (await self.client.bounds(at)).end) < known_end:
                raise LogUnavailableError(f"{at.topic}-{at.partition} was at {known_end} and is back at {end}")
            return records

    # -- feeds

    async def _feed(self, at: Partition) -> Feed:
        if feed := self._feeds.get(at):
            feed.idle_since = asyncio.get_running_loop().time()
            return feed
        async with self._locks.setdefault(at, asyncio.Lock()):
            if self._stopped:
                raise LogError("the tails were stopped")
            if feed := self._feeds.get(at):
                return feed
            # In this order: an older id with a newer end refuses positions that are right, and never takes wrong ones.
            topic_id = await self.client.topic_id(at.topic)
            end = (await self.client.bounds(at)).end
            feed = Feed(self, at, end, topic_id)
            feed.idle_since = asyncio.get_running_loop().time()
            await self.client.follow(at, end, feed.deliver, feed.replace)
            if not feed.replaced:
                self._feeds[at] = feed
            return feed

    async def _unfollow(self, at: Partition, feed: Feed) -> None:
        async with self._locks.setdefault(at, asyncio.Lock()):
            if feed.tails or self._feeds.get(at) is not feed:
                return
            del self._feeds[at]
            try:
                await self.client.unfollow(at)
            except LogError as error:
                logger.warning("cannot unfollow %s-%d: %s", at.topic, at.partition, error)

    async def _sweep(self) -> None:
        """Unfollow partitions that had no reader for ``linger_s``."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self.limits.linger_s / 2, 30.0))
            for at, feed in list(self._feeds.items()):
                if not feed.tails and loop.time() - feed.idle_since >= self.limits.linger_s:
                    await self._unfollow(at, feed)
