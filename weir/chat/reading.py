"""Read the answer to a request out of the log: for doors that deliver it while it is written, and for stored answers.

A reader of a *submission* does not know yet whether it is the first of its uid. It waits for the mark that tells: a
begin mark of its own, an attach mark that names where the answer starts, or a conflict mark. A cancellation before
anything was begun is the end of all submissions.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from typing import NamedTuple

from weir.chat.decoding import decode
from weir.chat.fold import Answer, fold
from weir.chat.frames import ANYBODY, CLAIMS, Frame, Kind, Status, Terminal
from weir.chat.notes import Notes
from weir.chat.restarts import restarts_of
from weir.envelope import Json
from weir.errors import AnswerGoneError, ApiError, InvalidRequestError, UnavailableError
from weir.log.log import LogClient, LogUnavailableError, Partition, Record
from weir.log.memory import Memory
from weir.log.tails import Tail, Tails
from weir.timing import Turn

PAGE_RECORDS = 128  # of a reader that is behind: with a token in each record, about 64 KiB
LARGE_PAGE_BYTES = 128 << 10  # a page beyond it is counted in the memory of all readers
FRAME_BYTES, CHUNK_BYTES = 300, 300  # of a record beside the text of its chunks, roughly
COPIES = 3  # of a large page: as it stands in the log, decoded, and as it is sent
ORIGIN_IDLE_S = 60.0  # between two turns of a wait that ends with the first mark about a submission


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one record adds for a reader. All empty: nothing came within the time asked for."""

    partition: int = -1
    offset: int = -1
    chunks: tuple[Json, ...] = ()
    first_n: int = 0  # place of chunks[0] in its frame
    restarted: bool = False  # the answer is said again from its start
    terminal: Terminal | None = None
    more: bool = False  # the next delivery is there already: what is sent of both may go together
    size_bytes: int = 0  # of its record


IDLE = Delivery()


class BrokenStreamError(ApiError):
    """The log holds a gap in an answer: a defect, shown rather than hidden."""

    def __init__(self, uid: str) -> None:
        super().__init__(f"The stored answer of {uid} has a gap.", status=500, kind="server_error", code="stream_gap")


