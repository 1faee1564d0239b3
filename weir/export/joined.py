"""Requests with their answers, folded from chat-chunks in one pass that never goes back.

The pass keeps a window of requests whose answers have not ended, filled far ahead, and reads chat-chunks once below it.
A request leaves the window when its answer ends. So the chunks of many requests are read once, not once for each, and
the memory is bounded by the window. Only if a window is full of requests that never end, or a request's answer begins
before the position that the pass has reached, is there another pass, over the rest.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

from weir.chat import frames
from weir.chat.completion import Completion
from weir.chat.fold import Answer, fold
from weir.chat.frames import Frame, FrameKind
from weir.chat.requests import ChatRequest
from weir.envelope import MalformedRecordError
from weir.log.log import LogClient, Partition, Record
from weir.ranges.offset_ranges import PAGE
from weir.timing import CLOCKS_APART_S, in_turns
from weir.topics import CHAT_CHUNKS

WINDOW_REQUESTS: Final = 5000
WINDOW_BYTES: Final = 64 << 20  # of requests in the window

_ELSEWHERE: Final = frozenset({FrameKind.ATTACH, FrameKind.CONFLICT})


@dataclass(slots=True, kw_only=True)
class Joined:
    """A request with the answer that the log has for it."""

    record: Record
    request: ChatRequest
    start: int  # no record of its answer is older
    answer: Answer
    completion: Completion = field(init=False)
    again: bool = False  # another submission of its uid has the answer

    def __post_init__(self) -> None:
        self.completion = Completion(self.request.uid)

    @property
    def size(self) -> int:
        """Bytes of its request."""
        return len(self.record.value or b"")

    def take(self, offset: int, frame: Frame) -> bool:
        """Fold a frame of its uid; returns whether no later frame can change the answer."""
        if frame.kind in _ELSEWHERE and frame.submission == self.request.event_id:
            self.again = True
            return True
        folded = fold(self.answer, offset, frame)
        if folded.answer.restarts > self.answer.restarts:
            self.completion = Completion(self.request.uid)
        for chunk in folded.chunks:
            self.completion.add(chunk)
        self.answer = folded.answer
        return self.answer.terminal is not None or self.answer.gap


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
        self._open: dict[str, dict[str, Joined]] = {}  # by uid: its submissions, by their event id
        self._count = 0
        self._size_bytes = 0
        self._late: Joined | None = None  # its answer begins behind the pass: the next pass begins with it
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
            for joined in list(self._waiting()):
                self._leave(joined)
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
                for joined in self._fold(record):
                    yield joined
                    await self._fill(record.offset + 1)
            position = max(page[-1].offset + 1, self._least())  # no open request needs the records in between

    def _waiting(self) -> Iterator[Joined]:
        return (joined for lives in self._open.values() for joined in lives.values())

    def _least(self) -> int:
        return min((joined.start for joined in self._waiting()), default=0)

    def _fold(self, record: Record) -> list[Joined]:
        """Add a record of chat-chunks to the answers that wait for it; returns the requests whose answers it ends."""
        lives = self._open.get(record.key.decode(errors="replace"), {}) if record.key else {}
        waiting = [joined for joined in lives.values() if record.offset >= joined.start]
        if not waiting:
            return []
        try:
            frame = frames.decode(record.value)
        except MalformedRecordError:
            return []
        over = [joined for joined in waiting if joined.take(record.offset, frame)]
        for joined in over:
            self._leave(joined)
        return over

    def _leave(self, joined: Joined) -> None:
        lives = self._open[joined.request.uid]
        del lives[joined.request.event_id]
        if not lives:
            del self._open[joined.request.uid]
        self._count -= 1
        self._size_bytes -= joined.size

    async def _begin(self) -> None:
        """Take requests for a pass that begins at the lowest start among them."""
        if self._late is not None:
            late, self._late = self._late, None
            self._enter(late)
        await self._fill(0)

    async def _fill(self, position: int) -> None:
        """Take requests into the window of a pass at a position, up to one whose answer begins before that position."""
        while self._late is None and not self._exhausted and self._has_room():
            joined = await self._next()
            if joined is None:
                self._exhausted = True
            elif joined.start < position:
                self._late = joined
            else:
                self._enter(joined)

    def _has_room(self) -> bool:
        return self._count < self._window_requests and self._size_bytes < self._window_bytes

    def _enter(self, joined: Joined) -> None:
        self._open.setdefault(joined.request.uid, {})[joined.request.event_id] = joined
        self._count += 1
        self._size_bytes += joined.size

    async def _next(self) -> Joined | None:
        found = await anext(self._requests, None)
        if found is None:
            return None
        record, request = found
        start = request.chunks_from
        if start <= 0:  # unknown for records that a client wrote to the topic itself: take the time instead
            start = await self._log.offset_at(self._at, record.timestamp - CLOCKS_APART_S)
        return Joined(record=record, request=request, start=start, answer=Answer(rid=request.event_id))
