"""Joins the frames of an answer to one JSON object, once for all its readers and without blocking the event loop.

A long answer has a hundred thousand chunks. They are added for a few milliseconds at a time, and the result is joined
and encoded on a thread, in slices: orjson lets no other thread run until it returns. When the last reader leaves, the
work is cancelled. A finished object is kept for the next reader, as far as there is room.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from weir.chat.completion import Completion
from weir.chat.reading.delivery import Delivery
from weir.errors import from_terminal
from weir.timing import Turn

KEPT_S: Final = 600.0  # at most: the log's retention decides how long an answer can be read
# characters, about; a larger answer takes a millisecond or more to encode, so that happens on a thread
BESIDE_SIZE: Final = 262_144


async def assembled(news: AsyncGenerator[Delivery, None], uid: str) -> bytes:
    """Return the whole answer as a chat.completion object, in JSON.

    Raises:
        ApiError: the error that the request ended with, if it did not complete.
        LogError: the log cannot be read.
    """
    completion, turn = Completion(uid), Turn()
    async with aclosing(news):
        async for delivery in news:
            if delivery.restarted:
                completion = Completion(uid)
            for chunk in delivery.chunks:
                if turn.over():
                    await turn.end()
                completion.add(chunk)
            if delivery.terminal is not None and delivery.terminal.error is not None:
                raise from_terminal(delivery.terminal.error)
    if completion.size <= BESIDE_SIZE:
        return completion.encoded()
    return await asyncio.to_thread(completion.encoded)


@dataclass(slots=True)
class _Making:
    task: "asyncio.Task[bytes]"
    readers: int = 0


class Assembled:
    """The answers that were asked for last, put together, and those that are being put together now."""

    def __init__(self, max_bytes: int, max_age_s: float = KEPT_S) -> None:
        """Keep ``max_bytes`` of JSON at most, each answer for ``max_age_s`` since it was made."""
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._kept: OrderedDict[object, tuple[bytes, float]] = OrderedDict()  # each with the time at which it was made
        self._kept_bytes = 0
        self._making: dict[object, _Making] = {}

    async def get(self, key: object, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the answer of ``key``: kept, being made for another reader, or made now by ``make``.

        Raises:
            Exception: any error of ``make``; it is not kept.
        """
        kept = self._of_late(key)
        if kept is not None:
            return kept
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = _Making(asyncio.create_task(self._make(key, make)))
            making.task.add_done_callback(_seen)
        making.readers += 1
        try:
            return await asyncio.shield(making.task)
        finally:
            making.readers -= 1
            if not making.readers and not making.task.done():
                self._forget(key, making.task)  # the next reader starts from the beginning
                making.task.cancel()

    async def _make(self, key: object, make: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            body = await make()
            self._keep(key, body)
            return body
        finally:
            self._forget(key, asyncio.current_task())

    def _forget(self, key: object, task: "asyncio.Task[bytes] | None") -> None:
        if key in self._making and self._making[key].task is task:
            del self._making[key]

    def _of_late(self, key: object) -> bytes | None:
        """Return an answer that is kept; remove it if it is too old."""
        body, made_at = self._kept.get(key, (None, 0.0))
        if body is None:
            return None
        if time.monotonic() - made_at >= self._max_age_s:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return body

    def _keep(self, key: object, body: bytes) -> None:
        if len(body) > self._max_bytes:
            return
        self._drop(key)
        self._kept[key] = body, time.monotonic()
        self._kept_bytes += len(body)
        while self._kept_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: object) -> None:
        body, _ = self._kept.pop(key, (b"", 0.0))
        self._kept_bytes -= len(body)


def _seen(task: "asyncio.Task[bytes]") -> None:
    """Mark the exception as retrieved: asyncio logs an exception that no reader has waited for."""
    if not task.cancelled():
        task.exception()
