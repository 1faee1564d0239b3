"""The marks of deliveries that were made."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest

from tests.unit.weir.chat.helpers import begin, ends, frame, says
from tests.unit.weir.log.memory_log import MemoryLog, tails_of
from tests.unit.weir.rabbitmq.test_way import ORDER as SENT
from weir import topics
from weir.chat import frames
from weir.chat.frames import Frame, FrameKind
from weir.log.log import Partition
from weir.rabbitmq.contract import DeliveryProgress
from weir.rabbitmq.delivered import DeliveredMarks
from weir.rabbitmq.lane import Lane
from weir.rabbitmq.orders import Order

AT = Partition(topics.CHAT_CHUNKS.name, 3)
ORDER = replace(SENT, uid="req-1", submission="evt-1")


class FakeLane:
    """Holds how far deliveries have come."""

    def __init__(self, *known: str) -> None:
        self._known = known

    def place(self, submission: str) -> DeliveryProgress | None:
        return DeliveryProgress() if submission in self._known else None


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def delivered(log: MemoryLog) -> AsyncIterator[DeliveredMarks]:
    async with tails_of(log) as tails:
        yield DeliveredMarks(log, tails)


def write(log: MemoryLog, *records: Frame) -> None:
    for one in records:
        log.put(AT, ORDER.key, frames.encode(one, event_id="e", tenant="t"))


async def is_done(delivered: DeliveredMarks, order: Order, *known: str) -> bool:
    return await delivered.is_done(order, AT, cast("Lane", FakeLane(*known)))


async def test_an_order_is_done_when_its_mark_is_in_the_log(log: MemoryLog, delivered: DeliveredMarks) -> None:
    write(log, begin("a"), says("a", 0, "x"), ends("a"))
    assert not await is_done(delivered, ORDER)
    await delivered.mark(ORDER, AT)
    assert await is_done(delivered, ORDER)
    assert not await is_done(delivered, replace(ORDER, submission="evt-2"))
    assert not await is_done(delivered, replace(ORDER, chunks_from=4))


async def test_an_order_that_may_be_a_double_is_done_by_the_other_one_to_the_same_queue(
    log: MemoryLog, delivered: DeliveredMarks
) -> None:
    write(log, begin("a"), says("a", 0, "x"), ends("a"))
    await delivered.mark(ORDER, AT)
    write(log, frame(FrameKind.ATTACH, submission="evt-2", first=0))
    second = replace(ORDER, submission="evt-2", chunks_from=4, again=True)
    assert await is_done(delivered, second)
    assert not await is_done(delivered, second, "evt-2")  # its own messages are on their way already
    assert not await is_done(delivered, replace(second, queue="another"))
    assert not await is_done(delivered, replace(second, fingerprint="another"))


async def test_an_order_of_a_request_from_the_dead_letters_is_void_where_another_was_answered(
    log: MemoryLog, delivered: DeliveredMarks
) -> None:
    write(log, begin("a"), ends("a"), frame(FrameKind.ATTACH, submission="evt-9", first=0))
    assert not await is_done(delivered, replace(ORDER, redriven=True))
    assert await is_done(delivered, replace(ORDER, submission="evt-9", redriven=True))
    write(log, frame(FrameKind.CONFLICT, submission="evt-8", first=0))
    assert await is_done(delivered, replace(ORDER, submission="evt-8", redriven=True))
