"""Writes one attempt's frames.

The first chunk leaves at once. While a produce is in flight, further chunks collect, and leave together as the next
frame when it lands. Under no load a frame is a token; under load it is many. That is the whole batching policy.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from answers import frames
from answers.envelope import Json
from answers.frames import Frame, Kind, Terminal
from app.requests import ChatRequest

CHUNKS_WAITING_MAX = 2048  # chunks collected while the log is slow; then the upstream has to wait
CHUNKS_PER_FRAME = 512  # keeps a frame well below the largest record

Append = Callable[[bytes], Awaitable[int]]


class FrameWriter:
    """Frames of one attempt, in order, at most one produce in flight."""

    def __init__(self, append: Append, request: ChatRequest, rid: str, attempt: str, next_seq: int) -> None:
        self._append = append
        self._request = request
        self._rid = rid
        self._attempt = attempt
        self._next_seq = next_seq
        self._frames = 0
        self._pending: list[Json] = []
        self._flight: asyncio.Future[int] | None = None
        self._error: BaseException | None = None
        self._landing = asyncio.Event()
        self.wrote_at = time.monotonic()

    async def say(self, chunk: Json) -> None:
        """Send a chunk, now or with the next frame. Waits only while very many are waiting.

        Raises:
            LogError: an earlier frame did not reach the log for sure.
        """
        chunk["id"] = f"chatcmpl-{self._request.uid}"
        self._pending.append(chunk)
        if self._flight is None:
            self._send()
        while len(self._pending) >= CHUNKS_WAITING_MAX and self._error is None:
            await self._landed()
        self._raise()

    def beat(self) -> None:
        """Tell that the attempt is alive, unless a frame is on its way that tells it as well."""
        if self._flight is None:
            self._launch(Frame(**self._names(), kind=Kind.HEARTBEAT, seq=self._next_seq))

    async def end(self, terminal: Terminal) -> None:
        """Write what is left, and then the terminal: one that overtook a chunk would cut the answer short.

        Raises:
            LogError: it did not reach the log for sure.
        """
        await self._all_landed()
        self._launch(Frame(**self._names(), kind=Kind.TERMINAL, seq=self._next_seq, terminal=terminal))
        await self._all_landed()

    def _send(self) -> None:
        chunks, self._pending = self._pending[:CHUNKS_PER_FRAME], self._pending[CHUNKS_PER_FRAME:]
        frame = Frame(**self._names(), kind=Kind.CHUNKS, seq=self._next_seq, chunks=chunks)
        self._next_seq += len(chunks)
        self._launch(frame)

    def _names(self) -> dict[str, Any]:
        return {"uid": self._request.uid, "rid": self._rid, "attempt": self._attempt}

    def _launch(self, frame: Frame) -> None:
        self._frames += 1
        value = frames.encode(frame, event_id=f"{self._attempt}.{self._frames}", tenant=self._request.tenant)
        self.wrote_at = time.monotonic()
        self._flight = asyncio.ensure_future(self._append(value))
        self._flight.add_done_callback(self._on_landed)

    def _on_landed(self, flight: "asyncio.Future[int]") -> None:
        self._flight = None
        if not flight.cancelled():
            self._error = self._error or flight.exception()
        if self._pending and self._error is None:
            self._send()
        self._landing.set()

    async def _landed(self) -> None:
        self._landing.clear()
        await self._landing.wait()

    async def _all_landed(self) -> None:
        while self._flight is not None:
            await self._landed()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
