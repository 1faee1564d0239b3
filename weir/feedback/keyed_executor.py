"""Runs work for many keys at once, and one piece after the other for each key."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

logger = logging.getLogger(__name__)

WAITING_MAX = 10_000  # pieces of work that were begun without a wait; only a log that is away for long makes so many


class KeyedExecutor:
    """Runs work in tasks, so that work that waits for the log blocks only its own key."""

    def __init__(self, at_once: int) -> None:
        self._room = asyncio.Semaphore(at_once)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run work after all earlier work of the key; returns when there is room for it.

        The work runs in a copy of the caller's context: a table is changed under an event.
        """
        await self._room.acquire()
        self._begin(key, work).add_done_callback(lambda _: self._room.release())

    def begin_now(self, key: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Run work like `begin`, for a caller that must not wait; return False if far too much work waits already."""
        if len(self._tasks) >= WAITING_MAX:
            return False
        self._begin(key, work)
        return True

    async def drain(self, seconds: float) -> None:
        """Let running work end within ``seconds``; the rest goes to the next owner."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, key: str, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        lock = self._locks.setdefault(key, asyncio.Lock())
        task = asyncio.create_task(self._run(lock, work))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    @staticmethod
    async def _run(lock: asyncio.Lock, work: Callable[[], Awaitable[None]]) -> None:
        async with lock:
            await work()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a defect", exc_info=error)
