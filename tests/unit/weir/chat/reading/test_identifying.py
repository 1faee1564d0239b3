"""The answer that a submission gets, and the offset where it starts."""

import asyncio

import pytest

from tests.unit.weir.chat.helpers import RID, UID, begin, ends, frame, says
from tests.unit.weir.chat.reading.helpers import AT, mark, reading, said, told, write
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog
from weir.chat.frames import ANYBODY, FrameKind, Status, Terminal
from weir.chat.reading.following import deliveries
from weir.chat.reading.identifying import origin
from weir.errors import InvalidRequestError
from weir.log.tails import Tails


async def test_the_first_submission_starts_with_its_begin_mark(log: MemoryLog, tails: Tails) -> None:
    write(log, b"no frame")
    first = write(log, begin("a"))
    write(log, says("a", 0, "x"))
    assert await origin(tails, AT, UID, position=0, submission=RID) == (RID, first)


async def test_a_later_submission_starts_where_the_first_one_did(log: MemoryLog, tails: Tails) -> None:
    first = write(log, begin("a"))
    later = write(log, says("a", 0, "x"), ends("a")) + 1
    write(log, mark(FrameKind.ATTACH, "evt-2", first=first))
    assert await origin(tails, AT, UID, position=later, submission="evt-2") == (RID, first)


async def test_a_submission_that_no_worker_has_looked_at_waits_for_its_mark(log: MemoryLog, tails: Tails) -> None:
    asking = asyncio.create_task(origin(tails, AT, UID, position=0, submission=RID))
    await asyncio.sleep(0.01)
    assert not asking.done()
    first = write(log, begin("a"))
    async with asyncio.timeout(WAIT_S):
        assert await asking == (RID, first)


async def test_a_submission_with_another_body_has_no_start(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"), mark(FrameKind.CONFLICT, "evt-2", first=0))
    with pytest.raises(InvalidRequestError) as caught:
        await origin(tails, AT, UID, position=1, submission="evt-2")
    assert caught.value.status == 409


async def test_a_reader_by_uid_gets_the_answer_though_only_a_submission_with_another_body_is_known(
    log: MemoryLog, tails: Tails
) -> None:
    first = write(log, begin("a"))
    later = write(log, says("a", 0, "x"), mark(FrameKind.CONFLICT, "evt-2", first=first), ends("a")) - 1
    news = deliveries(tails, AT, UID, position=later, idle_s=WAIT_S, submission="evt-2", own=False)
    assert said(await told(news)) == "x"
    assert await origin(tails, AT, UID, position=later, submission="evt-2", own=False) == (RID, first)


async def test_a_request_that_was_cancelled_before_its_first_submission_was_known_has_an_end(
    log: MemoryLog, tails: Tails
) -> None:
    end = write(log, frame(FrameKind.TERMINAL, rid=ANYBODY, terminal=Terminal(status=Status.CANCELLED)))
    for submission in (RID, "evt-2"):
        (only,) = await told(reading(tails, submission=submission))
        assert only.terminal is not None
        assert await origin(tails, AT, UID, position=0, submission=submission) == (submission, end)
