"""Cancelling a request by a record in the log, on a log in memory and the real tails."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.weir.chat.helpers import DONE, RID, UID, begin, ends, frame, restart, says
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog, tails_of
from weir import topics
from weir.chat import frames
from weir.chat.cancelling import write_cancelled
from weir.chat.fold import Answer
from weir.chat.frames import ANYBODY, Frame, FrameKind, Status, Terminal
from weir.log.log import Partition
from weir.log.tails import Tails

AT = Partition(topics.CHAT_CHUNKS.name, 3)
CANCELLED = Terminal(status=Status.CANCELLED, finish_reason="cancelled")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def tails(log: MemoryLog) -> AsyncIterator[Tails]:
    async with tails_of(log) as tails:
        yield tails


def write(log: MemoryLog, *records: Frame) -> None:
    for record in records:
        log.put(AT, UID.encode(), frames.encode(record, event_id="e", tenant="t"))


async def withdrawn(log: MemoryLog, tails: Tails, rid: str, *, position: int = 0) -> Answer:
    return await write_cancelled(log, tails, AT, UID, rid=rid, tenant="t", position=position, timeout_s=WAIT_S)


@pytest.mark.parametrize("rid", [RID, ANYBODY])
@pytest.mark.parametrize("before", [[], [begin("a")], [begin("a"), says("a", 0, "x")]])
async def test_a_request_is_cancelled_with_what_was_said_of_it(
    log: MemoryLog, tails: Tails, before: list[Frame], rid: str
) -> None:
    write(log, *before)
    answer = await withdrawn(log, tails, rid)
    assert (answer.terminal, answer.last) == (CANCELLED, len(before))
    assert log.frames(AT)[-1].rid == (RID if before else rid)  # what the log tells, need not be left open


@pytest.mark.parametrize("rid", [RID, ANYBODY])
async def test_what_has_ended_is_not_cancelled(log: MemoryLog, tails: Tails, rid: str) -> None:
    write(log, begin("a"), says("a", 0, "x"), ends("a"))
    assert (await withdrawn(log, tails, rid)).terminal == DONE
    assert len(log.frames(AT)) == 3


@pytest.mark.parametrize("position", [1, 2, 3])
async def test_an_ended_request_is_not_cancelled_by_a_worker_that_looks_from_its_middle(
    log: MemoryLog, tails: Tails, position: int
) -> None:
    """Only a later submission is known, from before the end."""
    write(log, begin("a"), says("a", 0, "x"), restart("b", after=1), says("b", 0, "y"), ends("b"))
    assert (await withdrawn(log, tails, ANYBODY, position=position)).terminal == DONE


async def test_a_request_that_was_cancelled_elsewhere_is_not_cancelled_again(log: MemoryLog, tails: Tails) -> None:
    write(log, frame(FrameKind.TERMINAL, rid=ANYBODY, terminal=CANCELLED))
    for rid in (RID, ANYBODY):
        assert (await withdrawn(log, tails, rid)).terminal == CANCELLED
    assert len(log.frames(AT)) == 1
