"""One reader of one partition: the records of one key or of all, from a position on, each once and in offset order.

A tail is in one of two states:

* **live**: it is in the feed's table of readers, and the feed puts its records into its queue. The queue is bounded:
  when a slow reader fills it, the queue is dropped and the reader falls behind, at the position of the first record
  that it did not get. So a slow reader delays only itself.
* **behind**: it reads on from its own position when its owner asks for records: from the feed's ring of recent
  records where that reaches back far enough, else page by page from the broker (``LogClient.read``), keeping its key.

A reader that is behind goes live in one step without an await: it checks that the ring holds everything from its
position on, takes the rest of the ring, and enters the table. No record can be delivered in between, so there is
neither a gap nor a duplicate. Falling behind is the same step backwards.

A reader of one key does not read the records of other keys. The feed keeps an `Index` of each key's places, from
``Index.start`` to the live position, and the reader goes from one place of its key to the next, and live after the
last. A reader at an older position waits until a `Scan` has extended the index backwards. Once the index has had to
drop its oldest part it grows backwards no more, and a reader at an older position reads page by page up to its start.

Records are taken before they are given. A failed or cancelled call resets the position to the first record that was
taken, so the next call begins with it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from weir.log.log import LogReplacedError, Partition, Record
from weir.log.tails.feed import Feed
from weir.log.tails.limits import TailLimits, size_bytes
from weir.log.tails.pages import LogPages
from weir.timing import Alarm, Turn


class Tail:
    """One reader: the records of one partition, of one key or of all, from a position on.

    For one task at a time. Iterate over it, or call `next`, `catch_up` and `look`; each record is given once, in
    offset order, whichever of them gives it. Use it as an async context manager, or call `close`.

    Args:
        at: the partition.
        position: the first offset to look at; None is the live end when it is entered.
        key: give only the records with this key; None gives all.
        topic_id: the id of the topic in which the position was found; empty if it is not known.
        page_records: records of one page that it reads; None is ``TailLimits.page_records``.
        limits: limits on memory.
        pages: the pages from which it reads records that the feed's ring does not hold.
        follow: returns the feed of a partition. Raises LogError.
    """

    def __init__(
        self,
        at: Partition,
        position: int | None,
        key: bytes | None,
        *,
        topic_id: str,
        page_records: int | None,
        limits: TailLimits,
        pages: LogPages,
        follow: Callable[[Partition], Awaitable[Feed]],
    ) -> None:
        self.at = at
        self.key = key
        self._topic_id = topic_id
        self._pages = pages
        self._follow = follow
        self._page_records = page_records or limits.page_records
        self._limits = limits
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
        """The next offset to look at: every wanted record below it has been given."""
        if self._queue:
            return self._queue[0].offset
        return max(self._position, self.feed.position) if self._live else self._position

    @property
    def caught_up(self) -> bool:
        """Whether every wanted record below the feed's live position has been given."""
        return self._feed is not None and self.position >= self._feed.position

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the tails were stopped."""
        return self._closed

    async def next(self, timeout: float | None = None) -> list[Record]:  # noqa: ASYNC109 - part of the contract
        """The next records, at least one; empty when none came within ``timeout`` seconds, or after `close`.

        Cancelling it loses no record.

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
        """The next records that are there, at most one page of them; empty once every record there has been given.

        It waits for no record that is yet to come.

        Raises:
            LogError: reading older records from the broker failed; the position stands, call again.
        """
        while not self._closed and not self.caught_up:
            if records := await self._step():
                return records
        return []

    async def pages(self, upto: int | None = None) -> AsyncIterator[list[Record]]:
        """The records that are there, page by page, with turns of the event loop for other tasks between the pages.

        Args:
            upto: no page is asked for from this offset on; the last page may go further.

        Raises:
            LogError: as for `page`.
        """
        turn = Turn()
        while (upto is None or self.position < upto) and (records := await self.page()):
            yield records
            if turn.over():  # a page of recent records costs no wait
                await turn.end()

    def give_back(self, records: Sequence[Record]) -> None:
        """Undo: the next call gives the records of the last page, or the rest of it, again."""
        self._give_back(records)

    async def catch_up(self) -> list[Record]:
        """All wanted records from `position` up to the feed's live position at the time of the call.

        After it, `position` is at least that live position. It waits for no record that is yet to come, and costs no
        broker call when the tail is live or in the ring. A durable record that the feed has not seen yet (milliseconds)
        may be missing: see `look`. The answer is held in memory, so use it with a key.

        Raises:
            LogReplacedError: as for `next`.
            LogError: reading from the broker failed. The next call gives the records read so far.
        """
        return await self._read_to(self.feed.position)

    async def look(self) -> list[Record]:
        """All wanted records from `position` up to the log's end, as the broker states it after the call began.

        No record that was acknowledged to any writer before this call is missing from what this tail has given once
        it returns.

        Raises:
            LogReplacedError: as for `next`.
            LogError: asking the broker or reading from it failed. The next call gives the records read so far.
        """
        end = (await self._pages.bounds(self.at)).end
        await self.feed.reach(end, self._limits.look_wait_s)
        if self.feed.position < end and self._live:
            self._fall_behind()  # the feed is stuck or the rest is a hole: read from the broker
        return await self._read_to(end)

    async def close(self) -> None:
        """Stop reading. A `next` that waits returns at once."""
        self._closed = True
        if self._feed is not None:
            self._feed.leave(self)
        self._queue.clear()
        self._live = False
        if self._alarm is not None:
            self._alarm.close()
        self.wake()

    async def __aenter__(self) -> Self:
        """Follow the partition; with no position given, start at the live end.

        Raises:
            LogReplacedError: the log has never reached the position, or is another one than that of the position.
            LogError: the partition cannot be followed.
        """
        self._feed = feed = await self._follow(self.at)
        feed.join(self)  # no await since the feed was looked up: it cannot have been given up as idle
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
        """Raise LogReplacedError if the start is not a position in this log."""
        name = f"{self.at.topic}-{self.at.partition}"
        if self._topic_id and feed.topic_id and self._topic_id != feed.topic_id:
            raise LogReplacedError(f"{name} was recreated since the position was taken")
        # The feed may be a moment behind the log's end.
        if self._start is not None and self._start > feed.position:
            end = (await self._pages.bounds(self.at)).end
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
        """Whether the reader wants a record."""
        return self.key is None or record.key == self.key

    def push(self, record: Record) -> None:
        """Take one live record; fall behind when the queue is full."""
        if not self._live or record.offset < self._position:
            return
        self._queue.append(record)
        self._queue_bytes += size_bytes(record)
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
        """Wait to be woken; False at the ``deadline`` (loop time)."""
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
        """The records available now: the queue, the ring, or one page from the broker. Goes live when it gets there.

        Args:
            known_end: an end of the log that was asked for earlier. An empty read then means that there is no record
                below it, whatever the offsets: compaction leaves holes.
        """
        feed = self.feed
        feed.check()
        if self._live:
            return self._take()
        limit = self._page_records
        if self.key is not None:
            if self._position < feed.ring.start:
                await feed.scan.reach(self)
                feed.check()
                if self._closed:
                    return []
            limit = min(self._skip(self.key), self._page_records)
        recent = feed.ring.since(self._position, self.key)
        if recent is not None and len(recent) <= self._page_records:
            self._position = max(self._position, feed.position)
            self._go_live()
            return recent
        if recent is not None:
            page = recent[: self._page_records]
            self._position = page[-1].offset + 1
            return page
        known_end = max(known_end, feed.position)
        read = await self._pages.read(self.at, self._position, limit, known_end)
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
                    self._fall_behind()  # the feed has not come this far: the missing records are in the log
                    found += await self._page(end)
                else:
                    found += await self._step(end)
        except BaseException:
            self._give_back(found)
            raise
        return found

    async def _page(self, end: int) -> list[Record]:
        read = await self._pages.read(self.at, self._position, self._limits.page_records, end)
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
