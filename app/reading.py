"""Read the answer to a request out of the log: for doors that deliver it while it is written, and for stored answers.

A reader of a *submission* does not know yet whether it is the first of its uid. It waits for the mark that tells: a
begin mark of its own, an attach mark that names where the answer starts, or a conflict mark.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache

from answers import frames
from answers.completion import Completion
from answers.envelope import Json, MalformedRecordError
from answers.fold import Answer, fold
from answers.frames import Frame, Kind, Terminal
from app.errors import ApiError, InvalidRequestError, from_terminal
from transports.log import LogUnavailableError, Partition, Record
from transports.tails import Tail, Tails

SHARED_FRAMES = 256  # decoded frames kept for the next reader of the same record
SHARED_MAX_BYTES = 65_536  # of a frame that is kept
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


IDLE = Delivery()


class BrokenStreamError(ApiError):
    """The log holds a gap in an answer: a defect, shown rather than hidden."""

    def __init__(self, uid: str) -> None:
        super().__init__(f"The stored answer of {uid} has a gap.", status=500, kind="server_error", code="stream_gap")


def decode(record: Record) -> Frame | None:
    """The frame in a record; None for a record that is no frame, which must not stop a reader."""
    value = record.value
    return _decode(value) if value is None or len(value) > SHARED_MAX_BYTES else _decode_once(value)


def _decode(value: bytes | None) -> Frame | None:
    try:
        return frames.decode(value)
    except MalformedRecordError:
        return None


# Whoever generates an answer reads it beside whoever delivers it, within the same turn of the event loop mostly.
_decode_once = lru_cache(maxsize=SHARED_FRAMES)(_decode)


async def deliveries(
    tails: Tails, at: Partition, uid: str, *, position: int, idle_s: float, rid: str | None = None, submission: str = ""
) -> AsyncGenerator[Delivery, None]:
    """What a reader gets, in order and each once, until the terminal, which comes last.

    Args:
        tails: where to read.
        at: the partition of chat-chunks.
        uid: the request.
        position: nothing about the request is older.
        idle_s: yield ``IDLE`` after so many seconds without news.
        rid: the request's identity, where it is known; else ``submission`` finds it.
        submission: the event id of the reader's own submission.

    Raises:
        InvalidRequestError: another request has this uid (409).
        BrokenStreamError: chunks are missing in the log.
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode()) as tail:
        known: list[Record] = []
        if rid is None:
            async for found in _identify(tail, submission, idle_s):
                if found is None:
                    yield IDLE
                else:
                    rid, position, known = found
        if rid is not None and (known or not submission):
            async for delivery in _follow(tail, Answer(rid=rid), known, idle_s=idle_s):
                yield delivery
            return
    if rid is None:
        return
    async with tails.open(at, position, key=uid.encode()) as tail:  # the answer was begun by an earlier submission
        async for delivery in _follow(tail, Answer(rid=rid), [], idle_s=idle_s):
            yield delivery


async def collect(news: AsyncGenerator[Delivery, None], uid: str) -> Json:
    """The whole answer as a chat.completion object.

    Raises:
        ApiError: what the request ended with, if it did not complete.
        LogError: the log cannot be read.
    """
    completion = Completion(uid)
    async with aclosing(news):
        async for delivery in news:
            if delivery.restarted:
                completion = Completion(uid)
            for chunk in delivery.chunks:
                completion.add(chunk)
            if delivery.terminal is not None and delivery.terminal.error is not None:
                raise from_terminal(delivery.terminal.error)
    return completion.result()


async def origin(tails: Tails, at: Partition, uid: str, *, position: int, submission: str) -> int:
    """The offset where the answer to a submission starts: with an earlier one, if it is not the first of its uid.

    Waits until the log tells.

    Raises:
        InvalidRequestError: another request has this uid (409).
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode()) as tail:
        async for found in _identify(tail, submission, ORIGIN_IDLE_S):
            if found is not None:
                return found[1]
    raise LogUnavailableError("the tails were stopped")


async def delivered(tails: Tails, at: Partition, uid: str, *, position: int) -> list[Frame]:
    """The marks, from ``position`` to the log's end, of deliveries that were made.

    Raises:
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode()) as tail:
        found = [decode(record) for record in await tail.look()]
    return [frame for frame in found if frame is not None and frame.kind is Kind.DELIVERED]


async def _identify(
    tail: Tail, submission: str, idle_s: float
) -> AsyncGenerator[tuple[str, int, list[Record]] | None, None]:
    """Yields None while nothing is known, then (rid, where its answer starts, what of it was read), and ends."""
    while True:
        records = await _next(tail, idle_s)
        if not records:
            yield None
        for place, record in enumerate(records):
            frame = decode(record)
            if frame is None:
                continue
            if frame.rid == submission and frame.kind in {Kind.BEGIN, Kind.RESTART}:
                yield submission, record.offset, records[place:]
                return
            if frame.submission == submission and frame.kind is Kind.ATTACH:
                yield frame.rid, frame.first, []
                return
            if frame.submission == submission and frame.kind is Kind.CONFLICT:
                raise InvalidRequestError(
                    "Another request with a different body has this uid.", param="uid", code="uid_conflict", status=409
                )


async def _next(tail: Tail, idle_s: float) -> list[Record]:
    """The next records; a tail that was stopped gives none, at once and for ever, so that is an error."""
    records = await tail.next(timeout=idle_s)
    if tail.closed:
        raise LogUnavailableError("the tails were stopped")
    return records


async def _follow(
    tail: Tail, answer: Answer, records: list[Record], *, idle_s: float
) -> AsyncGenerator[Delivery, None]:
    """Fold what the tail gives, after the ``records`` that it has given already."""
    quiet_since = time.monotonic()
    # All that is there, at once: what was said and then said again is nothing to a reader who comes later.
    records = records + await tail.catch_up()
    while True:
        answer, news = _news(answer, records, tail.at.partition)
        for delivery in news:
            quiet_since = time.monotonic()
            yield delivery
        if answer.gap:
            raise BrokenStreamError((tail.key or b"").decode())
        if answer.terminal is not None:
            return
        # Heartbeats of the generator are news to us, not to the reader.
        if time.monotonic() - quiet_since >= idle_s:
            quiet_since = time.monotonic()
            yield IDLE
        records = await _next(tail, idle_s)


def _news(answer: Answer, records: list[Record], partition: int) -> tuple[Answer, list[Delivery]]:
    """What records add for a reader, up to a gap or the terminal: nothing that a restart among them takes back."""
    news: list[Delivery] = []
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
        if folded.chunks or restarted or (folded.counts and answer.terminal):
            chunks = tuple(folded.chunks)
            news.append(Delivery(partition, record.offset, chunks, folded.skipped, restarted, answer.terminal))
    return answer, news
