"""Writes the frames of one attempt.

The first chunk is sent at once. While a produce is in flight, further chunks collect, and are sent together as the next
frame when it lands. Under no load a frame is a token; under load it is many. That is the whole batching policy.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from weir.chat import frames
from weir.chat.frames import Frame, FrameKind, Terminal
from weir.chat.requests import ChatRequest
from weir.envelope import Json
from weir.llm.errors import UpstreamError
from weir.log.log import LogError, RecordTooLargeError

CHUNKS_WAITING_MAX = 2048  # chunks collected while the log is slow; then the upstream has to wait
CHUNKS_PER_FRAME = 512  # keeps a frame well below the largest record

Append = Callable[[bytes], Awaitable[int]]


class FrameWriter:
    """Writes the frames of one attempt, in order, with one produce in flight at most."""

    def __init__(
        self, append: Append, request: ChatRequest, rid: str, attempt: str, next_seq: int, *, max_bytes: int
    ) -> None:
        self._append = append
        self._request = request
        self._rid = rid
        self._attempt = attempt
        self._next_seq = next_seq
        self._max_bytes = max_bytes
        self._frames = 0
        self._pending: list[Json] = []
        self._flight: asyncio.Future[int] | None = None
        self._error: BaseException | None = None
        self._landing = asyncio.Event()
        self.wrote_at = time.monotonic()
        # Done when it is not sure that a frame reached the log.
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def say(self, chunk: Json) -> None:
        """Send a chunk, now or with the next frame. Waits only while very many are waiting.

        Raises:
            LogError: it is not sure that an earlier frame reached the log; nothing is sent after it.
            UpstreamError: a chunk cannot be written: it is larger than a record, or nested too deeply.
        """
        self._raise()
        chunk["id"] = f"chatcmpl-{self._request.uid}"
        self._pending.append(chunk)
        if self._flight is None:
            self._send()
        while len(self._pending) >= CHUNKS_WAITING_MAX and self._error is None:
            await self._landed()
        self._raise()

    def check(self) -> None:
        """Raise LogError if it is not sure that every frame reached the log."""
        if isinstance(self._error, LogError):
            raise self._error

    def beat(self) -> None:
        """Send a heartbeat, unless a frame is in flight that shows as well that the attempt is alive."""
        if self._flight is None:
            # The failure of a heartbeat is ignored: it carries nothing, and the next one may get through.
            self._launch(
                self._encode(Frame(**self._names(), kind=FrameKind.HEARTBEAT, seq=self._next_seq)), vital=False
            )

    async def flush(self) -> None:
        """Wait until all chunks are in the log.

        Raises:
            LogError: it is not sure that they are.
            UpstreamError: a chunk could not be written.
        """
        while self._flight is not None:
            await self._landed()
        self._raise()

    async def end(self, terminal: Terminal) -> None:
        """Write the rest, and then the terminal: one that overtook a chunk would cut the answer short.

        Raises:
            LogError: it is not sure that it reached the log.
            UpstreamError: a chunk could not be written, or the terminal is larger than the topic takes.
        """
        await self.flush()
        self._launch(
            self._encode(Frame(**self._names(), kind=FrameKind.TERMINAL, seq=self._next_seq, terminal=terminal))
        )
        await self.flush()

    async def hand_off(self) -> None:
        """Close the attempt after all its chunks.

        Raises:
            LogError: the attempt may not be closed.
            UpstreamError: a chunk could not be written.
        """
        await self.flush()
        self._launch(self._encode(Frame(**self._names(), kind=FrameKind.HANDOFF, seq=self._next_seq)))
        await self.flush()

    def _send(self) -> None:
        """Put as many of the waiting chunks into a frame as fit into a record."""
        count = min(len(self._pending), CHUNKS_PER_FRAME)
        while True:
            frame = Frame(**self._names(), kind=FrameKind.CHUNKS, seq=self._next_seq, chunks=self._pending[:count])
            value = self._encode(frame)
            if len(value) <= self._max_bytes:
                break
            if count == 1:
                raise self._unwritable(f"a chunk of {len(value)} bytes, more than a record holds")
            count //= 2
        del self._pending[:count]
        self._next_seq += count
        self._launch(value, chunks=count)

    def _names(self) -> dict[str, Any]:
        return {"uid": self._request.uid, "rid": self._rid, "attempt": self._attempt}

    def _encode(self, frame: Frame) -> bytes:
        try:
            return frames.encode(frame, event_id=f"{self._attempt}.{self._frames + 1}", tenant=self._request.tenant)
        except TypeError:  # orjson reads deeper nesting than it writes
            raise self._unwritable("a chunk that is nested too deeply") from None

    def _launch(self, value: bytes, *, vital: bool = True, chunks: int = 0) -> None:
        self._frames += 1
        self.wrote_at = time.monotonic()
        self._flight = asyncio.ensure_future(self._append(value))
        self._flight.add_done_callback(partial(self._on_landed, vital=vital, chunks=chunks))

    def _on_landed(self, flight: "asyncio.Future[int]", *, vital: bool, chunks: int) -> None:
        self._flight = None
        try:
            if not vital:
                flight.cancelled() or flight.exception()  # mark the exception as retrieved
            elif flight.cancelled():
                self._error = self._error or LogError("an append was cancelled")
            elif isinstance(refused := flight.exception(), RecordTooLargeError):
                # Nothing of the frame is in the log, and nothing is in doubt: the same frame would be refused for ever.
                self._next_seq -= chunks
                raise self._unwritable(f"more than a record holds ({refused})")
            else:
                self._error = self._error or flight.exception()
            if self._pending and self._error is None:
                self._send()
        except UpstreamError as error:
            self._error = error
        finally:
            self._landing.set()
            if isinstance(self._error, LogError) and not self.failed.done():
                self.failed.set_result(None)

    async def _landed(self) -> None:
        self._landing.clear()
        await self._landing.wait()

    def _raise(self) -> None:
        error = self._error
        if isinstance(error, UpstreamError):
            self._error = None  # the chunks before it are in the log, and a terminal can follow them
        if error is not None:
            raise error

    def _unwritable(self, what: str) -> UpstreamError:
        """Return the error that ends the answer before a chunk that cannot be written."""
        self._pending.clear()
        code = "upstream_invalid_response"
        return UpstreamError(f"the model sent {what}", status=502, kind="upstream_error", code=code)
