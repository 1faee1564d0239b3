"""An answer in a log in memory, and a reader that collects the deliveries."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from tests.unit.weir.chat.helpers import RID, UID, begin, ends, frame, says, text_of
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog
from weir import topics
from weir.chat import frames
from weir.chat.frames import Frame, FrameKind
from weir.chat.reading.delivery import Delivery
from weir.chat.reading.following import deliveries
from weir.log.log import Partition
from weir.log.tails import Tails

AT = Partition(topics.CHAT_CHUNKS.name, 3)
ANSWER = (begin("a"), says("a", 0, "x"), says("a", 1, "y", "z"), ends("a"))


def write(log: MemoryLog, *records: Frame | bytes | None, key: str = UID) -> int:
    """Write frames; return the offset of the last one."""
    offset = -1
    for record in records:
        value = frames.encode(record, event_id="e", tenant="t") if isinstance(record, Frame) else record
        offset = log.put(AT, key.encode(), value)
    return offset


def mark(kind: FrameKind, submission: str, **fields: Any) -> Frame:
    return frame(kind, submission=submission, **fields)


def reading(
    tails: Tails, *, position: int = 0, idle_s: float = WAIT_S, rid: str | None = None, submission: str = RID
) -> AsyncGenerator[Delivery, None]:
    return deliveries(tails, AT, UID, position=position, idle_s=idle_s, rid=rid, submission=submission)


async def told(news: AsyncGenerator[Delivery, None], into: list[Delivery] | None = None) -> list[Delivery]:
    """Return all deliveries up to the terminal; those before an error are in ``into``."""
    found = [] if into is None else into
    async with asyncio.timeout(WAIT_S), aclosing(news):
        async for delivery in news:
            found.append(delivery)
    return found


def said(found: list[Delivery]) -> str:
    return "".join(text_of(chunk for delivery in found for chunk in delivery.chunks))
