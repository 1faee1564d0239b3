"""Requests with their answers, folded from chat-chunks in one pass that never goes back.

The pass keeps a window of requests whose answers have not ended, filled far ahead, and reads chat-chunks once below
it. A request leaves the window with its end. So the chunks of many requests are read once, not once for each, and what
is held is bounded by the window. Only where a window is full of requests that never end, or a request says that its
answer begins before what was read already, is there another pass, over the rest.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

from weir.chat import frames
from weir.chat.completion import Completion
from weir.chat.fold import Answer, fold
from weir.chat.frames import Frame, Kind
from weir.chat.requests import ChatRequest
from weir.envelope import MalformedRecordError
from weir.export.opinions import CLOCKS_S
from weir.log.log import LogClient, Partition, Record
from weir.ranges.spans import PAGE
from weir.timing import in_turns
from weir.topics import CHAT_CHUNKS

WINDOW_REQUESTS: Final = 5000
WINDOW_BYTES: Final = 64 << 20  # of requests in the window

_ELSEWHERE: Final = frozenset({Kind.ATTACH, Kind.CONFLICT})


@dataclass(slots=True, kw_only=True)
class Joined:
    """A request with what stands in the log of its answer."""

    record: Record
    request: ChatRequest
    start: int  # nothing about its answer is older
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
        """Fold a frame of its uid; whether nothing more can come."""
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
        log: where the answers are.
        partition: of chat-requests, and so of chat-chunks.
        requests: what is to be joined; of a uid several, if it was answered anew.
        window_requests: how many may wait for their end at once.
        window_bytes: and how many bytes of them.
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
        self._open: dict[str, dict[str, Joined]] = {}  # by uid: its lives, by their event id
        self._count = 0
        self._size_bytes = 0
        self._late: Joined | None = None  # what it waits for is behind the pass: the next pass begins with it
        self._exhausted = False

    async def all(self) -> AsyncIterator[Joined]:
        """Each request, when its answer ends; at the end of a pass those that have not ended.

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
        """Those that end below an offset."""
        position = self._least()
        while self._open and position < end:
            page = [one for one in await self._log.read(self._at, position, limit=PAGE) if one.offset < end]
            if not page:
                return
            async for record in in_turns(page):
                for joined in self._fold(record):
                    yield joined
                    await self._fill(record.offset + 1)
            position = max(page[-1].offset + 1, self._least())  # nobody waits for what lies between

    def _waiting(self) -> Iterator[Joined]:
        return (joined for lives in self._open.values() for joined in lives.values())

    def _least(self) -> int:
        return min((joined.start for joined in self._waiting()), default=0)

    def _fold(self, record: Record) -> list[Joined]:
        """Take a record of chat-chunks into the answers of those who wait for it; those whose end it is."""
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
        """Take requests for a pass that begins wherever they want."""
        if self._late is not None:
            late, self._late = self._late, None
            self._enter(late)
        await self._fill(0)

    async def _fill(self, position: int) -> None:
        """Take requests into the window of a pass that has reached a position, up to one that it has passed."""
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
        if start <= 0:  # not told, by whoever wrote to the topic past the doors: then by the clock
            start = await self._log.offset_at(self._at, record.timestamp - CLOCKS_S)
        return Joined(record=record, request=request, start=start, answer=Answer(rid=request.event_id))