async def deliveries(
    tails: Tails,
    at: Partition,
    uid: str,
    *,
    position: int,
    idle_s: float,
    rid: str | None = None,
    submission: str = "",
    own: bool = True,
    topic_id: str = "",
    ended: bool = False,
) -> AsyncGenerator[Delivery, None]:
    """What a reader gets, in order and each once, until the terminal, which comes last.

    Args:
        tails: where to read.
        at: the partition of chat-chunks.
        uid: the request.
        position: nothing about the request is older.
        idle_s: yield ``IDLE`` after so many seconds without news.
        rid: the request's identity, where it is known; else ``submission`` finds it.
        submission: the event id of the reader's own submission, or of any.
        own: whether it is the reader's own: with another body than the first one, it is an error.
        topic_id: of the chat-chunks in which the position was found, where that is known.
        ended: whether the request of ``rid`` has ended, so that the log must hold its end.

    Raises:
        InvalidRequestError: another request has this uid (409).
        AnswerGoneError: the request has ended, and the log does not hold its end any more.
        LogReplacedError: the log is another one than that of the position.
        BrokenStreamError: chunks are missing in the log.
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode(), topic_id=topic_id, page_records=PAGE_RECORDS) as tail:
        known: list[Record] = []
        if rid is None:
            async for found in _identify(tail, submission, idle_s, own=own):
                if found is None:
                    yield IDLE
                else:
                    rid, position, known, ended = found
        if rid is not None and (known or not submission):
            async with aclosing(_follow(tails, tail, Answer(rid=rid), known, idle_s=idle_s, ended=ended)) as news:
                async for delivery in news:
                    yield delivery
            return
    if rid is None:
        return
    # The answer was begun by an earlier submission.
    async with (
        tails.open(at, position, key=uid.encode(), page_records=PAGE_RECORDS) as tail,
        aclosing(_follow(tails, tail, Answer(rid=rid), [], idle_s=idle_s, ended=ended)) as news,
    ):
        async for delivery in news:
            yield delivery


async def resumed(
    log: LogClient, tails: Tails, at: Partition, uid: str, *, offset: int, place: int, idle_s: float
) -> AsyncGenerator[Delivery, None] | None:
    """What follows a chunk that a reader has; None if that was the end.

    The record at ``offset`` tells whose attempt it is and which chunk comes next. A reading that started blindly
    behind it would not know which frames count.

    Args:
        log: for the one record.
        tails: for what follows.
        at: the partition of chat-chunks.
        uid: the request.
        offset: of the record that the reader's chunk was in.
        place: of that chunk in the record.
        idle_s: as for `deliveries`.

    Raises:
        InvalidRequestError: no such record of this request (400), or the log does not keep it any more (410).
        LogError: the log cannot be read.
    """
    frame = await _frame_at(log, at, offset)
    known_place = frame is not None and (place < len(frame.chunks) or frame.terminal is not None)
    if frame is None or frame.uid != uid or not known_place:
        raise _no_such_event()
    if frame.terminal is not None:
        return None
    known = Answer(rid=frame.rid, attempt=frame.attempt, attempts=1, last=offset, next_seq=frame.seq + place + 1)
    return _going_on(tails, at, uid, known, idle_s)


async def repeated(
    log: LogClient,
    tails: Tails,
    at: Partition,
    uid: str,
    *,
    position: int,
    submission: str,
    offset: int,
    place: int,
    idle_s: float,
    topic_id: str = "",
) -> AsyncGenerator[Delivery, None]:
    """What follows a chunk, for a client that has sent its request again: its body must be that of the first time.

    Args:
        log: as for `resumed`.
        tails: where to read.
        at: the partition of chat-chunks.
        uid: the request.
        position: nothing about the submission is older.
        submission: the event id of the client's own submission.
        offset: as for `resumed`.
        place: as for `resumed`.
        idle_s: as for `deliveries`.
        topic_id: as for `deliveries`.

    Raises:
        InvalidRequestError: another request has this uid (409), or as for `resumed`.
        LogReplacedError: the log is another one than that of the position.
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode(), topic_id=topic_id) as tail:
        async for found in _identify(tail, submission, idle_s, own=True):
            if found is None:
                yield IDLE
    news = await resumed(log, tails, at, uid, offset=offset, place=place, idle_s=idle_s)
    if news is None:  # the client has all, and hears again how it ended
        end = await _frame_at(log, at, offset)
        yield Delivery(at.partition, offset, first_n=place, terminal=None if end is None else end.terminal)
        return
    async with aclosing(news):
        async for delivery in news:
            yield delivery


async def uid_at(log: LogClient, at: Partition, offset: int) -> str:
    """Whose answer an event is a part of, by the record that it was in.

    Raises:
        InvalidRequestError: it is no part of an answer (400), or the log does not keep it any more (410).
        LogError: the log cannot be read.
    """
    frame = await _frame_at(log, at, offset)
    if frame is None:
        raise _no_such_event()
    return frame.uid


async def _frame_at(log: LogClient, at: Partition, offset: int) -> Frame | None:
    records = await log.read(at, offset, limit=1)
    bounds = await log.bounds(at)
    if not bounds.start <= offset < bounds.end:  # behind the end: of a log that was there before this one
        raise AnswerGoneError("The log does not keep this part of the answer any more.")
    return decode(records[0]) if records and records[0].offset == offset else None


def _no_such_event() -> InvalidRequestError:
    return InvalidRequestError("This stream has no such event.", param="Last-Event-ID", code="unknown_event")


