"""Reads what the log holds about a request already, from a position to the log's end."""

from collections.abc import AsyncGenerator

from weir.chat.collecting import Chunks, Collected
from weir.chat.decoding import decode
from weir.chat.fold import Answer
from weir.chat.frames import Frame, FrameKind
from weir.chat.notes import Notes
from weir.chat.reading.pages import PAGE_RECORDS
from weir.envelope import Json
from weir.log.log import Partition, Record
from weir.log.tails import Tails
from weir.timing import in_turns


async def stored(
    tails: Tails, at: Partition, uid: str, *, position: int, topic_id: str = ""
) -> AsyncGenerator[Record, None]:
    """Yield the records about a request from ``position`` to the log's end, page by page, with turns for other tasks.

    Raises:
        LogReplacedError: the log has been replaced since the position was found.
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode(), topic_id=topic_id, page_records=PAGE_RECORDS) as tail:
        end = (await tails.client.bounds(at)).end
        async for records in tail.pages(end):
            async for record in in_turns(records):
                yield record
        # The records that the live feed has not read; all of them while the feed is stuck.
        for record in await tail.look() if tail.position < end else ():
            if record.offset < end:
                yield record


async def marks(
    tails: Tails, at: Partition, uid: str, *, position: int, kind: FrameKind, topic_id: str = ""
) -> list[tuple[int, Frame]]:
    """Return the marks of a kind about a request, from ``position`` to the log's end, each with its offset.

    Raises:
        LogReplacedError: the log has been replaced since the position was found.
        LogError: the log cannot be read.
    """
    needle, found = b'"%b"' % kind.encode(), list[tuple[int, Frame]]()
    async for record in stored(tails, at, uid, position=position, topic_id=topic_id):
        frame = decode(record) if needle in (record.value or b"") else None
        if frame is not None and frame.kind is kind:
            found.append((record.offset, frame))
    return found


async def recounted(
    tails: Tails, at: Partition, uid: str, *, position: int, rid: str, upto: int
) -> tuple[Answer, list[Json]]:
    """Return an answer as the log holds it, from ``position`` up to the record at ``upto``, with its chunks that count.

    Raises:
        LogError: the log cannot be read.
    """
    collected = Collected(rid, Chunks)
    async for record in stored(tails, at, uid, position=max(position, 0)):
        frame = decode(record) if record.offset <= upto else None
        if frame is not None:
            collected.take(record.offset, frame)
    return collected.answer, collected.said


async def noted(tails: Tails, at: Partition, uid: str, *, position: int, rid: str) -> Notes:
    """Return notes of an answer's counting chunks, from ``position`` on. The chunks are not held: it may be long.

    Raises:
        LogError: the log cannot be read.
    """
    collected = Collected(rid, Notes)
    async for record in stored(tails, at, uid, position=max(position, 0)):
        if (frame := decode(record)) is not None:
            collected.take(record.offset, frame)
    return collected.said
