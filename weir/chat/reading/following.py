"""Follows an answer from its start to its terminal while it is written: in order, each chunk once."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing

from weir.chat.fold import Answer
from weir.chat.reading.delivery import IDLE, Delivery, news_of
from weir.chat.reading.identifying import identify
from weir.chat.reading.pages import PAGE_RECORDS, ReaderPages
from weir.chat.restarts import restarts_of
from weir.errors import AnswerGoneError, ApiError
from weir.log.log import Partition, Record
from weir.log.tails import Tail, Tails


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
    """Yield what a reader gets, in order and each once, until the terminal, which comes last.

    Args:
        tails: the tails to read with.
        at: the partition of chat-chunks.
        uid: the request's uid.
        position: an offset; no record about the request is older.
        idle_s: yield ``IDLE`` after so many seconds without a delivery.
        rid: the request's rid, where it is known; else ``submission`` finds it.
        submission: the event id of the reader's own submission, or of any.
        own: whether it is the reader's own: if its body differs from the first submission's, that is an error.
        topic_id: the topic id of the chat-chunks in which the position was found, where that is known.
        ended: whether the request of ``rid`` has ended, so that the log must hold its end.

    Raises:
        InvalidRequestError: another request has this uid (409).
        AnswerGoneError: the request has ended, and the log does not hold its end any more.
        LogReplacedError: the log has been replaced since the position was found.
        BrokenStreamError: chunks are missing in the log.
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode(), topic_id=topic_id, page_records=PAGE_RECORDS) as tail:
        known: list[Record] = []
        if rid is None:
            async for found in identify(tail, submission, idle_s, own=own):
                if found is None:
                    yield IDLE
                else:
                    rid, position, known, ended = found
        if rid is not None and (known or not submission):
            async with aclosing(follow(tails, tail, Answer(rid=rid), known, idle_s=idle_s, ended=ended)) as news:
                async for delivery in news:
                    yield delivery
            return
    if rid is None:
        return
    # An earlier submission began the answer.
    async with (
        tails.open(at, position, key=uid.encode(), page_records=PAGE_RECORDS) as tail,
        aclosing(follow(tails, tail, Answer(rid=rid), [], idle_s=idle_s, ended=ended)) as news,
    ):
        async for delivery in news:
            yield delivery


async def follow(
    tails: Tails, tail: Tail, answer: Answer, records: list[Record], *, idle_s: float, ended: bool = False
) -> AsyncGenerator[Delivery, None]:
    """Fold the records of the tail, after those in ``records``, which it has returned already.

    Raises:
        AnswerGoneError: an answer that has ``ended`` has no end in the log.
    """
    quiet_since, upto = time.monotonic(), tail.feed.position
    end = (await tails.client.bounds(tail.at)).end if ended else 0
    with closing(ReaderPages(tails, tail)) as pages:
        if not tail.caught_up:
            records = records + await pages.more(idle_s)
        # What a restart took back before this reader came is not delivered.
        taken_back = -1 if tail.caught_up else await _taken_back(tails, tail, answer, records, upto)
        while True:
            answer, news = news_of(answer, records, tail.at.partition, taken_back)
            del records
            while news:
                quiet_since = time.monotonic()
                yield news.popleft()
            if answer.gap:
                raise BrokenStreamError((tail.key or b"").decode())
            if answer.terminal is not None:
                return
            if ended and tail.position >= end:  # no more records of it will come
                raise AnswerGoneError
            # Heartbeats of the generator arrive here, but are not delivered to the reader.
            if time.monotonic() - quiet_since >= idle_s:
                quiet_since = time.monotonic()
                yield IDLE
            records = await (tail.look() if ended and tail.caught_up else pages.more(idle_s))


async def _taken_back(tails: Tails, tail: Tail, answer: Answer, records: list[Record], upto: int) -> int:
    """Return the offset below which no chunk is delivered: the last counting restart of all that is there; -1: none."""
    position = records[0].offset if records else tail.position
    key = tail.key or b""
    return await restarts_of(tails).last(tail.at, key, answer.rid, position=position, upto=upto)
