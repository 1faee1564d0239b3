"""Requests with their answers, folded from chat-chunks in one pass that never goes back.

The pass keeps a window of requests whose answers have not ended, filled far ahead, and reads chat-chunks once below it.
A request leaves the window when its answer ends. So the chunks of many requests are read once, not once for each, and
the memory is bounded by the window. Only if a window is full of requests that never end, or a request's answer begins
before the position that the pass has reached, is there another pass, over the rest.
"""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from weir.chat.collecting import Awaited, Awaiting
from weir.chat.completion import Completion
from weir.chat.requests import ChatRequest
from weir.log.log import LogClient, Partition, Record
from weir.ranges.offset_ranges import PAGE
from weir.timing import CLOCKS_APART_S, in_turns
from weir.topics import CHAT_CHUNKS

WINDOW_REQUESTS: Final = 5000
WINDOW_BYTES: Final = 64 << 20  # of requests in the window

Joined = Awaited[Completion]
"""A request with the answer that the log has for it."""


class _Candidate(NamedTuple):
    """A request that has been read."""

    request: ChatRequest
    start: int  # no record of its answer is older
    size_bytes: int


class Joining:
    """Joins the requests of one partition, which come in the order of the log.

    Args:
        log: the log with the answers.
        partition: the partition of chat-requests, and so of chat-chunks.
        requests: the requests to join; several of a uid, if it was answered again.
        window_requests: how many requests may wait for their end at once.
        window_bytes: how many bytes of requests may wait.
    """

    def __init__(
        self,
        log: LogClient,
        partition: int,
        requests: AsyncIterator[tuple[Record, ChatRequest]],
        *,
        window_requests: int = WINDOW_REQUESTS,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self._log, self._requests = log, requests
        self._at = Partition(CHAT_CHUNKS.name, partition)
        self._window_requests, self._window_bytes = window_requests, window_bytes
        self._open = Awaiting(lambda request: Completion(request.uid))
        self._sizes_bytes: dict[Joined, int] = {}  # of these requests
        self._size_bytes = 0  # of all of them
        self._late: _Candidate | None = None  # its answer begins behind the pass: the next pass begins with it
        self._exhausted = False

    async def all(self) -> AsyncIterator[Joined]:
        """Each request, when its answer ends; at the end of a pass the requests whose answers have not ended.

        Raises:
            LogError: the log cannot be read.
        """
        end = (await self._log.bounds(self._at)).end
        await self._begin()
        while self._open:
            async for joined in self._pass(end):
                yield joined
            for joined in list(self._open):
                self._open.forget(joined)
                self._size_bytes -= self._sizes_bytes.pop(joined)
                yield joined
            await self._begin()

    async def _pass(self, end: int) -> AsyncIterator[Joined]:
        """The requests whose answers end below an offset."""
        position = self._least()
        while self._open and position < end:
            page = [one for one in await self._log.read(self._at, position, limit=PAGE) if one.offset < end]
            if not page:
                return
            async for record in in_turns(page):
                for joined in self._open.take(record):
                    self._size_bytes -= self._sizes_bytes.pop(joined)
                    yield joined
                    await self._fill(record.offset + 1)
            position = max(page[-1].offset + 1, self._least())  # no open request needs the records in between

    def _least(self) -> int:
        return min((joined.start for joined in self._open), default=0)

    async def _begin(self) -> None:
        """Take requests for a pass that begins at the lowest start among them."""
        if self._late is not None:
            late, self._late = self._late, None
            self._enter(late)
        await self._fill(0)

    async def _fill(self, position: int) -> None:
        """Take requests into the window of a pass at a position, up to one whose answer begins before that position."""
        while self._late is None and not self._exhausted and self._has_room():
            candidate = await self._next()
            if candidate is None:
                self._exhausted = True
            elif candidate.start < position:
                self._late = candidate
            else:
                self._enter(candidate)

    def _has_room(self) -> bool:
        return len(self._open) < self._window_requests and self._size_bytes < self._window_bytes

    def _enter(self, candidate: _Candidate) -> None:
        joined = self._open.watch(candidate.request, candidate.start)
        self._sizes_bytes[joined] = candidate.size_bytes
        self._size_bytes += candidate.size_bytes

    async def _next(self) -> _Candidate | None:
        found = await anext(self._requests, None)
        if found is None:
            return None
        record, request = found
        start = request.chunks_from
        if start <= 0:  # unknown for records that a client wrote to the topic itself: take the time instead
            start = await self._log.offset_at(self._at, record.timestamp - CLOCKS_APART_S)
        return _Candidate(request, start, len(record.value or b""))
