"""The scan of one partition: it extends the index backwards, once for all readers that wait for older records."""

import asyncio
from typing import Protocol

from weir.log.log import Partition, Record
from weir.log.tails.index import Index
from weir.log.tails.pages import LogPages

_WINDOW_PAGES = 64  # a scan's step over a hole grows up to so many pages


class Waiter(Protocol):
    """A scan's view of a reader that waits for it."""

    @property
    def position(self) -> int:
        """The next offset that the reader looks at."""

    @property
    def closed(self) -> bool:
        """Whether the reader has left."""


class Scan:
    """Extends the index of a partition backwards, window by window, while a reader waits for older records.

    The index is whole after each window, so an error or a reader that leaves costs no record that was read. An error
    fails all waiting readers at once: each of them would only wait for the same broker again.
    """

    def __init__(self, at: Partition, index: Index, pages: LogPages, page_records: int) -> None:
        self._at = at
        self._index = index
        self._pages = pages
        self._page_records = page_records
        self._waiters: list[tuple[Waiter, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def reach(self, reader: Waiter) -> None:
        """Wait until the index holds all records from the reader's position on, or can hold no more.

        Raises:
            LogError: reading from the broker failed.
        """
        if not self._wanted(reader):
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((reader, waiter))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name=f"tails: index {self._at}")
        await waiter

    async def stop(self) -> None:
        """End the scan, and release all readers that wait for it. Never raises."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _wanted(self, reader: Waiter) -> bool:
        index = self._index
        return reader.position < index.start and not index.full and not reader.closed

    async def _run(self) -> None:
        width = self._page_records
        try:
            while self._release():
                width = await self._window(width)
        except Exception as error:  # noqa: BLE001 - whatever the error is, the waiting readers get it
            self._release(error)
        finally:
            self._release(all_of_them=True)
            self._running = None

    def _release(self, error: Exception | None = None, *, all_of_them: bool = False) -> bool:
        """Release readers that have what they want, or all of them. Returns whether one is left."""
        waiters, self._waiters = self._waiters, []
        for reader, waiter in waiters:
            if waiter.done():  # cancelled
                continue
            if all_of_them or not self._wanted(reader):
                waiter.set_result(None)
            elif error is not None:
                waiter.set_exception(error)
            else:
                self._waiters.append((reader, waiter))
        return bool(self._waiters)

    async def _window(self, width: int) -> int:
        """Index the offsets below the index's start, ``width`` of them. Returns how many to take the next time."""
        at, index, page = self._at, self._index, self._page_records
        end = index.start
        start = position = max(0, end - width)
        records: list[Record] = []
        while position < end:
            read = await self._pages.read(at, position, min(page, end - position), end)
            records += (record for record in read if record.offset < end)
            position = read[-1].offset + 1 if read else end
        if not records and (await self._pages.bounds(at)).start >= end:
            start = 0  # retention removed all of it
        if not index.full:  # else its start has moved up meanwhile
            index.extend(start, reversed(records))
        return page if records else min(2 * width, _WINDOW_PAGES * page)  # a hole