async def _going_on(
    tails: Tails, at: Partition, uid: str, known: Answer, idle_s: float
) -> AsyncGenerator[Delivery, None]:
    async with (
        tails.open(at, known.last, key=uid.encode(), page_records=PAGE_RECORDS) as tail,
        aclosing(_follow(tails, tail, known, [], idle_s=idle_s)) as news,
    ):
        async for delivery in news:
            yield delivery


async def counted(news: AsyncGenerator[Delivery, None], memory: Memory) -> AsyncGenerator[Delivery, None]:
    """The same deliveries, for a reader that keeps all of them: what is large is taken from the memory of all readers.

    Raises:
        UnavailableError: there is no room for the answer; what is read of it is let go.
    """
    large_bytes = held_bytes = 0
    try:
        async with aclosing(news):
            async for delivery in news:
                large_bytes += max(0, delivery.size_bytes - FRAME_BYTES - CHUNK_BYTES * len(delivery.chunks))
                more_bytes = large_bytes - held_bytes
                if more_bytes > LARGE_PAGE_BYTES:
                    if not memory.take(more_bytes):
                        raise UnavailableError(
                            "Too much is being read by other clients to hold this answer as well; fetch it later.",
                            code="readers_memory",
                        )
                    held_bytes = large_bytes
                yield delivery
    finally:
        memory.give_back(held_bytes)


async def origin(
    tails: Tails, at: Partition, uid: str, *, position: int, submission: str, own: bool = True, topic_id: str = ""
) -> tuple[str, int]:
    """The rid of a submission's request, and the offset where its answer starts.

    They are an earlier submission's, if this is not the first of its uid. Waits until the log tells.

    Raises:
        InvalidRequestError: another request has this uid (409).
        LogReplacedError: the log is another one than that of the position.
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode(), topic_id=topic_id) as tail:
        async for found in _identify(tail, submission, ORIGIN_IDLE_S, own=own):
            if found is not None:
                return found[:2]
    raise LogUnavailableError("the tails were stopped")


async def recounted(
    tails: Tails, at: Partition, uid: str, *, position: int, rid: str, upto: int
) -> tuple[Answer, list[Json]]:
    """An answer as it stands in the log, from ``position`` up to the record at ``upto``, with its chunks that count.

    Raises:
        LogError: the log cannot be read.
    """
    answer, chunks = Answer(rid=rid), list[Json]()
    async for record in stored(tails, at, uid, position=max(position, 0)):
        frame = decode(record) if record.offset <= upto else None
        if frame is not None:
            folded = fold(answer, record.offset, frame)
            if folded.answer.restarts > answer.restarts:
                chunks.clear()
            chunks += folded.chunks
            answer = folded.answer
    return answer, chunks


async def noted(tails: Tails, at: Partition, uid: str, *, position: int, rid: str) -> Notes:
    """Notes of what counts of an answer so far, from ``position`` on. Its chunks are not held: it may be long.

    Raises:
        LogError: the log cannot be read.
    """
    answer, notes = Answer(rid=rid), Notes()
    async for record in stored(tails, at, uid, position=max(position, 0)):
        if (frame := decode(record)) is None:
            continue
        folded = fold(answer, record.offset, frame)
        notes = Notes() if folded.answer.restarts > answer.restarts else notes
        for chunk in folded.chunks:
            notes.add(chunk)
        answer = folded.answer
    return notes


async def stored(
    tails: Tails, at: Partition, uid: str, *, position: int, topic_id: str = ""
) -> AsyncGenerator[Record, None]:
    """The records about a request from ``position`` to the log's end, page by page, with turns for others between.

    Raises:
        LogReplacedError: the log is another one than that of the position.
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode(), topic_id=topic_id, page_records=PAGE_RECORDS) as tail:
        end = (await tails.client.bounds(at)).end
        turn = Turn()
        while tail.position < end and (records := await tail.page()):
            for record in records:
                if turn.over():
                    await turn.end()
                yield record
        # What the live feed has not seen, or all of it while the feed is stuck.
        for record in await tail.look() if tail.position < end else ():
            if record.offset < end:
                yield record


