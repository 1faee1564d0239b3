"""Ends a request that nobody wants any more, from any worker: a terminal in the log that needs no attempt."""

import asyncio

from answers import frames
from answers.fold import Answer, fold
from answers.frames import Frame, Kind, Status, Terminal
from app.reading import decode
from app.requests import new_id
from transports.log import LogClient, LogUnavailableError, Partition, Record
from transports.tails import Tails


async def withdraw(
    log: LogClient,
    tails: Tails,
    at: Partition,
    uid: str,
    *,
    rid: str,
    tenant: str,
    position: int,
    timeout_s: float,
    status: Status = Status.CANCELLED,
) -> Answer:
    """Cancel a request, unless it has ended already, and read back how it ended: whoever comes first counts.

    Args:
        log: where it stands.
        tails: how it is read.
        at: the partition of chat-chunks.
        uid: the request.
        rid: its identity.
        tenant: whose it is.
        position: nothing about it is older.
        timeout_s: how long the log may take.
        status: cancelled or expired.

    Raises:
        LogError: it may or may not be cancelled.
    """
    answer = Answer(rid=rid)
    end = Frame(uid=uid, rid=rid, kind=Kind.TERMINAL, terminal=Terminal(status=status, finish_reason=status))
    try:
        async with asyncio.timeout(timeout_s), tails.open(at, position, key=uid.encode()) as tail:
            answer = _folded(answer, await tail.look())
            if answer.terminal is None:
                value = frames.encode(end, event_id=new_id("evt"), tenant=tenant)
                await log.append(at.topic, at.partition, uid.encode(), value)
            while answer.terminal is None and not tail.closed:
                answer = _folded(answer, await tail.next())
    except TimeoutError:
        raise LogUnavailableError("a cancellation was not confirmed in time") from None
    if answer.terminal is None:
        raise LogUnavailableError("the tails were stopped")
    return answer


def _folded(answer: Answer, records: list[Record]) -> Answer:
    for record in records:
        frame = decode(record)
        if frame is not None:
            answer = fold(answer, record.offset, frame).answer
    return answer
