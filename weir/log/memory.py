"""Bounds the large records and bodies that all readers of a process hold at once.

Each reader has a bound of its own on small records and bodies. Larger ones count against one sum for all readers, so
that many readers of large answers cannot take all memory together.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Memory"]


class Memory:
    """Bytes that may be held at once.

    Args:
        limit_bytes: bytes of all holders together. A single holder may have more: else it could never be served.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._freed: asyncio.Future[None] | None = None

    def has_room(self, size_bytes: int) -> bool:
        """Whether so many bytes can be taken now."""
        return not size_bytes or not self.held_bytes or self.held_bytes + size_bytes <= self.limit_bytes

    def take(self, size_bytes: int) -> bool:
        """Take so many bytes, if there is room. Returns whether there was."""
        if not self.has_room(size_bytes):
            return False
        self.held_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Free bytes that were taken."""
        self.held_bytes -= size_bytes
        if size_bytes and self._freed is not None and not self._freed.done():
            self._freed.set_result(None)

    async def freed(self, within_s: float) -> None:
        """Wait until a reader has given bytes back, at most so long."""
        if self._freed is None or self._freed.done():
            self._freed = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.shield(self._freed)  # other readers may wait for the same future

    @asynccontextmanager
    async def held(self, size_bytes: int, within_s: float) -> AsyncIterator[None]:
        """Hold so many bytes for a block.

        Raises:
            TimeoutError: there was no room for them in time.
        """
        async with asyncio.timeout(within_s):
            while not self.take(size_bytes):
                await self.freed(within_s)
        try:
            yield
        finally:
            self.give_back(size_bytes)