async def marks(
    tails: Tails, at: Partition, uid: str, *, position: int, kind: Kind, topic_id: str = ""
) -> list[tuple[int, Frame]]:
    """Marks of a kind about a request, from ``position`` to the log's end, each with its offset.

    Raises:
        LogReplacedError: the log is another one than that of the position.
        LogError: the log cannot be read.
    """
    needle, found = b'"%b"' % kind.encode(), list[tuple[int, Frame]]()
    async for record in stored(tails, at, uid, position=position, topic_id=topic_id):
        frame = decode(record) if needle in (record.value or b"") else None
        if frame is not None and frame.kind is kind:
            found.append((record.offset, frame))
    return found


def _last_words(frame: Frame, record: Record) -> tuple[Json, ...]:
    """What a reader of a cancelled answer gets as its end, in the place of the LLM's own."""
    if frame.terminal is None or frame.terminal.status is not Status.CANCELLED:
        return ()
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "cancelled"}
    return (
        {
            "id": f"chatcmpl-{frame.uid}",
            "object": "chat.completion.chunk",
            "created": int(record.timestamp),
            "model": "",
            "choices": [choice],
        },
    )


class _Identified(NamedTuple):
    """Whose answer a submission gets."""

    rid: str
    position: int  # where the answer starts
    known: list[Record]  # what of it was read
    ended: bool  # before the submission


async def _identify(
    tail: Tail, submission: str, idle_s: float, *, own: bool
) -> AsyncGenerator[_Identified | None, None]:
    """Yields None while nothing is known, then whose answer it is, and ends."""
    begun, quiet_since = False, time.monotonic()
    while True:
        records = await _next(tail, idle_s)
        for place, record in enumerate(records):
            frame = decode(record)
            if frame is None:
                continue
            begun = begun or bool(frame.attempt)  # of an earlier submission: then a mark is to come that names it
            first = frame.rid == submission or (frame.rid == ANYBODY and not begun)
            if first and (frame.kind in CLAIMS or frame.kind is Kind.TERMINAL):
                yield _Identified(submission, record.offset, records[place:], ended=False)
                return
            if frame.submission != submission or frame.kind not in {Kind.ATTACH, Kind.CONFLICT}:
                continue
            if frame.kind is Kind.ATTACH or not own:
                yield _Identified(frame.rid, frame.first, [], ended=frame.ended)
                return
            raise InvalidRequestError(
                "Another request with a different body has this uid.", param="uid", code="uid_conflict", status=409
            )
        # What is said to an earlier submission is no news to this one.
        if time.monotonic() - quiet_since >= idle_s:
            quiet_since = time.monotonic()
            yield None


async def _next(tail: Tail, idle_s: float) -> list[Record]:
    """The next records; a tail that was stopped gives none, at once and for ever, so that is an error."""
    records = await tail.next(timeout=idle_s)
    if tail.closed:
        raise LogUnavailableError("the tails were stopped")
    return records


async def _follow(
    tails: Tails, tail: Tail, answer: Answer, records: list[Record], *, idle_s: float, ended: bool = False
) -> AsyncGenerator[Delivery, None]:
    """Fold what the tail gives, after the ``records`` that it has given already.

    Raises:
        AnswerGoneError: an answer that has ``ended`` has no end in the log.
    """
    quiet_since, upto = time.monotonic(), tail.feed.position
    end = (await tails.client.bounds(tail.at)).end if ended else 0
    with closing(_Pages(tails, tail)) as pages:
        if not tail.caught_up:
            records = records + await pages.more(idle_s)
        # What was said and then said again, before this reader came, is nothing to it.
        taken_back = -1 if tail.caught_up else await _taken_back(tails, tail, answer, records, upto)
        while True:
            answer, news = _news(answer, records, tail.at.partition, taken_back)
            del records
            while news:
                quiet_since = time.monotonic()
                yield news.popleft()
            if answer.gap:
                raise BrokenStreamError((tail.key or b"").decode())
            if answer.terminal is not None:
                return
            if ended and tail.position >= end:  # nothing more will come of it
                raise AnswerGoneError
            # Heartbeats of the generator are news to us, not to the reader.
            if time.monotonic() - quiet_since >= idle_s:
                quiet_since = time.monotonic()
                yield IDLE
            records = await (tail.look() if ended and tail.caught_up else pages.more(idle_s))


