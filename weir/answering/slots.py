"""The worker's slots for answers in flight."""

import asyncio
from collections import deque


class Slots:
    """The worker's slots for answers in flight: a semaphore that also has an acquire without waiting."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    def acquire_nowait(self) -> bool:
        """Take a slot if one is free; return whether there was one."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def acquire(self) -> None:
        """Take a slot, after the tasks that wait for one already."""
        if self.acquire_nowait():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # this task had the slot already
                self.release()
            raise

    def release(self) -> None:
        """Hand a slot to the next waiting task, or keep it free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Slot:
    """One of the worker's slots for an answer in flight. Taking twice or giving back twice is harmless."""

    def __init__(self, slots: Slots, *, held: bool = False) -> None:
        self._slots = slots
        self._held = held

    @property
    def held(self) -> bool:
        """Whether the slot is held; without it, a task only follows, or waits to begin."""
        return self._held

    async def take(self) -> None:
        """Wait for a slot, unless one is held."""
        if not self._held:
            await self._slots.acquire()
            self._held = True

    def give_back(self) -> None:
        """Free the slot for another task."""
        if self._held:
            self._held = False
            self._slots.release()
