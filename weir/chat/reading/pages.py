"""The pages that readers hold of answers: one each, with one bound on large pages for all readers together."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from weir.chat.reading.delivery import Delivery
from weir.errors import UnavailableError
from weir.log.log import LogUnavailableError, Record
from weir.log.memory import Memory
from weir.log.tails import Tail, Tails

PAGE_RECORDS = 128  # of a reader that lags: with one token per record, about 64 KiB
LARGE_PAGE_BYTES = 128 << 10  # a larger page is counted in the memory of all readers
FRAME_BYTES, CHUNK_BYTES = 300, 300  # estimated size of a record, and of a chunk, without its text
COPIES = 3  # copies of a large page: as the log holds it, decoded, and as it is sent


class ReaderPages:
    """Reads an answer a page at a time, so that a reader holds one page at most.

    The page is released when the next one is asked for. So a client that does not read costs a position in the log, and
    the buffers of its connection. Readers that lag take turns; and a large page is taken from the memory of all
    readers: while there is no room for it, its reader waits without holding any of it.
    """

    def __init__(self, tails: Tails, tail: Tail) -> None:
        self._turns, self._memory, self._tail = tails.turns, tails.memory, tail
        self._held_bytes = 0
        self._wanted_bytes = 0  # size of a page that there was no room for

    def close(self) -> None:
        """Release the page."""
        self._memory.give_back(self._held_bytes)
        self._held_bytes = 0

    async def more(self, idle_s: float) -> list[Record]:
        """Return the next records; empty if none came, or none could be held, within ``idle_s`` seconds.

        Raises:
            LogError: the log cannot be read, or the tails were stopped.
        """
        self.close()
        if not self._memory.has_room(self._wanted_bytes):
            await self._memory.freed(idle_s)
            return []
        records = await next_of(self._tail, idle_s) if self._tail.caught_up else await self._page()
        size_bytes = sum(len(record.value or b"") for record in records)
        self._wanted_bytes = COPIES * size_bytes if size_bytes > LARGE_PAGE_BYTES else 0
        if self._memory.take(self._wanted_bytes):
            self._held_bytes, self._wanted_bytes = self._wanted_bytes, 0
            return records
        self._tail.give_back(records)
        return []

    async def _page(self) -> list[Record]:
        async with self._turns:
            await asyncio.sleep(0)  # a page of recent records costs no wait, so other readers get their turn here
            records = await self._tail.page()
        if self._tail.closed:
            raise LogUnavailableError("the tails were stopped")
        return records


async def next_of(tail: Tail, idle_s: float) -> list[Record]:
    """Return the next records. A stopped tail returns none, at once and for ever: that is an error here."""
    records = await tail.next(timeout=idle_s)
    if tail.closed:
        raise LogUnavailableError("the tails were stopped")
    return records


async def counted(news: AsyncGenerator[Delivery, None], memory: Memory) -> AsyncGenerator[Delivery, None]:
    """Yield the same deliveries, for a reader that keeps all: large ones are taken from the memory of all readers.

    Raises:
        UnavailableError: there is no room for the answer; the part that was read is released.
    """
    large_bytes = held_bytes = 0
    try:
        async with aclosing(news):
            async for delivery in news:
                large_bytes += max(0, delivery.size_bytes - FRAME_BYTES - CHUNK_BYTES * len(delivery.chunks))
                more_bytes = large_bytes - held_bytes
                if more_bytes > LARGE_PAGE_BYTES:
                    if not memory.take(more_bytes):
                        raise UnavailableError(
                            "Too much is being read by other clients to hold this answer as well; fetch it later.",
                            code="readers_memory",
                        )
                    held_bytes = large_bytes
                yield delivery
    finally:
        memory.give_back(held_bytes)