class _Pages:
    """What a reader reads, a page at a time, so that it holds one page at most.

    The page is gone when the next one is asked for. So a client that does not read costs a place in the log, and what
    its connection buffers. Readers that are behind take turns; and a page that is large is taken out of the memory of
    all readers: while there is no room for it, its reader waits, and holds none of it.
    """

    def __init__(self, tails: Tails, tail: Tail) -> None:
        self._turns, self._memory, self._tail = tails.turns, tails.memory, tail
        self._held_bytes = 0
        self._wanted_bytes = 0  # of a page that there was no room for

    def close(self) -> None:
        """Let go of the page."""
        self._memory.give_back(self._held_bytes)
        self._held_bytes = 0

    async def more(self, idle_s: float) -> list[Record]:
        """The next records; none where none came, or none could be held, within ``idle_s`` seconds.

        Raises:
            LogError: the log cannot be read, or the tails were stopped.
        """
        self.close()
        if not self._memory.has_room(self._wanted_bytes):
            await self._memory.freed(idle_s)
            return []
        records = await _next(self._tail, idle_s) if self._tail.caught_up else await self._page()
        size_bytes = sum(len(record.value or b"") for record in records)
        self._wanted_bytes = COPIES * size_bytes if size_bytes > LARGE_PAGE_BYTES else 0
        if self._memory.take(self._wanted_bytes):
            self._held_bytes, self._wanted_bytes = self._wanted_bytes, 0
            return records
        self._tail.give_back(records)
        return []

    async def _page(self) -> list[Record]:
        async with self._turns:
            await asyncio.sleep(0)  # a page of recent records costs no wait, and those of other readers come between
            records = await self._tail.page()
        if self._tail.closed:
            raise LogUnavailableError("the tails were stopped")
        return records


async def _taken_back(tails: Tails, tail: Tail, answer: Answer, records: list[Record], upto: int) -> int:
    """Offset below which nothing is news: the last restart that counts, of all that was there; -1 for none."""
    position = records[0].offset if records else tail.position
    key = tail.key or b""
    return await restarts_of(tails).last(tail.at, key, answer.rid, position=position, upto=upto)


def _news(answer: Answer, records: list[Record], partition: int, taken_back: int) -> tuple[Answer, deque[Delivery]]:
    """What records add for a reader, up to a gap or the terminal: nothing that a restart takes back."""
    news: deque[Delivery] = deque()
    for record in records:
        frame = decode(record)
        if frame is None:
            continue
        folded = fold(answer, record.offset, frame)
        restarted = folded.answer.restarts > answer.restarts
        answer = folded.answer
        if answer.gap:
            break
        if restarted:
            news.clear()
        if record.offset < taken_back:
            continue
        if folded.chunks or restarted or (folded.counts and answer.terminal):
            chunks = (*folded.chunks, *_last_words(frame, record))
            if news:  # seldom, while an answer is written: then a record comes at a time
                news.append(replace(news.pop(), more=True))
            size_bytes = len(record.value or b"")
            news.append(
                Delivery(
                    partition,
                    record.offset,
                    chunks,
                    folded.skipped,
                    restarted,
                    answer.terminal,
                    size_bytes=size_bytes,
                )
            )
    return answer, news
