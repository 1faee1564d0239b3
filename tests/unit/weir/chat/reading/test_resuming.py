"""The deliveries to a reader that comes back with its last chunk."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from tests.unit.weir.chat.helpers import DONE, FAILED, RID, UID, beat, begin, ends, frame, restart, says, text_of
from tests.unit.weir.chat.reading.helpers import AT, reading, told, write
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog
from weir.chat.frames import FrameKind, Status, Terminal
from weir.chat.reading.delivery import Delivery
from weir.chat.reading.resuming import repeated, resumed
from weir.errors import AnswerGoneError, InvalidRequestError
from weir.log.tails import Tails


async def back(
    log: MemoryLog, tails: Tails, offset: int, place: int, uid: str = UID
) -> AsyncGenerator[Delivery, None] | None:
    return await resumed(log, tails, AT, uid, offset=offset, place=place, idle_s=WAIT_S)


async def test_a_reader_that_comes_back_gets_what_follows_its_last_chunk(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"))
    first = write(log, says("a", 0, "v", "w", "x"))
    write(log, beat("a"), says("zombie", 3, "no"), says("a", 2, "x", "y"), ends("a"))
    for place, rest in enumerate(["wxy", "xy", "y"]):
        news = await back(log, tails, first, place)
        assert news is not None
        assert "".join(text for one in await told(news) for text in text_of(one.chunks)) == rest


async def test_a_reader_that_comes_back_with_the_end_gets_nothing_more(log: MemoryLog, tails: Tails) -> None:
    end = write(log, begin("a"), says("a", 0, "x"), ends("a"))
    assert await back(log, tails, end, 0) is None


async def test_a_reader_that_comes_back_gets_a_restart(log: MemoryLog, tails: Tails) -> None:
    first = write(log, begin("a"), says("a", 0, "x"))
    write(log, restart("b", after=first), says("b", 0, "y"), ends("b"))
    news = await back(log, tails, first, 0)
    assert news is not None
    assert any(one.restarted for one in await told(news))


async def test_a_reader_that_comes_back_goes_on_across_a_takeover(log: MemoryLog, tails: Tails) -> None:
    first = write(log, begin("a"), says("a", 0, "x"))
    write(log, frame(FrameKind.TAKEOVER, "b", after=first), says("a", 1, "no"), says("b", 1, "y"), ends("b"))
    news = await back(log, tails, first, 0)
    assert news is not None
    assert [text for one in await told(news) for text in text_of(one.chunks)] == ["y"]


@pytest.mark.parametrize(("offset", "uid"), [(0, UID), (1, "another uid")], ids=["a mark", "of another"])
async def test_an_event_that_no_reader_can_have_is_refused(log: MemoryLog, tails: Tails, offset: int, uid: str) -> None:
    write(log, begin("a"), says("a", 0, "x"))
    with pytest.raises(InvalidRequestError) as caught:
        await back(log, tails, offset, 0, uid)
    assert caught.value.status == 400


@pytest.mark.parametrize("offset", [1, 3, 99, 10**18], ids=["before its start", "at its end", "behind it", "far away"])
async def test_an_event_that_the_log_does_not_keep_any_more_is_gone(log: MemoryLog, tails: Tails, offset: int) -> None:
    """Behind its end are the events of a log that was there before this one."""
    first = write(log, begin("a"), says("a", 0, "x"))
    write(log, says("a", 1, "y"))
    log.starts[AT] = first + 1
    with pytest.raises(AnswerGoneError) as caught:
        await back(log, tails, offset, 0)
    assert (caught.value.status, caught.value.error["code"]) == (410, "gone")


@pytest.mark.parametrize("end", [DONE, FAILED, Terminal(status=Status.CANCELLED, finish_reason="cancelled")])
async def test_a_client_that_asks_again_after_the_end_hears_how_it_ended(
    log: MemoryLog, tails: Tails, end: Terminal
) -> None:
    last = write(log, begin("a"), says("a", 0, "x"), ends("a", end))
    again = write(log, frame(FrameKind.ATTACH, submission="evt-2", first=0, ended=True))
    news = repeated(log, tails, AT, UID, position=again, submission="evt-2", offset=last, place=0, idle_s=WAIT_S)
    (heard,) = await told(news)
    assert (heard.terminal, heard.chunks, heard.offset) == (end, (), last)


@pytest.mark.parametrize("how", ["stored", "resumed", "repeated"])
async def test_a_reader_that_leaves_has_let_go_of_its_page_and_its_tail_at_once(
    log: MemoryLog, tails: Tails, how: str
) -> None:
    write(log, begin("a"), says("a", 0, "x"), *(says("a", n, "x" * 200_000) for n in range(1, 9)), ends("a"))
    write(log, frame(FrameKind.ATTACH, submission="evt-2", first=0, ended=True))
    news: AsyncGenerator[Delivery, None] | None = reading(tails, rid=RID)
    if how == "resumed":
        news = await resumed(log, tails, AT, UID, offset=1, place=0, idle_s=WAIT_S)
    elif how == "repeated":
        news = repeated(log, tails, AT, UID, position=0, submission="evt-2", offset=1, place=0, idle_s=WAIT_S)
    assert news is not None
    async with asyncio.timeout(WAIT_S), aclosing(news):
        await anext(news)
        assert tails.memory.held_bytes > 0
    assert (tails.memory.held_bytes, tails.readers) == (0, 0)
