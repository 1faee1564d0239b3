"""Reads the rest of an answer, for a reader that comes back with the last chunk that it has."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from weir.chat.decoding import decode
from weir.chat.fold import Answer
from weir.chat.frames import Frame
from weir.chat.reading.delivery import IDLE, Delivery
from weir.chat.reading.following import follow
from weir.chat.reading.identifying import identify
from weir.chat.reading.pages import PAGE_RECORDS
from weir.errors import AnswerGoneError, InvalidRequestError
from weir.log.log import LogClient, Partition, record_at
from weir.log.tails import Tails


async def resumed(
    log: LogClient, tails: Tails, at: Partition, uid: str, *, offset: int, place: int, idle_s: float
) -> AsyncGenerator[Delivery, None] | None:
    """Return what follows a chunk that a reader has; None if that was the end.

    The record at ``offset`` shows its attempt and the number of the next chunk. Reading from behind it, without the
    record, would leave open which frames count.

    Args:
        log: the log client, for the one record.
        tails: the tails, for what follows.
        at: the partition of chat-chunks.
        uid: the request's uid.
        offset: the offset of the record with the reader's chunk.
        place: the place of that chunk in the record.
        idle_s: as for `deliveries`.

    Raises:
        InvalidRequestError: there is no such record of this request (400), or the log does not keep it any more (410).
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
    """Yield what follows a chunk, for a client that sends its request again: its body must be that of the first time.

    Args:
        log: as for `resumed`.
        tails: the tails to read with.
        at: the partition of chat-chunks.
        uid: the request's uid.
        position: an offset; no record about the submission is older.
        submission: the event id of the client's own submission.
        offset: as for `resumed`.
        place: as for `resumed`.
        idle_s: as for `deliveries`.
        topic_id: as for `deliveries`.

    Raises:
        InvalidRequestError: another request has this uid (409), or as for `resumed`.
        LogReplacedError: the log has been replaced since the position was found.
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode(), topic_id=topic_id) as tail:
        async for found in identify(tail, submission, idle_s, own=True):
            if found is None:
                yield IDLE
    news = await resumed(log, tails, at, uid, offset=offset, place=place, idle_s=idle_s)
    if news is None:  # the client has all chunks, and gets the end again
        end = await _frame_at(log, at, offset)
        yield Delivery(at.partition, offset, first_n=place, terminal=None if end is None else end.terminal)
        return
    async with aclosing(news):
        async for delivery in news:
            yield delivery


async def uid_at(log: LogClient, at: Partition, offset: int) -> str:
    """Return the uid of the answer that an event belongs to, by the record of the event.

    Raises:
        InvalidRequestError: it belongs to no answer (400), or the log does not keep it any more (410).
        LogError: the log cannot be read.
    """
    frame = await _frame_at(log, at, offset)
    if frame is None:
        raise _no_such_event()
    return frame.uid


async def _frame_at(log: LogClient, at: Partition, offset: int) -> Frame | None:
    record = await record_at(log, at, offset)
    bounds = await log.bounds(at)
    # behind the end: the offset is from a log that was there before this one
    if not bounds.start <= offset < bounds.end:
        raise AnswerGoneError("The log does not keep this part of the answer any more.")
    return None if record is None else decode(record)


def _no_such_event() -> InvalidRequestError:
    return InvalidRequestError("This stream has no such event.", param="Last-Event-ID", code="unknown_event")


async def _going_on(
    tails: Tails, at: Partition, uid: str, known: Answer, idle_s: float
) -> AsyncGenerator[Delivery, None]:
    async with (
        tails.open(at, known.last, key=uid.encode(), page_records=PAGE_RECORDS) as tail,
        aclosing(follow(tails, tail, known, [], idle_s=idle_s)) as news,
    ):
        async for delivery in news:
            yield delivery
