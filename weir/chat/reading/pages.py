"""What readers hold of answers: one page each, and what is large within a bound for all of them together."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from weir.chat.reading.delivery import Delivery
from weir.errors import UnavailableError
from weir.log.log import LogUnavailableError, Record
from weir.log.memory import Memory
from weir.log.tails import Tail, Tails

PAGE_RECORDS = 128  # of a reader that is behind: with a token in each record, about 64 KiB
LARGE_PAGE_BYTES = 128 << 10  # a page beyond it is counted in the memory of all readers
FRAME_BYTES, CHUNK_BYTES = 300, 300  # of a record beside the text of its chunks, roughly
COPIES = 3  # of a large page: as it stands in the log, decoded, and as it is sent


class ReaderPages:
    """What a reader reads, a page at a time, so that it holds one page at most.

    The page is gone when the next one is asked for. So a client that does not read costs a place in the log, and what
    its connection buffers. Readers that are behind take turns; and a page that is large is taken out of the memory of
    all readers: while there is no room for it, its reader waits, and holds none of it.
    """

    def __init__(self, tails: Tails, tail: Tail) -> None:
        self._turns, self._memory, self._tail = tails.turns, tails.memory, tail
        self._held_bytes = 0
        self._wanted_bytes = 0  # of a page that there was no room for

    def close(self) -> None:
        """Let go of the page."""
        self._memory.give_back(self._held_bytes)
        self._held_bytes = 0

    async def more(self, idle_s: float) -> list[Record]:
        """The next records; none where none came, or none could be held, within ``idle_s`` seconds.

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
            await asyncio.sleep(0)  # a page of recent records costs no wait, and those of other readers come between
            records = await self._tail.page()
        if self._tail.closed:
            raise LogUnavailableError("the tails were stopped")
        return records


async def next_of(tail: Tail, idle_s: float) -> list[Record]:
    """The next records; a tail that was stopped gives none, at once and for ever, so that is an error."""
    records = await tail.next(timeout=idle_s)
    if tail.closed:
        raise LogUnavailableError("the tails were stopped")
    return records


async def counted(news: AsyncGenerator[Delivery, None], memory: Memory) -> AsyncGenerator[Delivery, None]:
    """The same deliveries, for a reader that keeps all of them: what is large is taken from the memory of all readers.

    Raises:
        UnavailableError: there is no room for the answer; what is read of it is let go.
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
