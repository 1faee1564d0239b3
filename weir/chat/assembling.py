"""One JSON object from the frames of an answer, without holding the event loop, and once for all its readers.

A long answer has a hundred thousand chunks. They are taken in turns of a few milliseconds, and what comes of them is
joined and encoded on a thread, in slices: orjson lets no other thread run until it returns. The last reader that leaves
cancels it. What was put together is kept for the next reader, as far as there is room.
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

KEPT_S: Final = 600.0  # at most: how long an answer can be had is up to the log's retention
BESIDE_SIZE: Final = 262_144  # characters, about; an answer with more is encoded on a thread: a millisecond and more


async def assembled(news: AsyncGenerator[Delivery, None], uid: str) -> bytes:
    """The whole answer as a chat.completion object, in JSON.

    Raises:
        ApiError: what the request ended with, if it did not complete.
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
    """Answers that were put together, those that were asked for last; and those that are being put together."""

    def __init__(self, max_bytes: int, max_age_s: float = KEPT_S) -> None:
        """``max_bytes`` of JSON are kept, each answer for ``max_age_s`` since it was made."""
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._kept: OrderedDict[object, tuple[bytes, float]] = OrderedDict()  # with the time at which each was made
        self._kept_bytes = 0
        self._making: dict[object, _Making] = {}

    async def get(self, key: object, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer of that name, made by ``make`` unless it is there, or another reader waits for it already.

        Raises:
            Exception: what ``make`` raises, which is not kept.
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
                self._forget(key, making.task)  # the next reader begins anew
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
        """An answer that is kept; one that is too old goes."""
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
    """Asyncio complains of an exception that no reader has waited for."""
    if not task.cancelled():
        task.exception()
